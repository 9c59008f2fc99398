"""The commands for ssh keys, which guests of new VMs let in."""

from urllib.parse import quote

import click

from ucloud_cli.groups import Group
from ucloud_cli.kind import complete_names
from ucloud_cli.kinds import USER
from ucloud_cli.networks import complete_ssh_keys, read_text
from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, local_time, note, print_list

_COLUMNS: Columns = {
    "NAME": Column(lambda key: key["name"]),
    "TYPE": Column(lambda key: key["key"].split(" ")[0]),
    "FINGERPRINT": Column(lambda key: key["fingerprint"]),
    "COMMENT": Column(lambda key: " ".join(key["key"].split(" ")[2:])),
    "SOURCE": Column(lambda key: key.get("source", "embedded"), wide=True),
    "CREATED": Column(lambda key: local_time(key["created_at"]), wide=True),
    "KEY": Column(lambda key: key["key"], wide=True),
}

user_option = click.option(
    "--user", shell_complete=complete_names(USER), help="Whose keys; for admins.  [default: you]"
)


@click.group("ssh-key", cls=Group)
def ssh_key() -> None:
    """Your ssh keys, which guests of new VMs let in."""


def _path(session: Session, user: str | None) -> str:
    return f"{USER.path_to(user or session.client.get('/v1/session')['user'])}/ssh-key"


@ssh_key.command()
@click.argument("name")
@click.argument("file")
@user_option
@shared_options
@pass_session
def add(session: Session, name: str, file: str, user: str | None) -> None:
    """Add the public key in FILE ("-": standard input), such as ~/.ssh/id_ed25519.pub, and call it NAME."""
    body = {"name": name, "key": read_text(file)}
    made = session.client.post(_path(session, user), body)
    print_list([made], _COLUMNS, session.layout)


@ssh_key.command("list")
@user_option
@table_options(tuple(_COLUMNS))
@shared_options
@pass_session
def list_keys(session: Session, user: str | None) -> None:
    """List ssh keys."""
    session.layout.check(_COLUMNS)
    items = session.client.all(_path(session, user))
    print_list(items, _COLUMNS, session.layout)
    if not items and not session.layout.is_data:
        note("there are no ssh keys")


@ssh_key.command("remove")
@click.argument("name", shell_complete=complete_ssh_keys)
@user_option
@shared_options
@pass_session
def remove(session: Session, name: str, user: str | None) -> None:
    """Remove an ssh key. VMs that were made with it keep it."""
    session.client.delete(f"{_path(session, user)}/{quote(name, safe='')}")
    click.echo(f"{name} is removed")

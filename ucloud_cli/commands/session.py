"""The commands for sessions: where one is logged in, and ending what one does not know."""

from urllib.parse import quote

import click

from ucloud_cli.groups import Group
from ucloud_cli.kind import complete_names
from ucloud_cli.kinds import USER
from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, local_time, print_list, yes

_COLUMNS: Columns = {
    "ID": Column(lambda each: each["id"]),
    "FROM": Column(lambda each: each["address"]),
    "BY": Column(lambda each: ", ".join(each["proofs"])),
    "SINCE": Column(lambda each: local_time(each["created_at"])),
    "UNTIL": Column(lambda each: local_time(each["expires_at"])),
    "THIS": Column(lambda each: yes(each["is_this"])),
}
_user_option = click.option(
    "--user", shell_complete=complete_names(USER), help="Whose sessions; for admins.  [default: you]"
)


@click.group(cls=Group)
def session() -> None:
    """Your sessions: each login begins one, on whatever machine."""


def _path(session: Session, user: str | None) -> str:
    return f"{USER.path_to(user or session.client.get('/v1/session')['user'])}/session"


@session.command("list")
@_user_option
@table_options(tuple(_COLUMNS))
@shared_options
@pass_session
def list_sessions(session: Session, user: str | None) -> None:
    """List sessions, oldest first."""
    session.layout.check(_COLUMNS)
    print_list(session.client.all(_path(session, user)), _COLUMNS, session.layout)


@session.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--others", is_flag=True, help="All but the one that this is.")
@_user_option
@shared_options
@pass_session
def end(session: Session, ids: tuple[str, ...], others: bool, user: str | None) -> None:
    """End sessions: who has them must log in again."""
    if bool(ids) == others:
        raise click.UsageError("say which sessions, or --others")
    path = _path(session, user)
    wanted = ids or tuple(each["id"] for each in session.client.all(path) if not each["is_this"])
    for session_id in wanted:
        session.client.delete(f"{path}/{quote(session_id, safe='')}")
        click.echo(f"{session_id} is ended")

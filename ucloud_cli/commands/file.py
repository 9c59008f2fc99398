"""The commands for uploaded files, which images are made from."""

from urllib.parse import quote

import click

from ucloud_cli.errors import CliError
from ucloud_cli.groups import Group
from ucloud_cli.kind import complete_names
from ucloud_cli.kinds import USER
from ucloud_cli.options import Session, pass_session, shared_options, table_options
from ucloud_cli.output import Column, Columns, Fields, local_time, note, print_list, print_one
from ucloud_cli.upload import PATH, local_file, upload

_MIB = 1024 * 1024


def _human(size_bytes: int) -> str:
    return f"{size_bytes / _MIB:.1f} MiB" if size_bytes >= _MIB else f"{size_bytes} bytes"


_COLUMNS: Columns = {
    "NAME": Column(lambda file: file["name"]),
    "OWNER": Column(lambda file: file["owner"]),
    "SIZE": Column(lambda file: _human(file["size_bytes"])),
    "MODIFIED": Column(lambda file: local_time(file.get("modified_at"))),
    "SHA256": Column(lambda file: file["sha256"], wide=True),
}
_FIELDS: Fields = {
    "name": lambda file: file["name"],
    "owner": lambda file: file["owner"],
    "size": lambda file: f"{_human(file['size_bytes'])} ({file['size_bytes']} bytes)",
    "sha256": lambda file: file["sha256"],
    "modified": lambda file: local_time(file["modified_at"]),
}


def _complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        items = context.ensure_object(Session).hasty_client().get(PATH)["items"]
    except (CliError, KeyError):
        return []
    return [each["name"] for each in items if each["name"].startswith(incomplete)]


owner_option = click.option("--owner", shell_complete=complete_names(USER), help="Whose; for admins.  [default: you]")
_name = click.argument("name", shell_complete=_complete)


@click.group(cls=Group)
def file() -> None:
    """Uploaded files, which images are made from."""


@file.command("upload")
@click.argument("local", metavar="FILE")
@click.option("--name", help="What to call it.  [default: as it is called here]")
@owner_option
@shared_options
@pass_session
def upload_file(session: Session, local: str, name: str | None, owner: str | None) -> None:
    """Upload FILE. One that was cut off is gone on with; one that is there already is not sent again."""
    done = upload(session.client, local_file(local, name), owner)
    print_list([done], _COLUMNS, session.layout)


@file.command("list")
@owner_option
@table_options(tuple(_COLUMNS))
@shared_options
@pass_session
def list_files(session: Session, owner: str | None) -> None:
    """List files."""
    session.layout.check(_COLUMNS)
    items = session.client.all(PATH, owner=owner)
    print_list(items, _COLUMNS, session.layout)
    if not items and not session.layout.is_data:
        note("there are no files")


def _path(session: Session, owner: str | None, name: str) -> str:
    return f"{PATH}/{quote(owner or session.client.get('/v1/session')['user'], safe='')}/{quote(name, safe='')}"


@file.command("show")
@_name
@owner_option
@shared_options
@pass_session
def show(session: Session, name: str, owner: str | None) -> None:
    """Show one file."""
    print_one(session.client.get(_path(session, owner, name)), _FIELDS, session.layout)


@file.command("delete")
@_name
@owner_option
@shared_options
@pass_session
def delete(session: Session, name: str, owner: str | None) -> None:
    """Delete a file. Images that were made from it stay."""
    session.client.delete(_path(session, owner, name))
    click.echo(f"{name} is deleted")

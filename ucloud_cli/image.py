"""The commands for images."""

from operator import itemgetter

import click

from ucloud_cli.client import Resource
from ucloud_cli.goals import image_goal
from ucloud_cli.options import Session, pass_session, shared_options, wait_options
from ucloud_cli.output import Columns, print_list, print_one, size
from ucloud_cli.wait import finish

_PATH = "/v1/image"

_COLUMNS: Columns = {
    "NAME": lambda image: image["name"],
    "UUID": lambda image: image["uuid"],
    "OWNER": lambda image: image["owner"],
    "STATUS": lambda image: image["status"],
    "SIZE": lambda image: size(image["virtual_size"]) if image["virtual_size"] else "",
    "FILE": lambda image: image["file"],
    "REASON": lambda image: image["reason"],
}

_FIELDS: Columns = {
    **{field: itemgetter(field) for field in ("name", "uuid", "owner", "file", "status", "reason")},
    "requested": lambda image: image["requested"],
    "size": lambda image: size(image["virtual_size"]) if image["virtual_size"] else "",
    "file size": lambda image: f"{image['file_size_bytes']} bytes" if image["file_size_bytes"] else "",
    "sha256": lambda image: image["sha256"],
    "created": lambda image: image["created_at"],
}


@click.group()
def image() -> None:
    """Images that VMs are made from."""


@image.command()
@click.option("--name", required=True, help="What to call it.")
@click.option("--file", required=True, help="The file in the owner's upload folder.")
@click.option("--owner", help="Whose image it is; the API's default if left out.")
@wait_options
@shared_options
@pass_session
def create(session: Session, name: str, file: str, owner: str | None, wait_s: float | None) -> None:
    """Create an image from an uploaded file."""
    body: Resource = {"name": name, "file": file, **({"owner": owner} if owner else {})}
    _finish(session, session.client.send("POST", _PATH, body), wait_s)


@image.command("list")
@click.option("--owner", help="Only what this owner has.")
@click.option("--status", type=str.upper, help="Only images in this state.")
@shared_options
@pass_session
def list_images(session: Session, owner: str | None, status: str | None) -> None:
    """List images."""
    print_list(session.client.all(_PATH, owner=owner, status=status), _COLUMNS, session.output)


@image.command()
@click.argument("name")
@shared_options
@pass_session
def show(session: Session, name: str) -> None:
    """Show an image, by name or uuid."""
    print_one(session.client.find("image", name), _FIELDS, session.output)


@image.command()
@click.argument("name")
@wait_options
@shared_options
@pass_session
def delete(session: Session, name: str, wait_s: float | None) -> None:
    """Delete an image that no VM uses."""
    found = session.client.find("image", name)
    _finish(session, session.client.send("DELETE", f"{_PATH}/{found['uuid']}"), wait_s)


def _finish(session: Session, accepted: Resource, wait_s: float | None) -> None:
    finish(session, f"{_PATH}/{accepted['uuid']}", accepted, image_goal(accepted), _COLUMNS, wait_s)

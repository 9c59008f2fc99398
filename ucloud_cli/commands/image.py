"""The commands for images."""

from collections.abc import Callable
from typing import Any

import click

from common.schemas.image import Firmware
from common.schemas.owner import project_of
from ucloud_cli.commands.events import add_events
from ucloud_cli.commands.snapshot import id_of
from ucloud_cli.goals import image_goal
from ucloud_cli.groups import Group
from ucloud_cli.kind import (
    add_delete,
    add_list,
    add_show,
    complete_names,
    finish,
    name_argument,
    new_name,
    print_result,
)
from ucloud_cli.kinds import IMAGE, USER, VM
from ucloud_cli.options import SIZE, Session, owner_of, pass_session, shared_options, wait_options
from ucloud_cli.problems import Resource
from ucloud_cli.upload import local_file, upload


@click.group(cls=Group)
def image() -> None:
    """Images that VMs are made from."""


def _needs(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say what VMs made from an image need."""
    min_ram = click.option("--min-ram", type=SIZE, help="The least memory of a VM made from it.")
    min_disk = click.option("--min-disk", type=SIZE, help="The least root disk of a VM made from it.")
    firmware = click.option("--firmware", type=click.Choice(list(map(str, Firmware)), case_sensitive=False))
    return min_ram(min_disk(firmware(command)))


@image.command()
@new_name(required=True)
@click.option("--file", help="The file you uploaded; one with a slash (./FILE) is uploaded first.")
@click.option("--from-vm", "vm", metavar="VM", shell_complete=complete_names(VM), help="Make it from this VM.")
@click.option("--snapshot", metavar="SNAPSHOT", help="With --from-vm: its root disk as it was in this snapshot.")
@click.option("--owner", shell_complete=complete_names(USER), help="Whose image it is; for admins.  [default: you]")
@click.option("--public", is_flag=True, help="Let all users make VMs from it; for admins.")
@click.option("--protect", is_flag=True, help="Forbid to delete it.")
@click.option("--store", metavar="NAME", help="The image store that it is kept in.  [default: default]")
@_needs
@wait_options
@shared_options
@pass_session
def create(session: Session, /, name: str, owner: str | None, wait_s: float | None, **said: Any) -> None:
    """Create an image, called NAME, from a file or from a snapshot of a VM."""
    body: Resource = {"name": name, **_source(session, owner, said), **owner_of(session, owner)}
    body |= {field: True for field, option in (("public", "public"), ("protected", "protect")) if said.pop(option)}
    body |= {field: value for field, value in said.items() if value is not None}
    accepted = session.client.post(IMAGE.path, body)
    finish(session, IMAGE, accepted, image_goal(accepted), wait_s)


def _source(session: Session, owner: str | None, said: dict[str, Any]) -> Resource:
    """What an image is to be made from; a file that is not there yet is uploaded."""
    file, vm, snapshot = (said.pop(option) for option in ("file", "vm", "snapshot"))
    if (file is None) is (vm is None) or (vm is None) is not (snapshot is None):
        raise click.UsageError("say what to make it from: --file FILE, or --from-vm VM --snapshot SNAPSHOT")
    if vm:
        found = VM.find(session.client, vm)
        return {"vm": found["uuid"], "snapshot": id_of(found, snapshot)}
    if "/" in file:
        # What is of a project is taken from the folder of whoever makes it.
        folder = owner if owner and project_of(owner) is None else None
        file = upload(session.client, local_file(file, None), folder)["name"]
    return {"file": file}


@image.command("set")
@name_argument(IMAGE)
@click.option("--name", "new_name", metavar="NEW_NAME", help="Call it so.")
@click.option("--public/--private", default=None, help="Whether all users may make VMs from it; for admins.")
@_needs
@shared_options
@pass_session
def set_image(session: Session, /, name: str, new_name: str | None, **said: Any) -> None:
    """Rename an image, say who may use it, and what VMs made from it need."""
    body: Resource = {field: value for field, value in said.items() if value is not None}
    if new_name:
        body["name"] = new_name
    if not body:
        raise click.UsageError("say what to set: --name, --public, --private, --min-ram, --min-disk or --firmware")
    found = IMAGE.find(session.client, name)
    changed = session.client.patch(IMAGE.path_of(found), body)
    print_result(session, IMAGE, changed, changed)


def _protection(command_name: str, protected: bool, help_text: str) -> None:
    """Add a command that protects images, or does so no longer."""

    @image.command(command_name, help=help_text)
    @name_argument(IMAGE)
    @shared_options
    @pass_session
    def command(session: Session, name: str) -> None:
        changed = session.client.patch(IMAGE.path_of(IMAGE.find(session.client, name)), {"protected": protected})
        print_result(session, IMAGE, changed, changed)


_protection("protect", True, "Forbid to delete an image.")
_protection("unprotect", False, "Allow to delete an image.")
add_list(image, IMAGE)
add_show(image, IMAGE)
add_events(image, IMAGE)
add_delete(image, IMAGE, "Delete an image that no VM uses.", image_goal)

"""The commands for images."""

import click

from ucloud_cli.events import add_events
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
from ucloud_cli.kinds import IMAGE, USER
from ucloud_cli.options import Session, pass_session, shared_options, wait_options
from ucloud_cli.problems import Resource
from ucloud_cli.upload import local_file, upload


@click.group(cls=Group)
def image() -> None:
    """Images that VMs are made from."""


@image.command()
@new_name(required=True)
@click.option("--file", required=True, help="The uploaded file; one with a slash (./FILE) is uploaded first.")
@click.option("--owner", shell_complete=complete_names(USER), help="Whose image it is; for admins.  [default: you]")
@click.option("--public", is_flag=True, help="Let all users make VMs from it; for admins.")
@wait_options
@shared_options
@pass_session
def create(session: Session, /, name: str, file: str, owner: str | None, public: bool, wait_s: float | None) -> None:
    """Create an image, called NAME, from a file."""
    if "/" in file:
        file = upload(session.client, local_file(file, None), owner)["name"]
    body: Resource = {"name": name, "file": file}
    if owner:
        body["owner"] = owner
    if public:
        body["public"] = True
    accepted = session.client.post(IMAGE.path, body)
    finish(session, IMAGE, accepted, image_goal(accepted), wait_s)


@image.command("set")
@name_argument(IMAGE)
@click.option("--name", "new_name", metavar="NEW_NAME", help="Call it so.")
@click.option("--public/--private", default=None, help="Whether all users may make VMs from it; for admins.")
@shared_options
@pass_session
def set_image(session: Session, name: str, new_name: str | None, public: bool | None) -> None:
    """Rename an image, or say who may use it."""
    body: Resource = {**({"name": new_name} if new_name else {}), **({} if public is None else {"public": public})}
    if not body:
        raise click.UsageError("say what to set: --name, --public or --private")
    found = IMAGE.find(session.client, name)
    changed = session.client.patch(IMAGE.path_of(found), body)
    print_result(session, IMAGE, changed, changed)


add_list(image, IMAGE)
add_show(image, IMAGE)
add_events(image, IMAGE)
add_delete(image, IMAGE, "Delete an image that no VM uses.", image_goal)

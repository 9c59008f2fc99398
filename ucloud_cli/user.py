"""The commands for users: what a name may do here. How users prove who they are is not the API's matter."""

from collections.abc import Callable
from typing import Any

import click

from ucloud_cli.events import add_events
from ucloud_cli.groups import Group
from ucloud_cli.kind import F, add_delete, add_list, add_show, name_argument, new_name, print_result
from ucloud_cli.kinds import AMOUNTS, SIZES, USER
from ucloud_cli.options import SIZE, Session, pass_session, shared_options
from ucloud_cli.problems import Resource
from ucloud_cli.ssh_key import ssh_key


@click.group(cls=Group)
def user() -> None:
    """Users, their quotas and ssh keys; users and quotas are for admins."""


def _account_options(command: F) -> F:
    """What an account says of a user, each as it was, or the API's default, where it is not said."""
    helps = {
        "vms": "How many VMs it may have.",
        "cpu": "How many processors all of them together.",
        "ram": "How much memory: GiB, or with a unit.",
        "ssd": "How much of root disks.",
        "hdd": "How much of second disks.",
        "networks": "How many networks.",
        "security_groups": "How many security groups.",
    }
    decorators: list[Callable[[F], F]] = [
        click.option("--admin/--no-admin", "is_admin", default=None, help="Sees and changes what others own."),
        click.option("--enable/--disable", "enabled", default=None, help="Whether it may do anything."),
        *[
            click.option(f"--{what.replace('_', '-')}", type=SIZE if what in SIZES else int, help=helps[what])
            for what in AMOUNTS
        ],
        click.option("--unlimited", is_flag=True, help="No quota at all."),
    ]
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def _changes(said: dict[str, Any]) -> Resource:
    """What to send for what was said; what is not sent stays."""
    amounts = {what: said[what] for what in AMOUNTS if said[what] is not None}
    if said["unlimited"] and amounts:
        raise click.UsageError("say --unlimited or amounts, not both")
    body = {key: said[key] for key in ("realm", "is_admin", "enabled") if said[key] is not None}
    if said["unlimited"] or amounts:
        body["quota"] = amounts or None
    return body


@user.command()
@new_name(required=True)
@click.option("--realm", help="Whose users it belongs to.  [default: ucloud]")
@_account_options
@shared_options
@pass_session
def create(session: Session, /, name: str, **said: Any) -> None:
    """Give the user called NAME an account."""
    created = session.client.post(USER.path, {"name": name, **_changes(said)})
    print_result(session, USER, created, created)


@user.command("set")
@name_argument(USER)
@click.option("--realm", help="Whose users it belongs to.")
@_account_options
@shared_options
@pass_session
def set_user(session: Session, /, name: str, **said: Any) -> None:
    """Change what a user may do."""
    changes = _changes(said)
    if not changes:
        raise click.UsageError("say what to set; ucloud user set --help lists it")
    changed = session.client.patch(USER.path_of(USER.find(session.client, name)), changes)
    print_result(session, USER, changed, changed)


add_list(user, USER)
add_show(user, USER)
add_events(user, USER)
add_delete(user, USER, "Delete a user that owns nothing.")
user.add_command(ssh_key)

"""The commands for hosts."""

from typing import Any

import click

from ucloud_cli.commands.events import add_events
from ucloud_cli.commands.moves import drain, undrain
from ucloud_cli.errors import Refused
from ucloud_cli.groups import Group
from ucloud_cli.kind import add_list, add_show, complete_names, name_argument, print_result
from ucloud_cli.kinds import HOST, HOST_STATES, USER
from ucloud_cli.options import Session, pass_session, shared_options
from ucloud_cli.placing import LABEL
from ucloud_cli.problems import Resource


@click.group(cls=Group)
def host() -> None:
    """Hosts that VMs run on; for admins."""


add_list(host, HOST)
add_show(host, HOST)
add_events(host, HOST)
for command in (drain, undrain):
    host.add_command(command)


@host.command("confirm-dead")
@name_argument(HOST)
@click.option("--yes", is_flag=True, help="Don't ask.")
@shared_options
@pass_session
def confirm_dead(session: Session, name: str, yes: bool) -> None:
    """Say that a silent host is off, where no fence can tell: its VMs are then started elsewhere."""
    found = HOST.find(session.client, name)
    verdict = found.get("verdict")
    if verdict is None:
        raise Refused(f"{found['name']} is {found['status']}: there is nothing to confirm")
    if not yes:
        click.confirm(
            f"Is {found['name']} powered off, and does it stay off until somebody has looked at it? If it still runs, "
            f"its VMs may run twice and lose their disks",
            abort=True,
            err=True,
        )
    changed = session.client.post(f"{HOST.path_of(found)}/confirm-dead", {"since": verdict["since"]})
    print_result(session, HOST, changed, changed)


@host.command("set")
@name_argument(HOST)
@click.option("--state", type=click.Choice(HOST_STATES), help="What it may do.")
@click.option("--overcommit-cpu", "cpu", type=float, help="How many times the processors may be promised.")
@click.option("--overcommit-ram", "ram", type=float, help="How many times the memory may be promised.")
@click.option("--overcommit-disk", "disk", type=float, help="How many times the disks may be promised.")
@click.option("--label", "labels", type=LABEL, multiple=True, metavar="KEY=VALUE", help='Label it; "KEY=": no longer.')
@click.option(
    "--tenant",
    "tenants",
    multiple=True,
    shell_complete=complete_names(USER),
    help="Take the VMs of these users only. May be said many times.",
)
@click.option("--all-tenants", is_flag=True, help="Take everybody's VMs again.")
@shared_options
@pass_session
def set_host(
    session: Session,
    /,
    name: str,
    state: str | None,
    labels: tuple[tuple[str, str], ...],
    tenants: tuple[str, ...],
    all_tenants: bool,
    **factors: Any,
) -> None:
    """Enable, drain or disable a host, say how far it may be overcommitted, label it, or keep it for certain users."""
    said: Resource = {
        "state": state,
        "overcommit": {what: factor for what, factor in factors.items() if factor is not None},
        "labels": {key: value or None for key, value in labels},
        "tenants": tenants,
    }
    body: Resource = {field: value for field, value in said.items() if value}
    if all_tenants:
        body["tenants"] = []
    if not body:
        raise click.UsageError("say what to set: --state, --label, --tenant, --all-tenants or one of --overcommit-*")
    found = HOST.find(session.client, name)
    changed = session.client.patch(HOST.path_of(found), body)
    print_result(session, HOST, changed, changed)

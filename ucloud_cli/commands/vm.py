"""The commands for VMs: creating, the verbs of their life, changes."""

from typing import Any

import click

from common.schemas.vm import Requested
from ucloud_cli.commands.disks import disk, sizes_of
from ucloud_cli.commands.events import add_events
from ucloud_cli.commands.guest import console, log, screenshot
from ucloud_cli.commands.moves import migrate
from ucloud_cli.commands.snapshot import snapshot
from ucloud_cli.commands.watch import watch
from ucloud_cli.commands.why import why
from ucloud_cli.goals import notice_goal, vm_goal
from ucloud_cli.groups import Group
from ucloud_cli.kind import add_delete, add_list, add_show, complete_names, finish, name_argument, new_name
from ucloud_cli.kinds import IMAGE, USER, VM
from ucloud_cli.networks import PLUG, PLUG_METAVAR, guest_of, guest_options, port_of
from ucloud_cli.options import SIZE, Session, owner_of, pass_session, shared_options, wait_options
from ucloud_cli.output import note
from ucloud_cli.placing import placing_of, placing_options
from ucloud_cli.problems import Resource

_SPECS = ("cpu", "ram", "ssd", "hdd")


@click.group(cls=Group)
def vm() -> None:
    """Virtual machines."""


@vm.command()
@new_name(required=False)
@click.option("--image", required=True, shell_complete=complete_names(IMAGE), help="The image's name or uuid.")
@click.option("--cpu", required=True, type=int, help="Processors.")
@click.option("--ram", required=True, type=SIZE, help='Memory: GiB, or with a unit, such as "512MiB".')
@click.option(
    "--ssd",
    required=True,
    multiple=True,
    type=SIZE,
    help="The root disk, at least as large as the image; again for an SSD more.",
)
@click.option("--hdd", multiple=True, type=SIZE, help="An HDD; again for one more.")
@click.option("--owner", shell_complete=complete_names(USER), help="Whose VM it is; for admins.  [default: you]")
@click.option("--stopped", is_flag=True, help="Don't start it.")
@click.option("--protect", is_flag=True, help="Forbid to delete it.")
@guest_options
@placing_options
@wait_options
@shared_options
@pass_session
def create(session: Session, /, wait_s: float | None, **wanted: Any) -> None:
    """Create a VM, called NAME if that is said."""
    body: Resource = {key: wanted[key] for key in ("name", "image") if wanted[key] is not None}
    body |= owner_of(session, wanted["owner"])
    body["specs"] = {key: wanted[key] for key in ("cpu", "ram")}
    body["specs"] |= {key: sizes_of(wanted[key]) for key in ("ssd", "hdd") if wanted[key]}
    body["requested"] = Requested.STOPPED if wanted["stopped"] else Requested.RUNNING
    if wanted["protect"]:
        body["protected"] = True
    body |= placing_of(wanted) | guest_of(wanted)
    accepted = session.client.post(VM.path, body)
    finish(session, VM, accepted, vm_goal(accepted), wait_s)


for look in (why, watch, log, console, screenshot, migrate, snapshot):
    vm.add_command(look)
vm.add_command(disk)
add_list(vm, VM)
add_show(vm, VM)
add_events(vm, VM)
add_delete(vm, VM, "Delete a VM and its disks.", vm_goal)


def _verb(verb: str, help_text: str, force_help: str = "") -> None:
    """Add a command that asks for a verb of a VM's life."""

    @pass_session
    def command(session: Session, name: str, wait_s: float | None, force: bool = False) -> None:
        found = VM.find(session.client, name)
        accepted = session.client.post(f"{VM.path_of(found)}/{verb}", {"force": True} if force else None)
        finish(session, VM, accepted, vm_goal(accepted), wait_s)

    decorated = wait_options(shared_options(command))
    if force_help:
        decorated = click.option("--force", is_flag=True, help=force_help)(decorated)
    vm.command(verb, help=help_text)(name_argument(VM)(decorated))


_CUT = "Cut the power: the guest is not asked."
_verb("start", "Start a VM.")
_verb("stop", "Stop a VM: its guest is asked to shut down, and cut off if it does not.", _CUT)
_verb("suspend", "Suspend a running VM: it stays in memory and stands still.")
_verb("resume", "Resume a suspended VM.")
_verb("reboot", "Shut a running VM down and start it again.", _CUT)


def _change(session: Session, name: str, body: Resource, wait_s: float | None) -> Resource | None:
    """Change what is wanted of a VM; returns it as it is then."""
    found = VM.find(session.client, name)
    accepted = session.client.patch(VM.path_of(found), body)
    return finish(session, VM, accepted, notice_goal(accepted), wait_s)


@vm.command()
@name_argument(VM)
@click.argument("new_name")
@wait_options
@shared_options
@pass_session
def rename(session: Session, name: str, new_name: str, wait_s: float | None) -> None:
    """Give a VM another name."""
    _change(session, name, {"name": new_name}, wait_s)


@vm.command()
@name_argument(VM)
@click.option("--cpu", type=int, help="Processors.")
@click.option("--ram", type=SIZE, help='Memory: GiB, or with a unit, such as "512MiB".')
@click.option("--ssd", type=SIZE, help="The root disk, if it is the only SSD; it can only grow.")
@click.option("--hdd", type=SIZE, help="The HDD, if there is one at most; it can only grow.")
@wait_options
@shared_options
@pass_session
def resize(session: Session, /, name: str, wait_s: float | None, **specs: Any) -> None:
    """Give a VM more or less of what it is made of."""
    wanted = {what: amount for what, amount in specs.items() if amount is not None}
    if not wanted:
        raise click.UsageError(f"say what to resize: {', '.join(f'--{what}' for what in _SPECS)}")
    result = _change(session, name, {"specs": wanted}, wait_s)
    if result and result.get("restart_needed"):
        note(f"{result['name']}: takes effect at the next start or reboot: ucloud vm reboot {result['name']}")


@vm.command("set")
@name_argument(VM)
@placing_options
@click.option("--no-groups", is_flag=True, help="Out of all groups.")
@click.option("--no-host-labels", is_flag=True, help="Any host will do.")
@wait_options
@shared_options
@pass_session
def set_vm(
    session: Session, /, name: str, wait_s: float | None, no_groups: bool, no_host_labels: bool, **wanted: Any
) -> None:
    """Say where a VM goes, and when. Groups and labels count when it is placed the next time: it is not moved now."""
    body = placing_of(wanted)
    if no_groups:
        body["affinity"] = []
    if no_host_labels:
        body["host_labels"] = {}
    if not body:
        raise click.UsageError("say what to set, see ucloud vm set --help")
    _change(session, name, body, wait_s)


@vm.command()
@name_argument(VM)
@click.argument("port", type=PLUG, metavar=PLUG_METAVAR)
@wait_options
@shared_options
@pass_session
def attach(session: Session, name: str, port: Resource, wait_s: float | None) -> None:
    """Plug a VM into a network; a guest that runs gets a network device more."""
    found = VM.find(session.client, name)
    accepted = session.client.post(f"{VM.path_of(found)}/port", port)
    finish(session, VM, accepted, notice_goal(accepted), wait_s)


@vm.command()
@name_argument(VM)
@click.argument("port", metavar="PORT|NETWORK")
@wait_options
@shared_options
@pass_session
def detach(session: Session, name: str, port: str, wait_s: float | None) -> None:
    """Unplug a VM from a network, by its port's id or by the network's name. Its addresses are free at once."""
    found = VM.find(session.client, name)
    accepted = session.client.delete(f"{VM.path_of(found)}/port/{port_of(found, port)}")
    if accepted is not None:
        finish(session, VM, accepted, notice_goal(accepted), wait_s)


def _protection(command_name: str, protected: bool, help_text: str) -> None:
    """Add a command that protects VMs, or does so no longer."""

    @vm.command(command_name, help=help_text)
    @name_argument(VM)
    @wait_options
    @shared_options
    @pass_session
    def command(session: Session, name: str, wait_s: float | None) -> None:
        _change(session, name, {"protected": protected}, wait_s)


_protection("protect", True, "Forbid to delete a VM.")
_protection("unprotect", False, "Allow to delete a VM.")

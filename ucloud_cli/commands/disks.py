"""The commands for a VM's disks; they may be of use while the VM runs."""

import click

from ucloud_cli.commands.of_vm import complete_parts, vm_argument
from ucloud_cli.goals import notice_goal
from ucloud_cli.groups import Group
from ucloud_cli.kind import finish
from ucloud_cli.kinds import VM
from ucloud_cli.options import SIZE, Session, pass_session, shared_options, table_options, wait_options
from ucloud_cli.output import Column, Columns, print_list, size
from ucloud_cli.problems import Resource

_DISKS: Columns = {
    "SERIAL": Column(lambda disk: disk["serial"]),
    "KIND": Column(lambda disk: disk["kind"]),
    "SIZE": Column(lambda disk: size(disk["size"])),
}
_serial_argument = click.argument("serial", shell_complete=complete_parts("disks", "serial"))


def sizes_of(said: tuple[int | str, ...]) -> object:
    """An option that was given once or more, as the API takes it."""
    return said[0] if len(said) == 1 else list(said)


@click.group(cls=Group)
def disk() -> None:
    """The disks of a VM: inside it, SERIAL is /dev/disk/by-id/virtio-SERIAL."""


@disk.command("list")
@vm_argument
@table_options(tuple(_DISKS))
@shared_options
@pass_session
def list_disks(session: Session, name: str) -> None:
    """List the disks of a VM; the first one is its root disk."""
    session.layout.check(_DISKS)
    print_list(VM.find(session.client, name)["disks"], _DISKS, session.layout)


@disk.command()
@vm_argument
@click.option("--ssd", type=SIZE, help="An SSD of this size.")
@click.option("--hdd", type=SIZE, help="An HDD of this size.")
@wait_options
@shared_options
@pass_session
def add(session: Session, /, name: str, ssd: int | str | None, hdd: int | str | None, wait_s: float | None) -> None:
    """Add an empty disk to a VM; a guest that runs gets it at once."""
    if (ssd is None) is (hdd is None):
        raise click.UsageError("say --ssd or --hdd")
    kind, wanted = ("ssd", ssd) if hdd is None else ("hdd", hdd)
    found = VM.find(session.client, name)
    accepted = session.client.post(f"{VM.path_of(found)}/disk", {"kind": kind, "size": wanted})
    _finish(session, accepted, wait_s)


@disk.command()
@vm_argument
@_serial_argument
@click.argument("wanted", metavar="SIZE", type=SIZE)
@wait_options
@shared_options
@pass_session
def grow(session: Session, /, name: str, serial: str, wanted: int | str, wait_s: float | None) -> None:
    """Make a disk larger; a guest that runs sees it at once."""
    found = VM.find(session.client, name)
    _finish(session, session.client.patch(f"{VM.path_of(found)}/disk/{serial}", {"size": wanted}), wait_s)


@disk.command()
@vm_argument
@_serial_argument
@wait_options
@shared_options
@pass_session
def remove(session: Session, /, name: str, serial: str, wait_s: float | None) -> None:
    """Remove a disk, with all that it holds, as soon as the guest has let go of it."""
    found = VM.find(session.client, name)
    accepted = session.client.delete(f"{VM.path_of(found)}/disk/{serial}")
    if accepted is not None:
        _finish(session, accepted, wait_s)


def _finish(session: Session, accepted: Resource, wait_s: float | None) -> None:
    finish(session, VM, accepted, notice_goal(accepted), wait_s)

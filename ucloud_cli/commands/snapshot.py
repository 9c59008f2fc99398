"""The commands for a VM's snapshots."""

import click

from ucloud_cli.commands.of_vm import complete_parts, vm_argument
from ucloud_cli.errors import CliError
from ucloud_cli.goals import notice_goal, rollback_goal, snapshot_goal
from ucloud_cli.groups import Group
from ucloud_cli.kind import finish
from ucloud_cli.kinds import VM
from ucloud_cli.options import Session, pass_session, shared_options, table_options, wait_options
from ucloud_cli.output import Column, Columns, local_time, note, print_list, size
from ucloud_cli.problems import Resource

_COLUMNS: Columns = {
    "NAME": Column(lambda snapshot: snapshot["name"]),
    "ID": Column(lambda snapshot: snapshot["id"], wide=True),
    "STATUS": Column(lambda snapshot: snapshot["status"]),
    "TAKEN": Column(lambda snapshot: local_time(snapshot["taken_at"])),
    "DISKS": Column(lambda snapshot: " ".join(f"{each['serial']}={size(each['size'])}" for each in snapshot["disks"])),
    "CREATED": Column(lambda snapshot: local_time(snapshot["created_at"]), wide=True),
    "REASON": Column(lambda snapshot: snapshot["reason"]),
}
_snapshot_argument = click.argument("wanted", metavar="SNAPSHOT", shell_complete=complete_parts("snapshots", "name"))


@click.group("snapshot", cls=Group)
def snapshot() -> None:
    """Snapshots of VMs: their disks as they were at one moment."""


@snapshot.command()
@vm_argument
@click.argument("snapshot_name", metavar="[SNAPSHOT]", required=False)
@wait_options
@shared_options
@pass_session
def create(session: Session, name: str, snapshot_name: str | None, wait_s: float | None) -> None:
    """Take a snapshot of all disks of a VM, called SNAPSHOT if that is said. A guest that runs stands still for it."""
    found = VM.find(session.client, name)
    body = {"name": snapshot_name} if snapshot_name else {}
    accepted = session.client.post(f"{VM.path_of(found)}/snapshot", body)
    finish(session, VM, accepted, snapshot_goal(accepted), wait_s)


@snapshot.command("list")
@vm_argument
@table_options(tuple(_COLUMNS))
@shared_options
@pass_session
def list_snapshots(session: Session, name: str) -> None:
    """List the snapshots of a VM."""
    session.layout.check(_COLUMNS)
    found = VM.find(session.client, name)
    items = session.client.all(f"{VM.path_of(found)}/snapshot")
    print_list(items, _COLUMNS, session.layout)
    if not items and not session.layout.is_data:
        note(f"there are no snapshots of {found['name']}")


@snapshot.command()
@vm_argument
@_snapshot_argument
@wait_options
@shared_options
@pass_session
def delete(session: Session, name: str, wanted: str, wait_s: float | None) -> None:
    """Remove a snapshot of a VM. Its disks stay as they are."""
    found = VM.find(session.client, name)
    accepted = session.client.delete(f"{VM.path_of(found)}/snapshot/{id_of(found, wanted)}")
    if accepted is not None:
        finish(session, VM, accepted, notice_goal(accepted), wait_s)


@snapshot.command()
@vm_argument
@_snapshot_argument
@wait_options
@shared_options
@pass_session
def rollback(session: Session, name: str, wanted: str, wait_s: float | None) -> None:
    """Have the disks of a VM that is stopped become what they were in a snapshot; what was written since is lost."""
    found = VM.find(session.client, name)
    accepted = session.client.post(f"{VM.path_of(found)}/snapshot/{id_of(found, wanted)}/rollback", None)
    finish(session, VM, accepted, rollback_goal(accepted), wait_s)


def id_of(vm: Resource, wanted: str) -> str:
    """The id of the snapshot of a VM that is meant by its id or its name; CliError."""
    there = vm.get("snapshots", ())
    for key in ("id", "name"):
        for each in there:
            if each[key] == wanted:
                return str(each["id"])
    there_are = ", ".join(each["name"] for each in there) or "none"
    raise CliError(f'{vm["name"]} has no snapshot "{wanted}"; there are: {there_are}')

"""The commands for VMs."""

from typing import Any

import click

from ucloud_cli.client import Resource
from ucloud_cli.goals import vm_goal
from ucloud_cli.options import SIZE, Session, pass_session, shared_options, wait_options
from ucloud_cli.output import Columns, last_part, print_list, print_one, size
from ucloud_cli.wait import finish

_PATH = "/v1/vm"

_COLUMNS: Columns = {
    "NAME": lambda vm: vm["name"],
    "UUID": lambda vm: vm["uuid"],
    "OWNER": lambda vm: vm["owner"],
    "STATUS": lambda vm: vm["status"],
    "HOST": lambda vm: last_part(vm["hostname"]),
    "CPU": lambda vm: vm["specs"]["cpu"],
    "RAM": lambda vm: size(vm["specs"]["ram"]),
    "SSD": lambda vm: size(vm["specs"]["ssd"]),
    "IMAGE": lambda vm: vm["image_name"] or vm["image"],
    "ADDRESSES": lambda vm: " ".join(vm["addresses"]),
    "REASON": lambda vm: vm["reason"],
}

_FIELDS: Columns = {
    "name": lambda vm: vm["name"],
    "uuid": lambda vm: vm["uuid"],
    "owner": lambda vm: vm["owner"],
    "status": lambda vm: vm["status"],
    "reason": lambda vm: vm["reason"],
    "requested": lambda vm: vm["requested"],
    "host": lambda vm: last_part(vm["hostname"]),
    "cpu": lambda vm: vm["specs"]["cpu"],
    "ram": lambda vm: size(vm["specs"]["ram"]),
    "ssd": lambda vm: size(vm["specs"]["ssd"]),
    "hdd": lambda vm: size(vm["specs"]["hdd"]),
    "image": lambda vm: f"{vm['image_name'] or '(deleted)'}  {vm['image']}",
    "addresses": lambda vm: " ".join(vm["addresses"]),
    "generation": lambda vm: f"{vm['generation']} (observed: {vm['observed_generation']})",
    "created": lambda vm: vm["created_at"],
    "events": lambda vm: "\n".join(f"{event['at']}  {event['what']}" for event in vm["events"]),
}


@click.group()
def vm() -> None:
    """Virtual machines."""


@vm.command()
@click.option("--name", help="A DNS label; made up if left out.")
@click.option("--image", required=True, help="The image's name or uuid.")
@click.option("--cpu", required=True, type=int, help="Processors.")
@click.option("--ram", required=True, type=SIZE, help='Memory: GiB, or with a unit, such as "512MiB".')
@click.option("--ssd", required=True, type=SIZE, help="The root disk; at least as large as the image.")
@click.option("--hdd", type=SIZE, default=0, help="A second disk.")
@click.option("--owner", help="Whose VM it is; the API's default if left out.")
@click.option("--stopped", is_flag=True, help="Don't start it.")
@wait_options
@shared_options
@pass_session
def create(session: Session, /, wait_s: float | None, **wanted: Any) -> None:
    """Create a VM."""
    body: Resource = {key: wanted[key] for key in ("name", "owner", "image") if wanted[key] is not None}
    body["specs"] = {key: wanted[key] for key in ("cpu", "ram", "ssd", "hdd")}
    body["requested"] = "STOPPED" if wanted["stopped"] else "RUNNING"
    _finish(session, session.client.send("POST", _PATH, body), wait_s)


@vm.command("list")
@click.option("--owner", help="Only what this owner has.")
@click.option("--status", type=str.upper, help="Only VMs in this state.")
@shared_options
@pass_session
def list_vms(session: Session, owner: str | None, status: str | None) -> None:
    """List VMs."""
    print_list(session.client.all(_PATH, owner=owner, status=status), _COLUMNS, session.output)


@vm.command()
@click.argument("name")
@shared_options
@pass_session
def show(session: Session, name: str) -> None:
    """Show a VM, by name or uuid."""
    print_one(session.client.find("vm", name), _FIELDS, session.output)


@vm.command()
@click.argument("name")
@click.option("--tail", "tail_bytes", type=click.IntRange(1, 1024 * 1024), metavar="BYTES", help="Only the end of it.")
@shared_options
@pass_session
def log(session: Session, name: str, tail_bytes: int | None) -> None:
    """Print a VM's serial log."""
    found = session.client.find("vm", name)
    click.echo(session.client.text(f"{_PATH}/{found['uuid']}/log", tail_bytes=tail_bytes), nl=False)


@vm.command()
@click.argument("name")
@wait_options
@shared_options
@pass_session
def delete(session: Session, name: str, wait_s: float | None) -> None:
    """Delete a VM and its disks."""
    found = session.client.find("vm", name)
    path = f"{_PATH}/{found['uuid']}"
    _finish(session, session.client.send("DELETE", path), wait_s)


def _verb(verb: str, requested: str, help_text: str) -> None:
    """Add a command that requests a state."""

    @vm.command(verb, help=help_text)
    @click.argument("name")
    @wait_options
    @shared_options
    @pass_session
    def command(session: Session, name: str, wait_s: float | None) -> None:
        found = session.client.find("vm", name)
        changed = session.client.send("PATCH", f"{_PATH}/{found['uuid']}", {"requested": requested})
        _finish(session, changed, wait_s)


_verb("start", "RUNNING", "Start a VM.")
_verb("stop", "STOPPED", "Stop a VM: its guest is asked to shut down.")
_verb("suspend", "SUSPENDED", "Suspend a running VM: it stays in memory and stands still.")
_verb("resume", "RUNNING", "Resume a suspended VM.")


def _finish(session: Session, accepted: Resource, wait_s: float | None) -> None:
    finish(session, f"{_PATH}/{accepted['uuid']}", accepted, vm_goal(accepted), _COLUMNS, wait_s)

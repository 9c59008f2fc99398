"""The commands for hosts."""

from typing import Any

import click

from ucloud_cli.client import Resource
from ucloud_cli.options import Session, pass_session, shared_options
from ucloud_cli.output import Columns, print_list, print_one, size

_PATH = "/v1/host"


def _part(host: Resource, what: str) -> str:
    """How much of something is ordered, and how much there is: "3/8"."""
    capacity = host["capacity"]
    show = str if what == "cpu" else size
    return f"{show(host['ordered'][what])}/{show(capacity[what]) if capacity else '?'}"


_COLUMNS: Columns = {
    "NAME": lambda host: host["name"],
    "STATE": lambda host: host["state"],
    "STATUS": lambda host: host["status"],
    "VMS": lambda host: host["vms"],
    "CPU": lambda host: _part(host, "cpu"),
    "RAM": lambda host: _part(host, "ram"),
    "SSD": lambda host: _part(host, "ssd"),
    "HDD": lambda host: _part(host, "hdd"),
    "HYPERVISOR": lambda host: host["hypervisor"],
}

_FIELDS: Columns = {
    "name": lambda host: host["name"],
    "state": lambda host: host["state"],
    "status": lambda host: host["status"],
    "vms": lambda host: host["vms"],
    "cpu": lambda host: _part(host, "cpu"),
    "ram": lambda host: _part(host, "ram"),
    "ssd": lambda host: _part(host, "ssd"),
    "hdd": lambda host: _part(host, "hdd"),
    "overcommit": lambda host: ", ".join(f"{what} {factor}" for what, factor in host["overcommit"].items()),
    "addresses": lambda host: " ".join(host["addresses"]),
    "hypervisor": lambda host: host["hypervisor"],
    "versions": lambda host: "\n".join(f"{what} {version}" for what, version in sorted(host["versions"].items())),
}


@click.group()
def host() -> None:
    """Hosts that VMs run on."""


@host.command("list")
@shared_options
@pass_session
def list_hosts(session: Session) -> None:
    """List hosts."""
    print_list(session.client.all(_PATH), _COLUMNS, session.output)


@host.command()
@click.argument("name")
@shared_options
@pass_session
def show(session: Session, name: str) -> None:
    """Show a host."""
    print_one(session.client.get(f"{_PATH}/{name}"), _FIELDS, session.output)


@host.command("set")
@click.argument("name")
@click.option("--state", type=click.Choice(("enabled", "draining", "disabled")), help="What it may do.")
@click.option("--overcommit-cpu", "cpu", type=float, help="How many times the processors may be promised.")
@click.option("--overcommit-ram", "ram", type=float, help="How many times the memory may be promised.")
@click.option("--overcommit-disk", "disk", type=float, help="How many times the disks may be promised.")
@shared_options
@pass_session
def set_host(session: Session, /, name: str, state: str | None, **factors: Any) -> None:
    """Enable, drain or disable a host, or say how far it may be overcommitted."""
    overcommit = {what: factor for what, factor in factors.items() if factor is not None}
    body: Resource = {**({"state": state} if state else {}), **({"overcommit": overcommit} if overcommit else {})}
    if not body:
        raise click.UsageError("say what to set: --state or one of --overcommit-*")
    changed = session.client.send("PATCH", f"{_PATH}/{name}", body)
    if session.output == "table":
        print_list([changed], _COLUMNS, "table")
    else:
        print_one(changed, _FIELDS, session.output)

"""The commands for networks."""

from typing import Any

import click

from ucloud_cli.commands.events import add_events
from ucloud_cli.groups import Group
from ucloud_cli.kind import add_delete, add_list, add_show, complete_names, name_argument, new_name, print_result
from ucloud_cli.kinds import NETWORK, USER
from ucloud_cli.options import Session, owner_of, pass_session, shared_options
from ucloud_cli.problems import Resource


@click.group(cls=Group)
def network() -> None:
    """Networks that VMs are plugged into."""


@network.command()
@new_name(required=True)
@click.option("--prefix", metavar="PREFIX", help="Its IPv6 prefix, a /64.  [default: one of the cloud's]")
@click.option("--ipv4", metavar="PREFIX", help="Its IPv4 prefix, such as 10.0.0.0/24.  [default: no IPv4]")
@click.option("--mtu", type=int, help="What VMs may send at most, in octets.  [default: what the hosts' network takes]")
@click.option("--isolated", is_flag=True, help="It has no way out.")
@click.option("--owner", shell_complete=complete_names(USER), help="Whose network it is; for admins.  [default: you]")
@click.option("--public", is_flag=True, help="Let all users plug VMs into it; for admins.")
@shared_options
@pass_session
def create(session: Session, /, **wanted: Any) -> None:
    """Create a network, called NAME."""
    body = {field: value for field, value in wanted.items() if value not in (None, False)}
    made = session.client.post(NETWORK.path, body | owner_of(session, wanted["owner"]))
    print_result(session, NETWORK, made, made)


def _change(session: Session, name: str, body: Resource) -> None:
    found = NETWORK.find(session.client, name)
    changed = session.client.patch(NETWORK.path_of(found), body)
    print_result(session, NETWORK, changed, changed)


@network.command()
@name_argument(NETWORK)
@click.argument("new_name")
@shared_options
@pass_session
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a network another name."""
    _change(session, name, {"name": new_name})


@network.command("set")
@name_argument(NETWORK)
@click.option("--public/--private", default=None, help="Whether all users may plug VMs into it.")
@shared_options
@pass_session
def set_network(session: Session, name: str, public: bool | None) -> None:
    """Say who may use a network; for admins."""
    if public is None:
        raise click.UsageError("say what to set: --public or --private")
    _change(session, name, {"public": public})


add_list(network, NETWORK)
add_show(network, NETWORK)
add_events(network, NETWORK)
add_delete(network, NETWORK, "Delete a network that no VM is plugged into.")

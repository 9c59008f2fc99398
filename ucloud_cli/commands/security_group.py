"""The commands for security groups and their rules."""

from collections.abc import Callable
from typing import Any

import click

from common.schemas.network import Direction, Protocol
from ucloud_cli.commands.events import add_events
from ucloud_cli.errors import NotFound
from ucloud_cli.groups import Group
from ucloud_cli.kind import F, add_delete, add_list, add_show, complete_names, name_argument, new_name, print_result
from ucloud_cli.kinds import SECURITY_GROUP, USER, rule_text
from ucloud_cli.options import Session, owner_of, pass_session, shared_options
from ucloud_cli.problems import Resource

_PROTOCOLS = tuple(each.value for each in Protocol)
_DIRECTIONS = tuple(each.value for each in Direction)
_NO_RULE: Resource = {
    "direction": "in",
    "protocol": "any",
    "first_port": None,
    "last_port": None,
    "prefix": None,
    "group": None,
}


class Ports(click.ParamType["tuple[int, int]"]):
    """A port, or the first and the last one: 443, 8000-8099."""

    name = "ports"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The first and the last port; their range is the API's to judge."""
        if isinstance(value, tuple):
            return value
        first, hyphen, last = str(value).partition("-")
        if not first.isdecimal() or (hyphen and not last.isdecimal()):
            self.fail(f'"{value}" is no port and no range such as 8000-8099', param, ctx)
        return int(first), int(last or first)


@click.group("security-group", cls=Group)
def security_group() -> None:
    """What may pass to and from VMs."""


@security_group.command()
@new_name(required=True)
@click.option("--owner", shell_complete=complete_names(USER), help="Whose group it is; for admins.  [default: you]")
@shared_options
@pass_session
def create(session: Session, /, name: str, owner: str | None) -> None:
    """Create a security group, called NAME, without rules: nothing comes in, everything goes out."""
    made = session.client.post(SECURITY_GROUP.path, {"name": name, **owner_of(session, owner)})
    print_result(session, SECURITY_GROUP, made, made)


@security_group.command()
@name_argument(SECURITY_GROUP)
@click.argument("new_name")
@shared_options
@pass_session
def rename(session: Session, name: str, new_name: str) -> None:
    """Give a security group another name."""
    found = SECURITY_GROUP.find(session.client, name)
    changed = session.client.patch(SECURITY_GROUP.path_of(found), {"name": new_name})
    print_result(session, SECURITY_GROUP, changed, changed)


@security_group.group(cls=Group)
def rule() -> None:
    """The rules of a security group."""


def _rule_options(command: F) -> F:
    for option in (
        click.option("--group", shell_complete=complete_names(SECURITY_GROUP), help="From, or to, a group's members."),
        click.option("--prefix", metavar="PREFIX", help="From, or to, these addresses.  [default: anywhere]"),
        click.option("--port", "ports", type=Ports(), metavar="PORT[-PORT]", help="With tcp and udp.  [default: all]"),
        click.option("--protocol", type=click.Choice(_PROTOCOLS), default="any", show_default=True),
        click.option("--direction", type=click.Choice(_DIRECTIONS), default="in", show_default=True),
    ):
        command = option(command)
    return command


def _said(session: Session, said: dict[str, Any]) -> Resource:
    """A rule as the API shows it."""
    first, last = said["ports"] or (None, None)
    group = SECURITY_GROUP.find(session.client, said["group"])["uuid"] if said["group"] else None
    words = {"direction": said["direction"], "protocol": said["protocol"]}
    return _NO_RULE | words | {"first_port": first, "last_port": last, "prefix": said["prefix"], "group": group}


def _change(session: Session, name: str, change: Callable[[list[Resource]], list[Resource]]) -> None:
    found = SECURITY_GROUP.find(session.client, name)
    changed = session.client.update(
        SECURITY_GROUP.path_of(found), lambda group: {"rules": change([_NO_RULE | each for each in group["rules"]])}
    )
    print_result(session, SECURITY_GROUP, changed, changed)


@rule.command()
@name_argument(SECURITY_GROUP)
@_rule_options
@shared_options
@pass_session
def add(session: Session, /, name: str, **said: Any) -> None:
    """Let something pass, with all that answers it."""
    wanted = _said(session, said)
    _change(session, name, lambda rules: [*rules, *([] if wanted in rules else [wanted])])


@rule.command()
@name_argument(SECURITY_GROUP)
@_rule_options
@shared_options
@pass_session
def remove(session: Session, /, name: str, **said: Any) -> None:
    """Let something pass no longer: the rule that was added by the same options."""
    wanted = _said(session, said)
    is_known = False

    def without(rules: list[Resource]) -> list[Resource]:
        nonlocal is_known
        if wanted not in rules and not is_known:
            there_are = "; ".join(rule_text(each, {}) for each in rules) or "none"
            raise NotFound(f"{name} has no such rule; there are: {there_are}")
        is_known = True
        return [each for each in rules if each != wanted]

    _change(session, name, without)


add_list(security_group, SECURITY_GROUP)
add_show(security_group, SECURITY_GROUP)
add_events(security_group, SECURITY_GROUP)
add_delete(security_group, SECURITY_GROUP, "Delete a security group that no VM and no other group's rule uses.")

"""What ports may send and receive, as data alone: made from records, turned into rules by a renderer. Pure.

All of it is positive: what is not said here does not pass. Whatever a policy needs that a renderer can't do, that
renderer refuses.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses
from typing import Protocol as Interface

from common.errors import PermanentError
from common.schemas.network import GATEWAY_MAC, Direction, NetworkRequest, Protocol, SecurityGroup
from common.schemas.port import Port, mac_of

MOST_ZONES = 65535
"""The kernel numbers the zones of its connection tracking with 16 bits; 0 is the one of everything else."""
_GROUP_ID = re.compile(r"[0-9a-f-]{1,64}")


class Need(StrEnum):
    """Something that a policy may rest on, and that a renderer can or can't do."""

    MAC = "a port's MAC address"
    FRAME_TYPE = "the types of frames"
    ARP = "the senders of ARP"
    ND = "the targets of neighbour discovery"
    MEMBERS = "who is a member of a group, by MAC address and address"
    ISOLATION = "networks without a way out, whose addresses others may have, too"


@dataclass(frozen=True)
class Permission:
    """What may pass, as a rule of a security group says it; the group's members are found in the policy."""

    protocol: Protocol = Protocol.ANY
    ports: tuple[int, int] | None = None
    prefix: IPv6Network | IPv4Network | None = None
    group: str | None = None


Address = IPv6Address | IPv4Address


@dataclass(frozen=True)
class PortRights:
    """What a port may call itself, what may reach it and what it may reach."""

    tap: str
    bridge: str
    mac: str
    ipv6: tuple[IPv6Address, ...]
    """Its own addresses, with the link-local one: what it may send from, and be asked for."""
    ipv4: tuple[IPv4Address, ...] = ()
    prefixes: tuple[IPv6Network, ...] = ()
    """Routed to it: what it may send from, but not be asked for. None is within another."""
    arriving: tuple[Permission, ...] | None = None
    """None: everything; else this, and what answers."""
    leaving: tuple[Permission, ...] | None = None
    """None: everything that is not forged; else this, and what answers."""

    @property
    def is_filtered(self) -> bool:
        """Whether it matters which connections are established."""
        return self.arriving is not None or self.leaving is not None


@dataclass(frozen=True)
class BridgeRights:
    """A network's bridge on this host."""

    name: str
    zone: int
    """Of connection tracking: equal addresses of different networks are told apart by it."""
    isolated: bool

    def zone_of(self, address: Address) -> int:
        """The zone of the connections of an address: 0 if it is one that is routed, and so unlike all others."""
        is_routed = address.version == 6 and not address.is_link_local and not self.isolated
        return 0 if is_routed else self.zone


@dataclass(frozen=True)
class Members:
    """Who is in a security group: MAC address and address of each frame that one of them may be seen in."""

    ipv6: frozenset[tuple[str, IPv6Address]] = frozenset()
    ipv4: frozenset[tuple[str, IPv4Address]] = frozenset()


@dataclass(frozen=True)
class Policy:
    """All that a host enforces. `ports` by tap, `bridges` by name, `members` by group."""

    ports: Mapping[str, PortRights] = field(default_factory=dict)
    bridges: Mapping[str, BridgeRights] = field(default_factory=dict)
    members: Mapping[str, Members] = field(default_factory=dict)
    vouched: frozenset[Need] = frozenset()
    """What somebody else makes sure of, so that no renderer has to."""

    def needs(self) -> frozenset[Need]:
        """What a renderer must be able to do."""
        needs: set[Need] = set()
        if self.ports:
            needs |= {Need.MAC, Need.FRAME_TYPE, Need.ARP, Need.ND}
        if self.members:
            needs.add(Need.MEMBERS)
        if any(bridge.isolated for bridge in self.bridges.values()):
            needs.add(Need.ISOLATION)
        return frozenset(needs - self.vouched)


@dataclass(frozen=True)
class Connections:
    """All connections in a zone that were begun from, or to, an address, or both."""

    zone: int
    source: Address | None = None
    to: Address | None = None


class Unsupported(PermanentError):
    """A renderer can't do what a policy needs."""

    def __init__(self, renderer: str, needs: Iterable[Need]) -> None:
        super().__init__(f"{renderer} can't check {', '.join(sorted(needs))}")
        self.needs = frozenset(needs)


@dataclass(frozen=True)
class Batch:
    """Text that is loaded as a whole or not at all; `target` is where, in the renderer's own words."""

    target: str
    text: str


class Renderer(Interface):
    """Turns a policy into the words of a packet filter. Pure. Unsupported, if the filter can't do what it needs."""

    def load(self, policy: Policy) -> tuple[Batch, ...]:
        """All of it, in place of whatever is there."""
        ...

    def change(self, before: Policy, after: Policy) -> tuple[Batch, ...]:
        """What turns `before`, which is loaded, into `after`; nothing if they are the same."""
        ...


def refuse_what_it_cannot(renderer: str, policy: Policy, can: frozenset[Need]) -> None:
    """Unsupported, if the policy needs more than `can`."""
    if missing := policy.needs() - can:
        raise Unsupported(renderer, missing)


def rights_of(port: Port, network: NetworkRequest, groups: Mapping[str, SecurityGroup | None]) -> PortRights:
    """The rights of a port; `groups` has all that it names, None for one that does not exist: it allows nothing."""
    named = [groups[uuid] for uuid in port.security_groups]
    return PortRights(
        tap=port.tap,
        bridge=network.bridge,
        mac=port.mac,
        ipv6=(port.ipv6, port.link_local),
        ipv4=(port.ipv4,) if port.ipv4 else (),
        prefixes=tuple(collapse_addresses(port.prefixes)),
        arriving=_permissions(named, Direction.IN) if named else None,
        leaving=_permissions(named, Direction.OUT) or None,
    )


def groups_named(rights: Iterable[PortRights]) -> frozenset[str]:
    """The groups whose members the rights speak of."""
    permissions = (each for port in rights for way in (port.arriving, port.leaving) for each in way or ())
    return frozenset(each.group for each in permissions if each.group is not None)


def members_of(holders: Iterable[tuple[str, Address]]) -> Members:
    """The members, from the port and the address of each.

    Within their network they are known by the MAC address of their port, which no other network has; frames from and
    to another network, of which there is none with the same addresses, have the gateway's. IPv4 is not routed.
    """
    ipv6: set[tuple[str, IPv6Address]] = set()
    ipv4: set[tuple[str, IPv4Address]] = set()
    for port_id, address in holders:
        if isinstance(address, IPv6Address):
            ipv6 |= {(mac_of(port_id), address), (GATEWAY_MAC, address)}
        else:
            ipv4.add((mac_of(port_id), address))
    return Members(frozenset(ipv6), frozenset(ipv4))


def is_group_id(text: str) -> bool:
    """Whether a group can be called so: its id becomes part of names in the packet filter."""
    return _GROUP_ID.fullmatch(text) is not None


def to_forget(before: Policy, after: Policy) -> frozenset[Connections]:
    """The connections that another policy might not let begin.

    What was begun from the other end stays, whatever its rules: an answer that comes late is still an answer.
    """
    found: set[Connections] = set()
    for tap, port in after.ports.items():
        old = before.ports.get(tap)
        if old is None or after.bridges.get(port.bridge) is None:
            continue
        bridge = after.bridges[port.bridge]
        arriving, leaving = _is_less(old.arriving, port.arriving), _is_less(old.leaving, port.leaving)
        own: tuple[Address, ...] = (*port.ipv6, *port.ipv4)
        for address in own:
            zone = bridge.zone_of(address)
            found |= {Connections(zone, to=address)} if arriving else set()
            found |= {Connections(zone, source=address)} if leaving else set()
    for group, members in before.members.items():
        now = after.members.get(group, Members())
        gone: set[Address] = {address for _, address in members.ipv6 - now.ipv6}
        gone |= {address for _, address in members.ipv4 - now.ipv4}
        for address in gone if group in after.members else ():
            zones = {bridge.zone_of(address) for bridge in after.bridges.values()}
            found |= {Connections(zone, source=address) for zone in zones}
            found |= {Connections(zone, to=address) for zone in zones}
    return frozenset(found)


def give_zones(bridges: Iterable[str], known: Mapping[str, int]) -> dict[str, int]:
    """A zone for each bridge, no two alike. One that is known keeps its own, also while it is not here.

    The bridges of this host are fewer than the zones; those that have been here are forgotten when no zone is left.
    """
    wanted, zones = set(bridges), dict(known)
    taken = set(zones.values())
    free = (zone for zone in range(1, MOST_ZONES + 1) if zone not in taken)
    for name in sorted(wanted - zones.keys()):
        zone = next(free, 0)
        zones[name] = zone or zones.pop(next(other for other in zones if other not in wanted))
    return zones


def _is_less(before: tuple[Permission, ...] | None, after: tuple[Permission, ...] | None) -> bool:
    """Whether something that was permitted is not any more."""
    return after is not None and (before is None or not set(before) <= set(after))


def _permissions(groups: Iterable[SecurityGroup | None], direction: Direction) -> tuple[Permission, ...]:
    """What any of the groups allows, each once, in an order that does not depend on theirs."""
    found = {
        Permission(
            protocol=rule.protocol,
            ports=(rule.first_port, rule.last_port) if rule.first_port and rule.last_port else None,
            prefix=rule.prefix,
            group=rule.group,
        )
        for group in groups
        if group
        for rule in group.rules
        if rule.direction is direction
    }
    return tuple(sorted(found, key=repr))

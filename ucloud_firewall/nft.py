"""Renders a policy for nftables (Linux). Pure.

The rules never change (nft_static). A port is elements of sets; each distinct set of permissions is a chain that is
called after its own text, so it never changes either, and two rulesets are alike if their names are. Big sets are
hashes: an interval set takes a hundred times as long to be changed, and loses frames meanwhile.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from common.schemas.network import Direction, Protocol
from ucloud_firewall import nft_static
from ucloud_firewall.nft_static import TABLE
from ucloud_firewall.rights import (
    Batch,
    BridgeRights,
    Members,
    Need,
    Permission,
    Policy,
    PortRights,
    refuse_what_it_cannot,
)

MEMBER_SETS = {"members6_": "ether_addr . ipv6_addr", "members4_": "ether_addr . ipv4_addr"}
"""The sets of the members of groups, by what their names begin with: their types."""
CHAINS = ("to_g_", "from_g_")
"""What the names of chains of permissions begin with."""
OF_BRIDGES = ("zone4", "zone6", "routed", "bridged")
"""The sets that are about bridges, in the inet table."""
_ICMP = {"ip6": "ipv6-icmp", "ip": "icmp"}

Elements = dict[str, dict[str, str]]
"""By set, by key: the value, which is empty unless the set is a map."""


@dataclass(frozen=True)
class Content:
    """What is in the tables besides the rules that never change."""

    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By set, by key: the value, which is empty unless the set is a map."""
    chains: Mapping[str, str] = field(default_factory=dict)
    """The chains of permissions by name: their rules."""
    sets: frozenset[str] = frozenset()
    """The sets of members."""


class NftRenderer:
    """A rights.Renderer."""

    can = frozenset(Need)

    def load(self, policy: Policy) -> tuple[Batch, ...]:
        """See Renderer."""
        refuse_what_it_cannot("nft", policy, self.can)
        return (Batch(TABLE, nft_static.tables() + delta(Content(), content_of(policy))),)

    def change(self, before: Policy, after: Policy) -> tuple[Batch, ...]:
        """See Renderer."""
        refuse_what_it_cannot("nft", after, self.can)
        gone = {tap: port for tap, port in before.ports.items() if after.ports.get(tap) != port}
        new = {tap: port for tap, port in after.ports.items() if before.ports.get(tap) != port}
        # Chains are shared: of those that the changed ports use, these are used by others, too.
        kept = [port for port in after.ports.values() if port.tap not in new] if gone or new else []
        shared = _chains([*gone.values(), *new.values()]).keys() & _chains(kept).keys()
        text = delta(
            _content(gone.values(), before.bridges.values(), before.members, shared),
            _content(new.values(), after.bridges.values(), after.members, shared),
        )
        return (Batch(TABLE, text),) if text else ()


def content_of(policy: Policy) -> Content:
    """All that a policy has in the tables."""
    return _content(policy.ports.values(), policy.bridges.values(), policy.members, frozenset())


def delta(before: Content, after: Content) -> str:
    """The commands that turn one content into the other, in an order in which each finds what it refers to."""
    new_sets = sorted(after.sets - before.sets)
    lines = [f"add set bridge {TABLE} {name} {{ type {_member_type(name)}; }}" for name in new_sets]
    for name in sorted(after.chains.keys() - before.chains.keys()):
        lines.append(f"add chain bridge {TABLE} {name}")
        lines += [f"add rule bridge {TABLE} {name} {rule}" for rule in after.chains[name].splitlines()]
    removed: Elements = {}
    added: Elements = {}
    for name in sorted(before.elements.keys() | after.elements.keys()):
        old, new = before.elements.get(name, {}), after.elements.get(name, {})
        removed[name] = {key: "" for key, value in old.items() if new.get(key) != value}
        added[name] = {key: value for key, value in new.items() if old.get(key) != value}
    vanishing = before.sets - after.sets
    lines += [_elements("delete", name, keys) for name, keys in removed.items() if keys and name not in vanishing]
    lines += [_elements("add", name, keys) for name, keys in added.items() if keys]
    lines += [f"delete chain bridge {TABLE} {name}" for name in sorted(before.chains.keys() - after.chains.keys())]
    lines += [f"delete set bridge {TABLE} {name}" for name in sorted(vanishing)]
    return "".join(f"{line}\n" for line in lines)


def _elements(verb: str, name: str, keys: Mapping[str, str]) -> str:
    listed = ", ".join(f"{key} : {value}" if value else key for key, value in keys.items())
    return f"{verb} element {'inet' if name in OF_BRIDGES else 'bridge'} {TABLE} {name} {{ {listed} }}"


def _content(
    ports: Iterable[PortRights],
    bridges: Iterable[BridgeRights],
    members: Mapping[str, Members],
    without_chains: frozenset[str] | set[str],
) -> Content:
    ports = list(ports)
    elements: Elements = {}

    def put(name: str, key: str, value: str = "") -> None:
        elements.setdefault(name, {})[key] = value

    for port in ports:
        for name, key, value in _port_elements(port):
            put(name, key, value)
    for bridge in bridges:
        quoted = f'"{bridge.name}"'
        put("zone4", quoted, str(bridge.zone))
        put("bridged", f"{quoted} . {quoted}")
        if bridge.isolated:
            put("zone6", quoted, str(bridge.zone))
        else:
            put("routed", quoted)
    sets = set()
    for group, held in members.items():
        sets |= {_member_set(6, group), _member_set(4, group)}
        for mac, address6 in sorted(held.ipv6):
            put(_member_set(6, group), f"{mac} . {address6}")
        for mac, address4 in sorted(held.ipv4):
            put(_member_set(4, group), f"{mac} . {address4}")
    chains = {name: text for name, text in _chains(ports).items() if name not in without_chains}
    return Content(elements, chains, frozenset(sets))


def _port_elements(port: PortRights) -> Iterable[tuple[str, str, str]]:
    tap = f'"{port.tap}"'
    yield "mac", f"{tap} . {port.mac}", ""
    yield "nd_mac", f"{tap} . {int(port.mac.replace(':', ''), 16):#x}", ""
    for address in port.ipv6:
        yield "address6", f"{tap} . {address}", ""
        yield "nd", f"{tap} . {int(address):#x}", ""
    for prefix in port.prefixes:
        yield "prefix6", f"{tap} . {prefix_text(prefix)}", ""
    for address4 in port.ipv4:
        yield "speaks4", tap, ""
        yield "address4", f"{tap} . {address4}", ""
    yield "arriving", tap, _verdict(Direction.IN, port.arriving)
    yield "leaving", tap, _verdict(Direction.OUT, port.leaving)


def prefix_text(prefix: IPv6Network | IPv4Network) -> str:
    """As nft lists it: a prefix of a single address is that address."""
    return str(prefix.network_address) if prefix.prefixlen == prefix.max_prefixlen else str(prefix)


def _verdict(direction: Direction, permissions: tuple[Permission, ...] | None) -> str:
    return "accept" if permissions is None else f"goto {_chain(direction, permissions)[0]}"


def _chains(ports: Iterable[PortRights]) -> dict[str, str]:
    """The chains that the ports go through, by name."""
    wanted = {(Direction.IN, port.arriving) for port in ports} | {(Direction.OUT, port.leaving) for port in ports}
    return dict(_chain(direction, permissions) for direction, permissions in wanted if permissions is not None)


def _chain(direction: Direction, permissions: tuple[Permission, ...]) -> tuple[str, str]:
    """The name and the rules of the chain for what arrives, or leaves, with these permissions."""
    way, prefix = ("in", CHAINS[0]) if direction is Direction.IN else ("out", CHAINS[1])
    rules = [f"jump always_{way}"]
    rules += [rule for permission in permissions for rule in _rules(direction, permission)]
    rules.append(f"goto drop_{way}")
    text = "\n".join(rules)
    return prefix + hashlib.sha256(text.encode()).hexdigest()[:16], text


def _rules(direction: Direction, permission: Permission) -> list[str]:
    """One rule for each family of addresses that the permission is about."""
    end = "saddr" if direction is Direction.IN else "daddr"
    if permission.group is not None:
        far = {
            "ip6": f"ether {end} . ip6 {end} @{_member_set(6, permission.group)}",
            "ip": f"ether {end} . ip {end} @{_member_set(4, permission.group)}",
        }
    elif isinstance(permission.prefix, IPv6Network):
        far = {"ip6": f"ip6 {end} {prefix_text(permission.prefix)}"}
    elif permission.prefix is not None:
        far = {"ip": f"ip {end} {prefix_text(permission.prefix)}"}
    else:
        far = {"ip6": "ether type ip6", "ip": "ether type ip"}
    return [f"{address} {_protocol(permission, family)}accept" for family, address in far.items()]


def _protocol(permission: Permission, family: str) -> str:
    if permission.protocol is Protocol.ANY:
        return ""
    if permission.protocol is Protocol.ICMP:
        return f"meta l4proto {_ICMP[family]} "
    if permission.ports is None:
        return f"meta l4proto {permission.protocol} "
    first, last = permission.ports
    return f"{permission.protocol} dport {first}-{last} " if first != last else f"{permission.protocol} dport {first} "


def _member_set(family: int, group: str) -> str:
    return f"members{family}_{group.replace('-', '_')}"


def _member_type(name: str) -> str:
    return next(kind for prefix, kind in MEMBER_SETS.items() if name.startswith(prefix))

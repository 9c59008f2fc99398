"""Renders a policy for pf (FreeBSD, OpenBSD): an anchor for each port, `ucloud/<tap>`. Pure.

pf sees IP packets alone. Who sends a frame, ARP and the targets of neighbour discovery it can't check: a policy that
rests on them is refused, unless it says that somebody else vouches for them (the bridge: `ifconfig bridge0 rule`). The
main ruleset must hold `anchor "ucloud/*"` and, after it, `block drop quick on tap`, so that a tap without an anchor
passes nothing.
"""

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

from common.schemas.network import Protocol
from ucloud_firewall.rights import Batch, Members, Need, Permission, Policy, PortRights, refuse_what_it_cannot

ANCHOR = "ucloud"
_ND_OUT = "{ neighbrsol, neighbradv, routersol, 143 }"
_ND_IN = "{ neighbrsol, neighbradv, routeradv, 130 }"
_SENT_BEFORE_ANY_ADDRESS = "{ routersol, 143, neighbrsol }"
_METADATA = "{ fe80::a9fe:a9fe, fd00:ec2::253, fd00:ec2::254, 169.254.169.254 }"


class PfRenderer:
    """A rights.Renderer. Connections are tracked for each interface, so equal addresses of two networks don't mix."""

    can = frozenset({Need.ISOLATION})

    def load(self, policy: Policy) -> tuple[Batch, ...]:
        """See Renderer."""
        refuse_what_it_cannot("pf", policy, self.can)
        return tuple(_anchor(port, policy) for port in policy.ports.values())

    def change(self, before: Policy, after: Policy) -> tuple[Batch, ...]:
        """See Renderer. The anchor of a port that has gone is left empty."""
        old, new = ({each.target: each for each in self.load(policy)} for policy in (before, after))
        gone = (Batch(target, "") for target in old.keys() - new.keys())
        return (*gone, *(batch for target, batch in new.items() if old.get(target) != batch))


def _anchor(port: PortRights, policy: Policy) -> Batch:
    """All rules of a port; "in" is what its guest sends, as pf sees it."""
    tap = port.tap
    lines = [*_tables(port, policy)]
    lines += [
        f"block drop in quick on {tap} inet6 proto icmp6 icmp6-type {{ routeradv, redir, 130, 138, 151, 153 }}",
        f"block drop in quick on {tap} proto udp from any port {{ 67, 547 }}",
        f"pass in quick on {tap} inet6 proto icmp6 from :: icmp6-type {_SENT_BEFORE_ANY_ADDRESS} no state",
        f"block drop in quick on {tap} inet6 from ! <own>",
    ]
    if port.ipv4:
        lines.append(f"pass in quick on {tap} inet proto udp from 0.0.0.0 port 68 to any port 67 no state")
        lines.append(f"block drop in quick on {tap} inet from ! <own>")
    else:
        lines.append(f"block drop quick on {tap} inet")
    lines += _leaving(port) + _arriving(port)
    return Batch(f"{ANCHOR}/{tap}", "".join(f"{line}\n" for line in lines))


def _tables(port: PortRights, policy: Policy) -> Iterable[str]:
    own = [*port.ipv6, *port.prefixes, *port.ipv4]
    yield f"table <own> const {{ {', '.join(map(str, own))} }}"
    named = {each.group for way in (port.arriving, port.leaving) for each in way or () if each.group is not None}
    for group in sorted(named):
        members = policy.members.get(group, Members())
        addresses = sorted({address for _, address in members.ipv6}) + sorted({address for _, address in members.ipv4})
        yield f"table <{_table(group)}> const {{ {', '.join(map(str, addresses))} }}"


def _leaving(port: PortRights) -> list[str]:
    if port.leaving is None:
        return [f"pass in quick on {port.tap} from <own> keep state (if-bound)"]
    return [
        f"pass in quick on {port.tap} inet6 proto icmp6 icmp6-type {_ND_OUT} no state",
        f"pass in quick on {port.tap} to {_METADATA} keep state (if-bound)",
        *(
            f"pass in quick on {port.tap} {rule} keep state (if-bound)"
            for permission in port.leaving
            for rule in _rules(permission, "from <own> to {}")
        ),
        f"block drop in quick on {port.tap}",
    ]


def _arriving(port: PortRights) -> list[str]:
    if port.arriving is None:
        return [f"pass out quick on {port.tap} keep state (if-bound)"]
    return [
        f"pass out quick on {port.tap} inet6 proto icmp6 icmp6-type {_ND_IN} no state",
        *(
            f"pass out quick on {port.tap} {rule} keep state (if-bound)"
            for permission in port.arriving
            for rule in _rules(permission, "from {} to <own>")
        ),
        f"block drop out quick on {port.tap}",
    ]


def _rules(permission: Permission, ends: str) -> Iterable[str]:
    """The rules of a permission; the port is always that of the end that is called."""
    far = f"<{_table(permission.group)}>" if permission.group is not None else str(permission.prefix or "any")
    for family in _families(permission.prefix):
        protocol = ""
        if permission.protocol is Protocol.ICMP:
            protocol = " proto icmp6" if family == "inet6" else " proto icmp"
        elif permission.protocol is not Protocol.ANY:
            protocol = f" proto {permission.protocol}"
        first, last = permission.ports or (0, 0)
        span = (f" port {first}" if first == last else f" port {first}:{last}") if permission.ports else ""
        yield f"{family}{protocol} {ends.format(far)}{span}"


def _families(prefix: IPv6Network | IPv4Network | None) -> tuple[str, ...]:
    if prefix is None:
        return ("inet6", "inet")
    return ("inet6",) if isinstance(prefix, IPv6Network) else ("inet",)


def _table(group: str) -> str:
    """The name of a table, of which pf takes 31 characters."""
    return f"g_{hashlib.sha256(group.encode()).hexdigest()[:28]}"

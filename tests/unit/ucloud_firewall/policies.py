"""Policies that tests render: one by hand, and any that may be."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from hypothesis import strategies as st

from common.schemas.network import Protocol
from common.schemas.port import eui64, mac_of
from ucloud_firewall.rights import BridgeRights, Members, Need, Permission, Policy, PortRights, groups_named, members_of

GROUPS = ("aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002")
_LINK = IPv6Network("fe80::/64")
_PREFIX = IPv6Network("2001:db8::/64")

Ways = tuple[Permission, ...] | None


def port(
    port_id: str,
    bridge: str = "ucbr5",
    *,
    ipv4: str | None = None,
    prefixes: tuple[IPv6Network, ...] = (),
    arriving: Ways = None,
    leaving: Ways = None,
) -> PortRights:
    """The rights of a port."""
    return PortRights(
        tap=f"tap{port_id}",
        bridge=bridge,
        mac=mac_of(port_id),
        ipv6=(eui64(_PREFIX, port_id), eui64(_LINK, port_id)),
        ipv4=(IPv4Address(ipv4),) if ipv4 else (),
        prefixes=prefixes,
        arriving=arriving,
        leaving=leaving,
    )


def by_hand() -> Policy:
    """A host with a port without groups, and one with all that groups can say."""
    arriving = (
        Permission(Protocol.TCP, (22, 22)),
        Permission(Protocol.TCP, (8000, 8080), IPv6Network("2001:db8:1::/48")),
        Permission(Protocol.UDP, group=GROUPS[0]),
        Permission(Protocol.ICMP),
        Permission(prefix=IPv4Network("192.0.2.1/32")),
    )
    ports = (
        port("0a00000001"),
        port("0a00000002", ipv4="10.5.0.2", prefixes=(IPv6Network("2001:db8:a::/56"), IPv6Network("2001:db8:b::1/128")),
             arriving=arriving, leaving=(Permission(Protocol.UDP, (53, 53)),)),
    )  # fmt: skip
    return Policy(
        ports={each.tap: each for each in ports},
        bridges={"ucbr5": BridgeRights("ucbr5", 1, isolated=False), "ucbr6": BridgeRights("ucbr6", 2, isolated=True)},
        members={
            GROUPS[0]: members_of(
                [("0c00000001", IPv6Address("2001:db8::c")), ("0c00000001", IPv4Address("10.5.0.12"))]
            )
        },
    )


def vouched(policy: Policy) -> Policy:
    """The policy where somebody else makes sure of all that a renderer might not be able to check."""
    return Policy(policy.ports, policy.bridges, policy.members, frozenset(Need))


_port_ids = st.integers(0, 40).map(lambda number: f"{number:010x}")
_v6 = st.ip_addresses(v=6).filter(lambda address: not address.is_multicast)
_networks = st.builds(
    lambda address, bits: IPv6Network((address, bits), strict=False), _v6, st.sampled_from((0, 32, 64, 128))
)
_networks4 = st.builds(
    lambda address, bits: IPv4Network((address, bits), strict=False), st.ip_addresses(v=4), st.sampled_from((0, 8, 32))
)
_spans = st.one_of(
    st.none(), st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda pair: (min(pair), max(pair)))
)
_permissions = st.one_of(
    st.builds(Permission, st.sampled_from((Protocol.TCP, Protocol.UDP)), _spans, _networks),
    st.builds(Permission, st.sampled_from((Protocol.TCP, Protocol.UDP)), _spans, group=st.sampled_from(GROUPS)),
    st.builds(Permission, st.sampled_from(tuple(Protocol)), st.none(), st.one_of(st.none(), _networks, _networks4)),
)
_ways = st.one_of(st.none(), st.lists(_permissions, max_size=4).map(tuple))


def _port(port_id: str, *details: object) -> PortRights:
    prefix, ipv4, arriving, leaving, bridge = details
    return PortRights(
        f"tap{port_id}", f"ucbr{bridge}", mac_of(port_id), (eui64(_PREFIX, port_id), eui64(_LINK, port_id)),
        (ipv4,) if isinstance(ipv4, IPv4Address) else (), (prefix,) if isinstance(prefix, IPv6Network) else (),
        arriving, leaving or None,  # type: ignore[arg-type]
    )  # fmt: skip


_ports = st.builds(
    _port, _port_ids, st.one_of(st.none(), _networks.filter(lambda network: network.prefixlen)),
    st.one_of(st.none(), st.ip_addresses(v=4)), _ways, _ways, st.integers(1, 3),
)  # fmt: skip
_members = st.lists(st.tuples(_port_ids, st.one_of(_v6, st.ip_addresses(v=4))), max_size=4).map(members_of)


def _policy(ports: list[PortRights], isolated: frozenset[int], members: list[Members]) -> Policy:
    by_tap = {each.tap: each for each in ports}
    bridges = {f"ucbr{n}": BridgeRights(f"ucbr{n}", n, n in isolated) for n in (1, 2, 3)}
    used = {each.bridge for each in by_tap.values()}
    named = sorted(groups_named(by_tap.values()))
    return Policy(
        by_tap, {name: each for name, each in bridges.items() if name in used}, dict(zip(named, members, strict=False))
    )


policies = st.builds(
    _policy, st.lists(_ports, max_size=6), st.frozensets(st.integers(1, 3)), st.lists(_members, min_size=2, max_size=2)
)
"""Any policy."""

"""What a network is made of on a host, as data: links, addresses, routes, and how they are named. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface, IPv6Address, IPv6Interface, IPv6Network

from common.schemas.network import DNS_V6, GATEWAY, METADATA_V4, METADATA_V6, NetworkRequest
from common.schemas.port import Port

MAIN_TABLE = 254
ANSWER_TABLE = 7693164
"""The routing table for what the gateway itself answers (0x75636c: "ucl"). Nothing else is routed by it, so a prefix
that a tenant made up, which may be anybody's, takes no packet of anybody else; nor does one that is routed take packets
to a VM on another host, which the gateway here can't hand over."""
FIRST_METRIC = 65536
"""Far behind what the machine's own routes have: a network with the prefix of the underlay takes nothing from it."""
PREFIX_METRIC = 256
"""What the kernel gives the prefix of an address."""
LINK_LOCAL = IPv6Network("fe80::/64")
_LINK = re.compile(r"uc(?:br|vx)([1-9][0-9]{0,7})")

Interface = IPv6Interface | IPv4Interface


class Gate(StrEnum):
    """What the kernel may forward between a network's bridge and others."""

    SHUT = "shut"
    """Nothing, and nothing within the network either, where bridged packets are shown to the IP firewall."""
    WITHIN = "within"
    OPEN = "open"


@dataclass(frozen=True)
class Route:
    """An IPv6 route into a bridge."""

    destination: IPv6Network
    metric: int
    table: int = MAIN_TABLE
    gateway: IPv6Address | None = None


@dataclass(frozen=True)
class Underlay:
    """The interface between hosts. The addresses are those that others may reach it by, the best one first."""

    name: str
    index: int
    mtu: int
    addresses: tuple[IPv6Address, ...]


@dataclass(frozen=True)
class Tunnel:
    """How a VXLAN link goes through the underlay, whose index is `underlay`. Without a group: a copy to each peer."""

    vni: int
    underlay: int
    local: IPv6Address
    group: IPv6Address | None
    port: int


@dataclass(frozen=True)
class Link:
    """A link of ours, or a tap, as it is."""

    name: str
    kind: str
    mtu: int
    mac: str = ""
    alias: str = ""
    master: str = ""
    is_up: bool = True
    is_tame: bool = True
    """It makes up no addresses; a bridge does not snoop, its kernel parameters are right."""
    tunnel: Tunnel | None = None


def is_ours(link: str) -> bool:
    """Whether a link bears a name that only links of ours have."""
    return _LINK.fullmatch(link) is not None


def vni_of(link: str) -> int:
    """The VNI of a link of ours; 0 for others."""
    found = _LINK.fullmatch(link)
    return int(found[1]) if found else 0


def links_of(vni: int) -> tuple[str, str]:
    """The bridge and the VXLAN link of a VNI."""
    return f"ucbr{vni}", f"ucvx{vni}"


def alias_of(network_uuid: str) -> str:
    """What is written on the links of a network, for people and for whoever looks for links without a request."""
    return f"ucloud network {network_uuid}"


def network_of(alias: str) -> str:
    """The network whose links bear `alias`; empty when it says none."""
    return alias.removeprefix(alias_of("")) if alias.startswith(alias_of("")) else ""


def addresses(network: NetworkRequest) -> frozenset[Interface]:
    """Those of the bridge: on every host the same."""
    six = {IPv6Interface((GATEWAY, 64)), IPv6Interface(METADATA_V6), IPv6Interface(DNS_V6)}
    return frozenset(six | ({IPv4Interface(METADATA_V4)} if network.ipv4 else set()))


def routes(network: NetworkRequest, ports: Iterable[Port]) -> frozenset[Route]:
    """Those into the bridge; `ports` are the network's that have a guest here."""
    # All prefixes have one metric: of routes to the same one, the kernel then takes that of the link that a question
    # came in by, also for echoes, which no socket binds to a link. With a metric of each it would take the first.
    found = {Route(LINK_LOCAL, PREFIX_METRIC), Route(network.prefix, FIRST_METRIC, ANSWER_TABLE)}
    if network.isolated:
        return frozenset(found)
    metric = FIRST_METRIC + network.vni
    for port in ports:
        found.add(Route(IPv6Network(port.ipv6), metric))
        found.update(Route(prefix, metric, gateway=port.link_local) for prefix in port.prefixes)
    return frozenset(found)

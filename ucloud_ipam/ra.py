"""Router advertisements (RFC 4861): who the router is, what is on link, the MTU, and where names are answered.

Addresses come by DHCPv6 (M), never by SLAAC: a guest that made up addresses of its own could not use them, as a port
sends from its own alone. In an isolated network nobody is a default router, so the addresses that the host itself
answers at are told to be on link. Pure.
"""

import struct
from ipaddress import IPv6Address, IPv6Network

from common.schemas.network import DNS_V6, GATEWAY, METADATA_V6
from ucloud_ipam.facts import Facts
from ucloud_ipam.frames import ICMPV6, ONE_HOP, ROUTER_MAC, Ipv6, icmpv6_frame

ALL_NODES = IPv6Address("ff02::1")
ALL_ROUTERS = IPv6Address("ff02::2")
MAX_INTERVAL_S = 600.0
MIN_INTERVAL_S = 200.0
"""Advertisements nobody asked for come in between (RFC 4861, 6.2.1)."""
INITIAL_COUNT = 3
INITIAL_INTERVAL_S = 16.0
"""The first few come faster (RFC 4861, section 10)."""

_SOLICITATION = 133
_ADVERTISEMENT = 134
_ADVERTISEMENT_HEAD = struct.Struct("!BBHBBHII")  # type, code, sum, hop limit, flags, lifetime, reachable, retransmit
_PREFIX = struct.Struct("!BBBBIII16s")  # type, length, prefix length, flags, valid, preferred, reserved, prefix
_MTU = struct.Struct("!BBHI")  # type, length, reserved, mtu
_RDNSS = struct.Struct("!BBHI16s")  # type, length, reserved, lifetime, address (RFC 8106)
_SOURCE_LINK_LAYER, _PREFIX_INFORMATION, _MTU_OPTION, _RDNSS_OPTION = 1, 3, 5, 25
_MANAGED = 0x80
_ON_LINK = 0x80
_HOP_LIMIT = 64
_ROUTER_LIFETIME_S = _DNS_LIFETIME_S = int(3 * MAX_INTERVAL_S)
_VALID_S = 30 * 24 * 3600
_PREFERRED_S = 7 * 24 * 3600


def answer(packet: Ipv6, facts: Facts) -> bytes | None:
    """The frame that answers a router solicitation; None: it is none, or not as it should be (RFC 4861, 6.1.1).

    At once: the delay that RFC 4861 asks for is for routers that share a link, and a tap has one.
    """
    message = packet.payload
    if packet.protocol != ICMPV6 or packet.hop_limit != ONE_HOP or packet.destination not in (ALL_ROUTERS, GATEWAY):
        return None
    if len(message) < 8 or message[:2] != bytes((_SOLICITATION, 0)):
        return None
    options = _option_types(message[8:])
    source = packet.source
    if options is None or (source.is_unspecified and _SOURCE_LINK_LAYER in options) or source.is_multicast:
        return None
    return frame(facts, ALL_NODES if source.is_unspecified else source)


def frame(facts: Facts, to: IPv6Address = ALL_NODES) -> bytes:
    """A frame with an advertisement for the guest that `facts` are about, and for no other."""
    return icmpv6_frame(facts.mac, to, _advertisement(facts))


def _advertisement(facts: Facts) -> bytes:
    lifetime_s = 0 if facts.isolated else _ROUTER_LIFETIME_S
    on_link = [facts.prefix]
    if facts.isolated:
        on_link += (IPv6Network(DNS_V6), IPv6Network(METADATA_V6))
    return b"".join(
        (
            _ADVERTISEMENT_HEAD.pack(_ADVERTISEMENT, 0, 0, _HOP_LIMIT, _MANAGED, lifetime_s, 0, 0),
            bytes((_SOURCE_LINK_LAYER, 1)) + ROUTER_MAC,
            _MTU.pack(_MTU_OPTION, 1, 0, facts.mtu),
            *(_prefix(prefix) for prefix in on_link),
            _RDNSS.pack(_RDNSS_OPTION, 3, 0, _DNS_LIFETIME_S, DNS_V6.packed),
        )
    )


def _prefix(prefix: IPv6Network) -> bytes:
    network = prefix.network_address.packed
    return _PREFIX.pack(_PREFIX_INFORMATION, 4, prefix.prefixlen, _ON_LINK, _VALID_S, _PREFERRED_S, 0, network)


def _option_types(options: bytes) -> set[int] | None:
    """Which options are there; None when they don't fill the message exactly."""
    types: set[int] = set()
    while options:
        length = options[1] * 8 if len(options) > 1 else 0
        if not 0 < length <= len(options):
            return None
        types.add(options[0])
        options = options[length:]
    return types

"""What a guest may try, with the reason that it is dropped for; and what an honest one sends instead."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from common.schemas.network import GATEWAY_MAC
from common.schemas.port import eui64, mac_of
from tests.integration.ucloud_firewall import frames as f

PREFIX = IPv6Network("2001:db8:5::/64")
LINK = IPv6Network("fe80::/64")
A, B, C, UNKNOWN = "0a00000001", "0a00000002", "0a00000003", "0a000000ff"
"""Ports: the sender, its neighbour, one without IPv4, and one that nobody knows of."""
MAC, MAC_B, MAC_C = mac_of(A), mac_of(B), mac_of(C)
ADDRESS, ADDRESS_B, ADDRESS_C = (str(eui64(PREFIX, port)) for port in (A, B, C))
LOCAL, LOCAL_B, LOCAL_C = (str(eui64(LINK, port)) for port in (A, B, C))
ADDRESS4, ADDRESS4_B = "10.5.0.1", "10.5.0.2"
ROUTED = IPv6Network("2001:db8:a::/56")
GATEWAY, METADATA, METADATA4 = "fe80::a9fe:a9fe", "fd00:ec2::254", "169.254.169.254"
NONE4 = str(IPv4Address(0))
NS, NA, RS, RA, REDIRECT = 135, 136, 133, 134, 137
OVERRIDE = 0x20000000


@dataclass(frozen=True)
class Forgery:
    """A frame that must not pass, and why: the reason that it is counted for."""

    name: str
    reason: str
    frame: bytes
    honest: str
    """The name of what passes in its place."""
    port: str = A


def _six(packet: bytes, sender: str = MAC, to: str = f.ALL_NODES_MAC) -> bytes:
    return f.ethernet(to, sender, f.IP6, packet)


def _four(packet: bytes, sender: str = MAC) -> bytes:
    return f.ethernet(f.BROADCAST, sender, f.IP4, packet)


def _datagram(source: str, sport: int = 4000, dport: int = 4000) -> bytes:
    return f.ipv6(source, f.ALL_NODES, f.UDP, f.udp6(source, f.ALL_NODES, sport, dport))


def _icmp(kind: int, body: bytes, source: str = LOCAL) -> bytes:
    return f.ipv6(source, f.ALL_NODES, f.ICMP6, f.icmp6(source, f.ALL_NODES, kind, body))


def _nd(kind: int, target: str, options: bytes = b"", source: str = LOCAL) -> bytes:
    flags = OVERRIDE if kind == NA else 0
    return f.ipv6(source, f.ALL_NODES, f.ICMP6, f.neighbor(source, f.ALL_NODES, kind, target, options, flags))


_RA = f.icmp6(LOCAL, f.ALL_NODES, RA, struct.pack("!BBHII", 64, 0x80, 1800, 0, 0) + f.option(1, MAC))
_NA_B = f.neighbor(LOCAL, f.ALL_NODES, NA, ADDRESS_B, f.option(2, MAC), OVERRIDE)
_QUERY = f.icmp6(LOCAL, f.ALL_NODES, 130, struct.pack("!HH", 1000, 0) + bytes(16))
_ALERT = struct.pack("!BBBBHBB", f.ICMP6, 0, 5, 2, 0, 1, 0)
"""Hop-by-hop options with the router alert that MLD has."""


def honest() -> dict[str, tuple[str, bytes]]:
    """What passes, by name: the port that sends it, and the frame."""
    part = f.udp6(ADDRESS, f.ALL_NODES, 4000, 4000, bytes(64))
    prefix = str(ROUTED[77])
    probe = f.arp(1, MAC, NONE4, "00:00:00:00:00:00", ADDRESS4)
    found = {
        "udp": _six(_datagram(ADDRESS)),
        "udp, link-local": _six(_datagram(LOCAL)),
        "udp, routed prefix": _six(_datagram(prefix)),
        "udp behind options": _six(
            f.ipv6(ADDRESS, f.ALL_NODES, f.DESTINATION, f.extension(f.UDP) + f.udp6(ADDRESS, f.ALL_NODES, 4000, 4000))
        ),
        "first fragment": _six(f.ipv6(ADDRESS, f.ALL_NODES, f.FRAGMENT, f.fragment(f.UDP, 0, True) + part[:40])),
        "last fragment": _six(f.ipv6(ADDRESS, f.ALL_NODES, f.FRAGMENT, f.fragment(f.UDP, 40, False) + part[40:])),
        "tcp": _six(f.ipv6(ADDRESS, f.ALL_NODES, f.TCP, struct.pack("!HHIIHHHH", 4000, 80, 0, 0, 0x5002, 9, 0, 0))),
        "echo": _six(_icmp(128, bytes(8), ADDRESS)),
        "advertisement": _six(_nd(NA, ADDRESS, f.option(2, MAC))),
        "advertisement without option": _six(_nd(NA, LOCAL, b"", ADDRESS)),
        "solicitation": _six(_nd(NS, ADDRESS_B, f.option(1, MAC), ADDRESS)),
        "is it free": _six(_nd(NS, ADDRESS, b"", "::")),
        "is it free, link-local": _six(_nd(NS, LOCAL, b"", "::")),
        "is it free, with nonce": _six(_nd(NS, ADDRESS, b"\x0e\x01nonce!", "::")),
        "router solicitation": _six(_icmp(RS, bytes(4) + f.option(1, MAC))),
        "first router solicitation": _six(_icmp(RS, bytes(4), "::")),
        "mld report": _six(f.ipv6("::", f.ALL_NODES, f.HOP_BY_HOP,
                                  _ALERT + f.icmp6("::", f.ALL_NODES, 143, bytes(4)))),
        "dhcpv6 request": _six(_datagram(LOCAL, 546, 547)),
        "dhcpv4 request": _four(f.ipv4(NONE4, "255.255.255.255", f.UDP, f.udp4(68, 67))),
        "udp4": _four(f.ipv4(ADDRESS4, "255.255.255.255", f.UDP, f.udp4(4000, 4000))),
        "first fragment4": _four(f.ipv4(ADDRESS4, "255.255.255.255", f.UDP, f.udp4(4000, 4000, bytes(32)), 0x2000)),
        "last fragment4": _four(f.ipv4(ADDRESS4, "255.255.255.255", f.UDP, bytes(32), 0x0005)),
        "ping4": _four(f.ipv4(ADDRESS4, "255.255.255.255", f.ICMP, f.icmp4(8, bytes(4)))),
        "igmp report": _four(f.ipv4(ADDRESS4, "224.0.0.22", f.IGMP, f.icmp4(0x22, bytes(4)))),
        "arp": f.ethernet(f.BROADCAST, MAC, f.ARP, f.arp(1, MAC, ADDRESS4, "00:00:00:00:00:00", ADDRESS4_B)),
        "arp answer": f.ethernet(f.BROADCAST, MAC, f.ARP, f.arp(2, MAC, ADDRESS4, MAC_B, ADDRESS4_B)),
        "arp probe": f.ethernet(f.BROADCAST, MAC, f.ARP, probe),
        "moved": f.ethernet(f.BROADCAST, MAC, f.RARP, f.arp(3, MAC, NONE4, MAC, NONE4)),
    }  # fmt: skip
    return {**{name: (A, frame) for name, frame in found.items()}, "no ipv4": (C, _six(_datagram(ADDRESS_C), MAC_C))}


def forgeries() -> list[Forgery]:
    """All of them."""
    return [*_of_addresses(), *_of_neighbours(), *_of_routers(), *_of_dhcp(), *_of_ipv4(), *_of_arp(), *_of_types()]


def _of_addresses() -> Iterator[Forgery]:
    for name, sender in (("neighbour", MAC_B), ("gateway", GATEWAY_MAC), ("stranger", "02:de:ad:be:ef:01")):
        yield Forgery(f"MAC of the {name}", "mac", _six(_datagram(ADDRESS), sender), "udp")
    sources = {
        "neighbour": ADDRESS_B, "neighbour's link-local": LOCAL_B, "stranger": "2001:db8:666::1", "gateway": GATEWAY,
        "metadata server": METADATA, "nobody": "::", "itself (::1)": "::1", "mapped IPv4": "::ffff:10.5.0.1",
        "multicast": "ff02::1234", "privacy": str(PREFIX[0xBADC0FFEE]), "beside the routed prefix": "2001:db8:a:100::1",
    }  # fmt: skip
    for name, source in sources.items():
        yield Forgery(f"IPv6 of {name}", "ipv6", _six(_datagram(source)), "udp")
    yield Forgery("TCP from the neighbour", "ipv6",
                  _six(f.ipv6(ADDRESS_B, f.ALL_NODES, f.TCP, struct.pack("!HHIIHHHH", 9, 80, 0, 0, 0x5002, 9, 0, 0))),
                  "tcp")  # fmt: skip
    yield Forgery("ping from the neighbour", "ipv6", _six(_icmp(128, bytes(8), ADDRESS_B)), "echo")
    part = f.udp6(ADDRESS_B, f.ALL_NODES, 4000, 4000, bytes(64))
    for name, kind in (("hop-by-hop", f.HOP_BY_HOP), ("destination", f.DESTINATION)):
        packet = f.ipv6(ADDRESS_B, f.ALL_NODES, kind, f.extension(f.UDP) + part)
        yield Forgery(f"IPv6 of the neighbour behind {name} options", "ipv6", _six(packet), "udp behind options")
    pieces = {
        "first fragment": f.fragment(f.UDP, 0, True) + part[:40],
        "last fragment": f.fragment(f.UDP, 40, False) + part[40:],
    }
    for name, content in pieces.items():
        packet = f.ipv6(ADDRESS_B, f.ALL_NODES, f.FRAGMENT, content)
        yield Forgery(f"IPv6 of the neighbour, {name}", "ipv6", _six(packet), name)
    yield Forgery("from a port that nobody knows", "mac", _six(_datagram(ADDRESS, 5000)), "udp", UNKNOWN)


def _of_neighbours() -> Iterator[Forgery]:
    own, other = f.option(2, MAC), f.option(2, MAC_B)
    for name, target in {"neighbour": ADDRESS_B, "neighbour's link-local": LOCAL_B, "gateway": GATEWAY,
                         "metadata server": METADATA, "routed prefix": str(ROUTED[5])}.items():  # fmt: skip
        yield Forgery(f"advertises {name}", "nd", _six(_nd(NA, target, own)), "advertisement")
        yield Forgery(f"claims {name}", "nd", _six(_nd(NS, target, b"", "::")), "is it free")
    yield Forgery("advertises itself elsewhere", "nd", _six(_nd(NA, ADDRESS, other)), "advertisement")
    yield Forgery("advertises itself twice", "nd", _six(_nd(NA, ADDRESS, own + other)), "advertisement")
    yield Forgery("advertises from the neighbour", "ipv6", _six(_nd(NA, ADDRESS, own, ADDRESS_B)), "advertisement")
    yield Forgery("solicits from the neighbour", "ipv6",
                  _six(_nd(NS, ADDRESS_B, f.option(1, MAC), ADDRESS_B)), "solicitation")  # fmt: skip
    yield Forgery("solicits with the neighbour's MAC", "nd",
                  _six(_nd(NS, ADDRESS_B, f.option(1, MAC_B), ADDRESS)), "solicitation")  # fmt: skip
    for name, kind in (("hop-by-hop", f.HOP_BY_HOP), ("destination", f.DESTINATION)):
        packet = f.ipv6(LOCAL, f.ALL_NODES, kind, f.extension(f.ICMP6) + _NA_B)
        yield Forgery(f"advertises the neighbour behind {name} options", "nd", _six(packet), "advertisement")
    packet = f.ipv6(LOCAL, f.ALL_NODES, f.FRAGMENT, f.fragment(f.ICMP6, 0, False) + _NA_B)
    yield Forgery("advertises the neighbour in one fragment", "nd", _six(packet), "advertisement")
    yield Forgery("inverse advertisement", "nd", _six(_icmp(142, bytes(4))), "echo")


def _of_routers() -> Iterator[Forgery]:
    plain = "router solicitation"
    yield Forgery("router advertisement", "router", _six(f.ipv6(LOCAL, f.ALL_NODES, f.ICMP6, _RA)), plain)
    for name, kind in (("hop-by-hop", f.HOP_BY_HOP), ("destination", f.DESTINATION)):
        packet = f.ipv6(LOCAL, f.ALL_NODES, kind, f.extension(f.ICMP6) + _RA)
        yield Forgery(f"router advertisement behind {name} options", "router", _six(packet), plain)
    both = f.extension(f.DESTINATION) + f.extension(f.ICMP6, 16) + _RA
    yield Forgery("router advertisement behind both", "router",
                  _six(f.ipv6(LOCAL, f.ALL_NODES, f.HOP_BY_HOP, both)), plain)  # fmt: skip
    hidden = f.extension(f.ICMP6, 24) + _RA
    pieces = {
        "in one fragment": ("nd", f.fragment(f.ICMP6, 0, False) + _RA),
        "first of two": ("nd", f.fragment(f.ICMP6, 0, True) + _RA[:8]),
        "last of two": ("nd", f.fragment(f.ICMP6, 8, False) + _RA[8:]),
        "its header in the second, first": ("nd", f.fragment(f.DESTINATION, 0, True) + hidden[:8]),
        "its header in the second, second": ("ipv6", f.fragment(f.DESTINATION, 8, False) + hidden[8:]),
    }
    for name, (reason, content) in pieces.items():
        packet = f.ipv6(LOCAL, f.ALL_NODES, f.FRAGMENT, content)
        yield Forgery(f"router advertisement {name}", reason, _six(packet), "first fragment")
    redirect = bytes(4) + IPv6Address(LOCAL).packed + IPv6Address(ADDRESS_B).packed
    yield Forgery("redirect", "router", _six(_icmp(REDIRECT, redirect)), "echo")
    yield Forgery("redirect from the gateway", "router", _six(_icmp(REDIRECT, redirect, GATEWAY)), "echo")
    yield Forgery("router renumbering", "router", _six(_icmp(138, bytes(12))), "echo")
    yield Forgery("multicast router", "router", _six(_icmp(151, bytes(4))), "echo")
    yield Forgery("MLD query", "router", _six(f.ipv6(LOCAL, f.ALL_NODES, f.HOP_BY_HOP, _ALERT + _QUERY)), "mld report")
    yield Forgery("MLD query without alert", "router", _six(f.ipv6(LOCAL, f.ALL_NODES, f.ICMP6, _QUERY)), "mld report")


def _of_dhcp() -> Iterator[Forgery]:
    answer = f.udp6(LOCAL, f.ALL_NODES, 547, 546, bytes(64))
    yield Forgery("DHCPv6 answer", "dhcp", _six(f.ipv6(LOCAL, f.ALL_NODES, f.UDP, answer)), "dhcpv6 request")
    behind = f.ipv6(LOCAL, f.ALL_NODES, f.DESTINATION, f.extension(f.UDP) + answer)
    yield Forgery("DHCPv6 answer behind options", "dhcp", _six(behind), "udp behind options")
    piece = f.ipv6(LOCAL, f.ALL_NODES, f.FRAGMENT, f.fragment(f.UDP, 0, True) + answer[:40])
    yield Forgery("DHCPv6 answer, first fragment", "dhcp", _six(piece), "first fragment")
    empty = f.ipv6(LOCAL, f.ALL_NODES, f.FRAGMENT, f.fragment(f.UDP, 0, True))
    yield Forgery("UDP, first fragment without its header", "ipv6", _six(empty), "first fragment")
    offer = f.udp4(67, 68, bytes(32))
    yield Forgery("DHCPv4 answer", "dhcp", _four(f.ipv4(ADDRESS4, "255.255.255.255", f.UDP, offer)), "dhcpv4 request")
    yield Forgery("DHCPv4 answer, first fragment", "dhcp",
                  _four(f.ipv4(ADDRESS4, "255.255.255.255", f.UDP, offer, 0x2000)), "first fragment4")  # fmt: skip


def _of_ipv4() -> Iterator[Forgery]:
    everybody = "255.255.255.255"
    sources = {
        "neighbour": ADDRESS4_B, "stranger": "192.0.2.1", "metadata server": METADATA4, "nobody": NONE4,
        "itself (127.0.0.1)": "127.0.0.1", "everybody": everybody,
    }  # fmt: skip
    for name, source in sources.items():
        yield Forgery(f"IPv4 of {name}", "ipv4", _four(f.ipv4(source, everybody, f.UDP, f.udp4(4000, 4000))), "udp4")
    yield Forgery("IPv4 of the neighbour, last fragment", "ipv4",
                  _four(f.ipv4(ADDRESS4_B, everybody, f.UDP, bytes(32), 0x0005)), "last fragment4")  # fmt: skip
    yield Forgery("ping4 from the neighbour", "ipv4",
                  _four(f.ipv4(ADDRESS4_B, everybody, f.ICMP, f.icmp4(8, bytes(4)))), "ping4")  # fmt: skip
    yield Forgery("DHCPv4 request from elsewhere", "ipv4",
                  _four(f.ipv4(NONE4, everybody, f.UDP, f.udp4(68, 4000))), "dhcpv4 request")  # fmt: skip
    redirect = f.icmp4(5, IPv4Address(ADDRESS4).packed + bytes(28))
    yield Forgery("ICMP redirect", "router", _four(f.ipv4(ADDRESS4, everybody, f.ICMP, redirect)), "ping4")
    query = f.icmp4(0x11, bytes(4))
    yield Forgery("IGMP query", "router", _four(f.ipv4(ADDRESS4, "224.0.0.1", f.IGMP, query)), "igmp report")
    yield Forgery("IGMP query, first fragment", "router",
                  _four(f.ipv4(ADDRESS4, "224.0.0.1", f.IGMP, query, 0x2000)), "igmp report")  # fmt: skip
    request = f.ipv4(NONE4, everybody, f.UDP, f.udp4(68, 67))
    yield Forgery("DHCPv4 request without IPv4", "ipv4", _four(request, MAC_C), "no ipv4", C)
    own = f.ipv4("10.5.0.3", everybody, f.UDP, f.udp4(4000, 4000))
    yield Forgery("IPv4 without IPv4", "ipv4", _four(own, MAC_C), "no ipv4", C)


def _of_arp() -> Iterator[Forgery]:
    nobody = "00:00:00:00:00:00"
    messages = {
        "answers for the neighbour": f.arp(2, MAC, ADDRESS4_B, MAC_B, ADDRESS4),
        "answers for the metadata server": f.arp(2, MAC, METADATA4, MAC_B, ADDRESS4_B),
        "asks as the neighbour": f.arp(1, MAC, ADDRESS4_B, nobody, METADATA4),
        "gratuitous, of the neighbour": f.arp(1, MAC, ADDRESS4_B, nobody, ADDRESS4_B),
        "with the neighbour's MAC": f.arp(1, MAC_B, ADDRESS4, nobody, ADDRESS4_B),
        "probes the neighbour": f.arp(1, MAC, NONE4, nobody, ADDRESS4_B),
        "answers for nobody": f.arp(2, MAC, NONE4, MAC_B, ADDRESS4),
        "of another hardware": f.arp(1, MAC, ADDRESS4, nobody, ADDRESS4_B, hardware=6),
        "inverse": f.arp(8, MAC, ADDRESS4, nobody, ADDRESS4_B),
    }
    for name, message in messages.items():
        yield Forgery(f"ARP {name}", "arp", f.ethernet(f.BROADCAST, MAC, f.ARP, message), "arp")
    without = f.arp(1, MAC_C, "10.5.0.3", nobody, ADDRESS4_B)
    yield Forgery("ARP without IPv4", "arp", f.ethernet(f.BROADCAST, MAC_C, f.ARP, without), "no ipv4", C)
    for name, message in {"answer": f.arp(4, MAC, NONE4, MAC, ADDRESS4_B),
                          "of the neighbour": f.arp(3, MAC_B, NONE4, MAC_B, NONE4),
                          "with an address": f.arp(3, MAC, ADDRESS4_B, MAC, NONE4)}.items():  # fmt: skip
        yield Forgery(f"RARP {name}", "arp", f.ethernet(f.BROADCAST, MAC, f.RARP, message), "moved")


def _of_types() -> Iterator[Forgery]:
    plain = _six(_datagram(ADDRESS))
    yield Forgery("VLAN tag", "type", f.tagged(plain, 5), "udp")
    yield Forgery("priority tag", "type", f.tagged(plain, 0), "udp")
    yield Forgery("VLAN tag around the neighbour", "type", f.tagged(_six(_datagram(ADDRESS_B)), 5), "udp")
    yield Forgery("two tags", "type", f.tagged(f.tagged(plain, 5), 6, f.QINQ), "udp")
    for name, kind in {"LLDP": 0x88CC, "MPLS": 0x8847, "PPPoE": 0x8863, "EAPOL": 0x888E, "PTP": 0x88F7,
                       "experiment": 0x88B5, "loopback": 0x9000}.items():  # fmt: skip
        yield Forgery(f"frame of {name}", "type", f.ethernet(f.BROADCAST, MAC, kind, bytes(50)), "udp")
    spanning = bytes.fromhex("424203") + bytes(35)
    yield Forgery("spanning tree", "type", f.ethernet("01:80:c2:00:00:00", MAC, len(spanning), spanning), "udp")
    yield Forgery("LLC", "type", f.ethernet(f.BROADCAST, MAC, len(spanning), spanning), "udp")
    yield Forgery("IPv6 to the spanning tree's address", "type",
                  _six(_datagram(ADDRESS), to="01:80:c2:00:00:00"), "udp")  # fmt: skip

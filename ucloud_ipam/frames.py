"""Ethernet frames with UDP or ICMPv6 in them, read and written.

Reading is strict, and never raises: what is not exactly as it should be is None. Checksums of UDP and ICMPv6 are not
looked at: a guest's virtual network card leaves them to be filled in by hardware that is not there, so frames that
never leave the machine carry none. Pure. Sources: RFC 791, RFC 768, RFC 8200, RFC 4443; struct layouts in comments.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from common.schemas.network import GATEWAY, GATEWAY_MAC, METADATA_V4

ROUTER_MAC = bytes.fromhex(GATEWAY_MAC.replace(":", ""))
BROADCAST_MAC = b"\xff" * 6
SERVER_V4 = IPv4Address(METADATA_V4)
BROADCAST_V4 = IPv4Address("255.255.255.255")
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
UDP = 17
ICMPV6 = 58
ONE_HOP = 255
"""The hop limit of neighbour discovery: who sees it knows that no router was in between (RFC 4861)."""

_ETHERNET = struct.Struct("!6s6sH")  # destination, source, ethertype
_IPV6 = struct.Struct("!IHBB16s16s")  # version and flow, payload length, next header, hop limit, source, destination
_IPV4 = struct.Struct("!BBHHHBBH4s4s")  # version and length, tos, total, id, fragment, ttl, protocol, sum, from, to
_UDP = struct.Struct("!HHHH")  # source, destination, length, checksum
_PSEUDO_V6 = struct.Struct("!16s16sII")  # source, destination, length, next header
_PSEUDO_V4 = struct.Struct("!4s4sBBH")  # source, destination, zero, protocol, length
_MORE_FRAGMENTS_OR_OFFSET = 0x3FFF
_HOPS = 64


@dataclass(frozen=True, slots=True)
class Ethernet:
    """A frame without its addresses' order: who sent it, and what is in it."""

    source: bytes
    ethertype: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ipv6:
    """A packet whose first header after IPv6's is `protocol`'s."""

    source: IPv6Address
    destination: IPv6Address
    hop_limit: int
    protocol: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Ipv4:
    """A packet that is no fragment."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Datagram:
    """What UDP carries."""

    source_port: int
    destination_port: int
    payload: bytes


def read_ethernet(frame: bytes) -> Ethernet | None:
    """The frame, untagged."""
    if len(frame) < _ETHERNET.size:
        return None
    _, source, ethertype = _ETHERNET.unpack_from(frame)
    return Ethernet(source, ethertype, frame[_ETHERNET.size :])


def read_ipv6(packet: bytes) -> Ipv6 | None:
    """The packet; what pads the frame is cut off."""
    if len(packet) < _IPV6.size:
        return None
    first, length, protocol, hop_limit, source, destination = _IPV6.unpack_from(packet)
    payload = packet[_IPV6.size : _IPV6.size + length]
    if first >> 28 != 6 or len(payload) != length:
        return None
    return Ipv6(IPv6Address(source), IPv6Address(destination), hop_limit, protocol, payload)


def read_ipv4(packet: bytes) -> Ipv4 | None:
    """The packet; what pads the frame is cut off."""
    if len(packet) < _IPV4.size:
        return None
    first, _, total, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    header = (first & 15) * 4
    if first >> 4 != 4 or not _IPV4.size <= header <= total <= len(packet):
        return None
    if fragment & _MORE_FRAGMENTS_OR_OFFSET or checksum(packet[:header]) != 0:
        return None
    return Ipv4(IPv4Address(source), IPv4Address(destination), protocol, packet[header:total])


def read_udp(segment: bytes) -> Datagram | None:
    """The datagram that fills `segment`."""
    if len(segment) < _UDP.size:
        return None
    source, destination, length, _ = _UDP.unpack_from(segment)
    if not _UDP.size <= length <= len(segment):
        return None
    return Datagram(source, destination, segment[_UDP.size : length])


def icmpv6_frame(to_mac: bytes, to: IPv6Address, message: bytes) -> bytes:
    """A frame of the router with an ICMPv6 message whose checksum (octets 2 and 3) is zero."""
    total = checksum(_PSEUDO_V6.pack(GATEWAY.packed, to.packed, len(message), ICMPV6) + message)
    summed = message[:2] + total.to_bytes(2, "big") + message[4:]
    return _ipv6_frame(to_mac, to, ICMPV6, ONE_HOP, summed)


def udp6_frame(to_mac: bytes, to: IPv6Address, ports: tuple[int, int], payload: bytes) -> bytes:
    """A frame of the router with a datagram over IPv6; `ports` are from and to."""
    length = _UDP.size + len(payload)
    pseudo = _PSEUDO_V6.pack(GATEWAY.packed, to.packed, length, UDP)
    return _ipv6_frame(to_mac, to, UDP, _HOPS, _udp(pseudo, ports, payload))


def udp4_frame(to_mac: bytes, to: IPv4Address, ports: tuple[int, int], payload: bytes) -> bytes:
    """A frame of the host's IPv4 address in every network with a datagram; `ports` are from and to."""
    length = _UDP.size + len(payload)
    pseudo = _PSEUDO_V4.pack(SERVER_V4.packed, to.packed, 0, UDP, length)
    fields = (0x45, 0, _IPV4.size + length, 0, 0, _HOPS, UDP)
    total = checksum(_IPV4.pack(*fields, 0, SERVER_V4.packed, to.packed))
    header = _IPV4.pack(*fields, total, SERVER_V4.packed, to.packed)
    return _ETHERNET.pack(to_mac, ROUTER_MAC, ETHERTYPE_IPV4) + header + _udp(pseudo, ports, payload)


def _ipv6_frame(to_mac: bytes, to: IPv6Address, protocol: int, hop_limit: int, payload: bytes) -> bytes:
    header = _IPV6.pack(6 << 28, len(payload), protocol, hop_limit, GATEWAY.packed, to.packed)
    return _ETHERNET.pack(to_mac, ROUTER_MAC, ETHERTYPE_IPV6) + header + payload


def _udp(pseudo: bytes, ports: tuple[int, int], payload: bytes) -> bytes:
    length = _UDP.size + len(payload)
    total = checksum(pseudo + _UDP.pack(*ports, length, 0) + payload)
    return _UDP.pack(*ports, length, total or 0xFFFF) + payload  # 0 would mean: none (RFC 768)


def checksum(octets: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over what carries its own."""
    padded = octets + b"\0" * (len(octets) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

"""Frames, octet by octet, so that a test says what is on the wire, however wrong."""

import struct
from ipaddress import IPv4Address, IPv6Address

ALL_NODES_MAC = "33:33:00:00:00:01"
ALL_NODES = "ff02::1"
BROADCAST = "ff:ff:ff:ff:ff:ff"
IP6, IP4, ARP, RARP, VLAN, QINQ = 0x86DD, 0x0800, 0x0806, 0x8035, 0x8100, 0x88A8
HOP_BY_HOP, TCP, UDP, ROUTING, FRAGMENT, ICMP6, NOTHING, DESTINATION = 0, 6, 17, 43, 44, 58, 59, 60
ICMP, IGMP = 1, 2


def mac(text: str) -> bytes:
    """A MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def ethernet(to: str, sender: str, kind: int, payload: bytes) -> bytes:
    """A frame."""
    return mac(to) + mac(sender) + struct.pack("!H", kind) + payload


def tagged(frame: bytes, number: int, kind: int = VLAN) -> bytes:
    """The frame with a VLAN tag."""
    return frame[:12] + struct.pack("!HH", kind, number) + frame[12:]


def _checksum(content: bytes) -> int:
    content += b"\0" * (len(content) % 2)
    total: int = sum(struct.unpack(f"!{len(content) // 2}H", content))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv6(source: str, to: str, protocol: int, payload: bytes, hop_limit: int = 255) -> bytes:
    """An IPv6 packet."""
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hop_limit)
    return header + IPv6Address(source).packed + IPv6Address(to).packed + payload


def _pseudo(source: str, to: str, length: int, protocol: int) -> bytes:
    return IPv6Address(source).packed + IPv6Address(to).packed + struct.pack("!II", length, protocol)


def icmp6(source: str, to: str, kind: int, body: bytes, code: int = 0) -> bytes:
    """An ICMPv6 message, with its checksum."""
    message = struct.pack("!BBH", kind, code, 0) + body
    checksum = _checksum(_pseudo(source, to, len(message), ICMP6) + message)
    return message[:2] + struct.pack("!H", checksum) + message[4:]


def udp6(source: str, to: str, sport: int, dport: int, data: bytes = b"ucloud") -> bytes:
    """A UDP datagram for IPv6."""
    datagram = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    checksum = _checksum(_pseudo(source, to, len(datagram), UDP) + datagram) or 0xFFFF
    return datagram[:6] + struct.pack("!H", checksum) + datagram[8:]


def tcp6(source: str, to: str, sport: int, dport: int, flags: int) -> bytes:
    """A TCP segment without data for IPv6; the second one of a handshake acknowledges the first."""
    acknowledged = 2 if flags & 0x10 else 0
    segment = struct.pack("!HHIIBBHHH", sport, dport, 1, acknowledged, 0x50, flags, 64240, 0, 0)
    checksum = _checksum(_pseudo(source, to, len(segment), TCP) + segment)
    return segment[:16] + struct.pack("!H", checksum) + segment[18:]


def extension(protocol: int, octets: int = 8) -> bytes:
    """An extension header of hop-by-hop or destination options, padded (PadN); `protocol` comes after it."""
    return struct.pack("!BBBB", protocol, octets // 8 - 1, 1, octets - 4) + bytes(octets - 4)


def fragment(protocol: int, offset: int, more: bool, identification: int = 7) -> bytes:
    """A fragment header; `offset` in octets."""
    return struct.pack("!BBHI", protocol, 0, offset | more, identification)


def option(kind: int, link_address: str) -> bytes:
    """The option of neighbour discovery that tells a link-layer address: kind 1 the source's, 2 the target's."""
    return struct.pack("!BB", kind, 1) + mac(link_address)


def neighbor(source: str, to: str, kind: int, target: str, options: bytes = b"", flags: int = 0) -> bytes:
    """A neighbour solicitation (135) or advertisement (136), without the IPv6 header."""
    return icmp6(source, to, kind, struct.pack("!I", flags) + IPv6Address(target).packed + options)


def ipv4(source: str, to: str, protocol: int, payload: bytes, fragment_field: int = 0) -> bytes:
    """An IPv4 packet; `fragment_field` holds the flags and the offset in units of 8 octets."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, fragment_field, 64, protocol, 0)
    addresses = IPv4Address(source).packed + IPv4Address(to).packed
    checksum = _checksum(head + addresses)
    return head[:10] + struct.pack("!H", checksum) + addresses + payload


def udp4(sport: int, dport: int, data: bytes = b"ucloud") -> bytes:
    """A UDP datagram for IPv4, without a checksum."""
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def icmp4(kind: int, body: bytes) -> bytes:
    """An ICMP or IGMP message."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    return message[:2] + struct.pack("!H", _checksum(message)) + message[4:]


def arp(operation: int, sender_mac: str, sender: str, target_mac: str, target: str, hardware: int = 1) -> bytes:
    """An ARP message."""
    head = struct.pack("!HHBBH", hardware, IP4, 6, 4, operation)
    return head + mac(sender_mac) + IPv4Address(sender).packed + mac(target_mac) + IPv4Address(target).packed

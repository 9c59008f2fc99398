"""What guests send, and what they understand of an answer, octet by octet."""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ucloud_ipam.facts import Facts
from ucloud_ipam.frames import checksum

MAC = bytes.fromhex("020a0b0c0d0e")
LINK_LOCAL = IPv6Address("fe80::a:bff:fe0c:d0e")
ADDRESS = IPv6Address("2001:db8::a:bff:fe0c:d0e")
ROUTER = bytes.fromhex("02756300a9fe")
SERVER_DUID = bytes.fromhex("00030001") + ROUTER
FACTS = Facts(
    mac=MAC,
    ipv6=ADDRESS,
    prefix=IPv6Network("2001:db8::/64"),
    routed=(),
    ipv4=IPv4Address("10.0.0.7"),
    ipv4_prefix=IPv4Network("10.0.0.0/24"),
    isolated=False,
    mtu=1430,
    hostname="web",
    domain="ucloud.internal",
)


def ethernet(ethertype: int, payload: bytes, source: bytes = MAC) -> bytes:
    """A frame to somebody."""
    return b"\x33\x33\0\0\0\2" + source + struct.pack("!H", ethertype) + payload


def ipv6(protocol: int, payload: bytes, source: IPv6Address, to: IPv6Address, hops: int = 255) -> bytes:
    """A frame with an IPv6 packet."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
    return ethernet(0x86DD, head + source.packed + to.packed + payload)


def solicitation(
    source: IPv6Address = LINK_LOCAL, options: bytes = b"", code: int = 0, to: str = "ff02::2", hops: int = 255
) -> bytes:
    """A router solicitation."""
    return ipv6(58, bytes((133, code)) + bytes(6) + options, source, IPv6Address(to), hops)


def option6(code: int, value: bytes = b"") -> bytes:
    """An option of DHCPv6."""
    return struct.pack("!HH", code, len(value)) + value


def ia_na(iaid: int, *addresses: IPv6Address) -> bytes:
    """An identity association for addresses, which the client believes to have."""
    within = b"".join(option6(5, address.packed + bytes(8)) for address in addresses)
    return option6(3, struct.pack("!III", iaid, 0, 0) + within)


def ia_pd(iaid: int) -> bytes:
    """An identity association for prefixes."""
    return option6(25, struct.pack("!III", iaid, 0, 0))


def client(duid: bytes = b"\0\3\0\1abcdef") -> bytes:
    """The client's identifier."""
    return option6(1, duid)


def dhcpv6(kind: int, *options: bytes, to: str = "ff02::1:2", source: IPv6Address = LINK_LOCAL) -> bytes:
    """A frame with a message of DHCPv6."""
    message = bytes((kind,)) + b"xid" + b"".join(options)
    udp = struct.pack("!HHHH", 546, 547, 8 + len(message), 0xDEAD) + message
    return ipv6(17, udp, source, IPv6Address(to), 1)


def options6(octets: bytes) -> list[tuple[int, bytes]]:
    """The options of DHCPv6 in `octets`."""
    found = []
    while octets:
        code, length = struct.unpack("!HH", octets[:4])
        assert len(octets) >= 4 + length
        found.append((code, octets[4 : 4 + length]))
        octets = octets[4 + length :]
    return found


@dataclass
class Told:
    """What a guest reads in a frame over IPv6, with all that it checks."""

    frame: bytes
    protocol: int = 0
    to: IPv6Address = field(default_factory=lambda: IPv6Address(0))
    body: bytes = b""

    def __post_init__(self) -> None:
        assert self.frame[:6] == MAC
        assert self.frame[6:14] == ROUTER + b"\x86\xdd"
        packet = self.frame[14:]
        first, length, self.protocol, _ = struct.unpack("!IHBB", packet[:8])
        assert first >> 28 == 6
        assert IPv6Address(packet[8:24]) == IPv6Address("fe80::a9fe:a9fe")
        self.to = IPv6Address(packet[24:40])
        self.body = packet[40:]
        assert length == len(self.body)
        pseudo = packet[8:40] + struct.pack("!II", length, self.protocol)
        assert checksum(pseudo + self.body) == 0

    @property
    def hops(self) -> int:
        """The hop limit."""
        return self.frame[21]

    def dhcpv6(self) -> tuple[int, list[tuple[int, bytes]]]:
        """The kind and the options of the message of DHCPv6 in it."""
        assert self.protocol == 17
        source, to, length, _ = struct.unpack("!HHHH", self.body[:8])
        assert (source, to, length) == (547, 546, len(self.body))
        assert self.body[9:12] == b"xid"
        return self.body[8], options6(self.body[12:])

    def advertised(self) -> list[tuple[int, bytes]]:
        """The options of the router advertisement in it."""
        assert (self.protocol, self.hops, self.body[:2]) == (58, 255, bytes((134, 0)))
        octets, found = self.body[16:], []
        while octets:
            length = octets[1] * 8
            assert 0 < length <= len(octets)
            found.append((octets[0], octets[:length]))
            octets = octets[length:]
        return found


def dhcpv4(kind: int, *options: tuple[int, bytes], **changes: bytes | int) -> bytes:
    """A frame with a message of DHCPv4; `changes`: ciaddr, giaddr, chaddr, flags, cookie, to, end."""
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x01020304, 0, changes.get("flags", 0))
    head += _octets(changes, "ciaddr", bytes(4)) + bytes(8) + _octets(changes, "giaddr", bytes(4))
    head += _octets(changes, "chaddr", MAC).ljust(16, b"\0") + bytes(192)
    head += _octets(changes, "cookie", b"\x63\x82\x53\x63")
    told = b"".join(bytes((code, len(value))) + value for code, value in ((53, bytes((kind,))), *options))
    message = head + told + _octets(changes, "end", b"\xff")
    udp = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
    to = _octets(changes, "to", b"\xff" * 4)
    fields = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), to)
    fields = fields[:10] + struct.pack("!H", checksum(fields)) + fields[12:]
    return ethernet(0x0800, fields + udp)


def _octets(changes: dict[str, bytes | int], name: str, default: bytes) -> bytes:
    value = changes.get(name, default)
    assert isinstance(value, bytes)
    return value


@dataclass
class Told4:
    """What a guest reads in an answer of DHCPv4."""

    frame: bytes
    own: IPv4Address = field(default_factory=lambda: IPv4Address(0))
    options: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        packet = self.frame[14:]
        assert self.frame[6:14] == ROUTER + b"\x08\x00"
        assert checksum(packet[:20]) == 0
        udp = packet[20:]
        assert struct.unpack("!HHH", udp[:6]) == (67, 68, len(udp))
        assert checksum(packet[12:20] + struct.pack("!BBH", 0, 17, len(udp)) + udp) == 0
        message = udp[8:]
        assert (message[:4], message[4:8]) == (bytes((2, 1, 6, 0)), bytes((1, 2, 3, 4)))
        assert (message[28:34], message[236:240]) == (MAC, b"\x63\x82\x53\x63")
        assert len(message) >= 300
        self.own = IPv4Address(message[16:20])
        octets = message[240:]
        while octets[0] != 255:
            assert octets[0] not in self.options
            self.options[octets[0]] = octets[2 : 2 + octets[1]]
            octets = octets[2 + octets[1] :]

    @property
    def to(self) -> tuple[bytes, IPv4Address]:
        """The MAC and the IPv4 address that it is for."""
        return self.frame[:6], IPv4Address(self.frame[30:34])


def codes(options: Iterable[tuple[int, bytes]]) -> list[int]:
    """The codes of options, in their order."""
    return [code for code, _ in options]

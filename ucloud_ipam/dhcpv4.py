"""DHCPv4 without leases (RFC 2131), for ports with an IPv4 address: the same answer each time, from the port's facts.

IPv4 is for within a network, so there is no router; 169.254.169.254, where the host answers for metadata and names,
is told to be on link (RFC 3442). Pure; reading is strict and never raises.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from ucloud_ipam import domain_names
from ucloud_ipam.facts import Facts
from ucloud_ipam.frames import BROADCAST_MAC, BROADCAST_V4, SERVER_V4, UDP, Ipv4, read_udp, udp4_frame

CLIENT_PORT, SERVER_PORT = 68, 67

_DISCOVER, _OFFER, _REQUEST, _, _ACK, _NAK, _, _INFORM = range(1, 9)
_MASK, _DNS, _HOSTNAME, _DOMAIN, _MTU, _REQUESTED, _LEASE, _TYPE, _SERVER = 1, 6, 12, 15, 26, 50, 51, 53, 54
_RENEW, _REBIND, _CLIENT_ID, _RAPID_COMMIT, _SEARCH, _ROUTES, _END = 58, 59, 61, 80, 119, 121, 255
_HEAD = struct.Struct("!BBBBIHH4s4s4s4s16s192x4s")
"""op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname and file, cookie."""
_COOKIE = b"\x63\x82\x53\x63"
_ASKS, _ANSWERS = 1, 2
_BROADCAST = 0x8000
_NOWHERE = IPv4Address(0)
_LEASE_S, _RENEW_S, _REBIND_S = 86_400, 43_200, 75_600
_SHORTEST = 300
"""Old clients drop what is shorter than a message of BOOTP (RFC 1542, 2.1)."""
_Option = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Question:
    """A message of a client."""

    transaction: int
    seconds: int
    flags: int
    own: IPv4Address
    """What the client has configured already (ciaddr)."""
    hardware: bytes
    options: dict[int, bytes]

    @property
    def kind(self) -> int:
        """Its DHCP message type."""
        return self.options[_TYPE][0]


def answer(packet: Ipv4, facts: Facts) -> bytes | None:
    """The frame that answers; None: it is no question, or not as it should be, or the port has no IPv4 address."""
    if facts.ipv4 is None or packet.protocol != UDP or packet.destination not in (BROADCAST_V4, SERVER_V4):
        return None
    datagram = read_udp(packet.payload)
    if datagram is None or datagram.destination_port != SERVER_PORT:
        return None
    question = _read(datagram.payload)
    if question is None or question.hardware[:6] != facts.mac:
        return None
    kind = _kind_of_answer(question, facts.ipv4)
    if kind is None:
        return None
    if kind == _NAK or (question.flags & _BROADCAST and question.own != facts.ipv4):
        mac, to = BROADCAST_MAC, BROADCAST_V4
    else:
        mac, to = facts.mac, facts.ipv4
    return udp4_frame(mac, to, (SERVER_PORT, CLIENT_PORT), _write(kind, question, facts))


def _kind_of_answer(question: _Question, own: IPv4Address) -> int | None:
    if question.kind == _DISCOVER:
        return _ACK if _RAPID_COMMIT in question.options else _OFFER  # RFC 4039
    if question.kind == _INFORM:
        return _ACK if question.own == own else None
    if question.kind != _REQUEST or question.options.get(_SERVER, SERVER_V4.packed) != SERVER_V4.packed:
        return None
    wanted = question.options.get(_REQUESTED, question.own.packed)
    if wanted == _NOWHERE.packed:
        return None
    return _ACK if wanted == own.packed else _NAK


def _write(kind: int, question: _Question, facts: Facts) -> bytes:
    leased = facts.ipv4 if facts.ipv4 and kind != _NAK and question.kind != _INFORM else _NOWHERE
    kept = _NOWHERE if kind == _NAK else question.own
    head = _HEAD.pack(
        _ANSWERS,
        1,
        6,
        0,
        question.transaction,
        0,
        question.flags,
        kept.packed,
        leased.packed,
        _NOWHERE.packed,
        _NOWHERE.packed,
        question.hardware,
        _COOKIE,
    )
    options = b"".join(bytes((code, len(value))) + value for code, value in _options(kind, question, facts))
    return (head + options + bytes((_END,))).ljust(_SHORTEST, b"\0")


def _options(kind: int, question: _Question, facts: Facts) -> Iterator[_Option]:
    yield _TYPE, bytes((kind,))
    yield _SERVER, SERVER_V4.packed
    if _CLIENT_ID in question.options:
        yield _CLIENT_ID, question.options[_CLIENT_ID]  # RFC 6842
    if kind == _NAK or facts.ipv4_prefix is None:
        return
    if question.kind != _INFORM:
        yield _LEASE, _LEASE_S.to_bytes(4, "big")
        yield _RENEW, _RENEW_S.to_bytes(4, "big")
        yield _REBIND, _REBIND_S.to_bytes(4, "big")
    if question.kind == _DISCOVER and kind == _ACK:
        yield _RAPID_COMMIT, b""
    yield _MASK, facts.ipv4_prefix.netmask.packed
    yield _MTU, facts.mtu.to_bytes(2, "big")
    yield _ROUTES, bytes((32,)) + SERVER_V4.packed + _NOWHERE.packed
    yield _DNS, SERVER_V4.packed
    yield _HOSTNAME, facts.hostname.encode()
    yield _DOMAIN, facts.domain.encode()
    yield _SEARCH, domain_names.encode(facts.domain)  # RFC 3397


def _read(message: bytes) -> _Question | None:
    if len(message) < _HEAD.size:
        return None
    op, kind, length, hops, transaction, seconds, flags, own, _, _, relay, hardware, cookie = _HEAD.unpack_from(message)
    if (op, kind, length, hops, cookie) != (_ASKS, 1, 6, 0, _COOKIE) or relay != _NOWHERE.packed:
        return None
    options = _read_options(message[_HEAD.size :])
    if options is None or len(options.get(_TYPE, b"")) != 1 or not _are_well_formed(options):
        return None
    return _Question(transaction, seconds, flags, IPv4Address(own), hardware, options)


def _are_well_formed(options: dict[int, bytes]) -> bool:
    lengths = {_REQUESTED: 4, _SERVER: 4, _RAPID_COMMIT: 0}
    if any(code in options and len(options[code]) != length for code, length in lengths.items()):
        return False
    return len(options.get(_CLIENT_ID, b"ok")) in range(2, 256)


def _read_options(octets: bytes) -> dict[int, bytes] | None:
    """The options, parts of one joined (RFC 3396); None when one is longer than what is there."""
    options: dict[int, bytes] = {}
    at = 0
    while at < len(octets) and octets[at] != _END:
        if octets[at] == 0:
            at += 1
            continue
        if at + 1 >= len(octets):
            return None
        code, length = octets[at], octets[at + 1]
        value = octets[at + 2 : at + 2 + length]
        if len(value) != length:
            return None
        options[code] = options.get(code, b"") + value
        at += 2 + length
    return options

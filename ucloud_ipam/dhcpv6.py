"""DHCPv6 without leases (RFC 8415): each question is answered from the facts of the port, whoever asks behind its tap.

A guest that is installed anew has another DUID, and gets the same address at once. The server's own DUID is the same
on every host, so that a guest which moved goes on with the next one. Pure; reading is strict and never raises.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from common.schemas.network import DNS_V6, GATEWAY
from ucloud_ipam import domain_names
from ucloud_ipam.facts import Facts
from ucloud_ipam.frames import ROUTER_MAC, UDP, Ipv6, read_udp, udp6_frame

SERVERS = IPv6Address("ff02::1:2")
"""All_DHCP_Relay_Agents_and_Servers: questions are multicast, as nobody was ever told otherwise (RFC 8415, 16)."""
CLIENT_PORT, SERVER_PORT = 546, 547
SERVER_DUID = b"\x00\x03\x00\x01" + ROUTER_MAC
"""DUID-LL of an Ethernet (RFC 8415, 11.4)."""

_SOLICIT, _ADVERTISE, _REQUEST, _CONFIRM, _RENEW, _REBIND, _REPLY, _RELEASE, _DECLINE = range(1, 10)
_INFORMATION_REQUEST = 11
_CLIENT_ID, _SERVER_ID, _IA_NA, _IA_TA, _IA_ADDRESS, _ORO, _PREFERENCE = range(1, 8)
_STATUS, _RAPID_COMMIT, _DNS_SERVERS, _DOMAIN_LIST, _IA_PD, _IA_PREFIX = 13, 14, 23, 24, 25, 26
_REFRESH_TIME, _FQDN = 32, 39
_SUCCESS, _NO_ADDRESSES, _NOT_ON_LINK, _NO_PREFIX = 0, 2, 4, 6
_LEASED = frozenset((_SOLICIT, _REQUEST, _RENEW, _REBIND))
_TO_A_SERVER = frozenset((_REQUEST, _RENEW, _RELEASE, _DECLINE))
_TO_ANY_SERVER = frozenset((_SOLICIT, _CONFIRM, _REBIND))
_ASSOCIATIONS = frozenset((_IA_NA, _IA_TA, _IA_PD))
_ONCE = frozenset((_CLIENT_ID, _SERVER_ID, _ORO, _RAPID_COMMIT, _FQDN))
_LONGEST_DUID = 130
_MOST_ASSOCIATIONS = 8
_MOST_STALE = 8
_FIRST_CHOICE = 255
"""Who reads this does not wait for the offers of others (RFC 8415, 18.2.1)."""
_FQDN_BY_SERVER, _FQDN_OVERRIDDEN = 1, 2
_RENEW_S, _REBIND_S, _PREFERRED_S, _VALID_S = 43_200, 69_120, 86_400, 172_800
"""What is told never changes, so days would do; a guest that asks twice a day learns of a new name server."""

_OPTION = struct.Struct("!HH")
_ADDRESS = struct.Struct("!16sII")  # address, preferred, valid
_DELEGATED = struct.Struct("!IIB16s")  # preferred, valid, prefix length, prefix
_ASSOCIATION_TIMES = struct.Struct("!II")
_Option = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Question:
    """A message of a client."""

    kind: int
    transaction: bytes
    options: tuple[_Option, ...]

    def get(self, code: int) -> bytes | None:
        """The option `code`, where it is there."""
        return next((value for known, value in self.options if known == code), None)

    def has(self, code: int) -> bool:
        """Whether the option `code` is there."""
        return self.get(code) is not None


def answer(packet: Ipv6, facts: Facts) -> bytes | None:
    """The frame that answers; None: it is no question, or not as it should be."""
    if packet.protocol != UDP or packet.destination != SERVERS:
        return None
    if not packet.source.is_link_local or packet.source == GATEWAY:
        return None
    datagram = read_udp(packet.payload)
    if datagram is None or datagram.destination_port != SERVER_PORT:
        return None
    message = reply_to(datagram.payload, facts)
    return message and udp6_frame(facts.mac, packet.source, (SERVER_PORT, CLIENT_PORT), message)


def reply_to(message: bytes, facts: Facts) -> bytes | None:
    """The message that answers `message`; None: nothing does."""
    question = _read(message)
    if question is None or not _is_valid(question):
        return None
    if question.kind == _CONFIRM:
        told = _confirm(question, facts)
        if told is None:
            return None
    else:
        told = list(_told(question, facts))
    kind = _ADVERTISE if question.kind == _SOLICIT and not question.has(_RAPID_COMMIT) else _REPLY
    client = question.get(_CLIENT_ID)
    who = [(_SERVER_ID, SERVER_DUID), *([(_CLIENT_ID, client)] if client else [])]
    return bytes((kind,)) + question.transaction + _write([*who, *told])


def _told(question: _Question, facts: Facts) -> Iterator[_Option]:
    """What follows who speaks to whom."""
    kind = question.kind
    if kind == _SOLICIT:
        yield (_RAPID_COMMIT, b"") if question.has(_RAPID_COMMIT) else (_PREFERENCE, bytes((_FIRST_CHOICE,)))
    if kind in _LEASED:
        yield from _associations(question.options, facts)
    if kind in (_RELEASE, _DECLINE):
        yield _status(_SUCCESS)
        return
    yield _DNS_SERVERS, DNS_V6.packed
    yield _DOMAIN_LIST, domain_names.encode(facts.domain)
    if kind == _INFORMATION_REQUEST:
        yield _REFRESH_TIME, _PREFERRED_S.to_bytes(4, "big")
    fqdn = question.get(_FQDN)
    if fqdn is not None or _FQDN in _requested(question):
        overridden = 0 if fqdn and fqdn[0] & _FQDN_BY_SERVER else _FQDN_OVERRIDDEN
        name = domain_names.encode(f"{facts.hostname}.{facts.domain}")
        yield _FQDN, bytes((_FQDN_BY_SERVER | overridden,)) + name


def _associations(options: Iterable[_Option], facts: Facts) -> Iterator[_Option]:
    """An answer to each identity association: the first of a kind has what the port has, the others nothing."""
    wanted = [(code, value) for code, value in options if code in _ASSOCIATIONS][:_MOST_ASSOCIATIONS]
    served: set[int] = set()
    for code, value in wanted:
        if code == _IA_TA:
            yield code, value[:4] + _write([_status(_NO_ADDRESSES)])
            continue
        held = [] if code in served else _addresses(value, facts) if code == _IA_NA else _prefixes(facts)
        served.add(code)
        if held:
            yield code, value[:4] + _ASSOCIATION_TIMES.pack(_RENEW_S, _REBIND_S) + _write(held)
        else:
            status = _status(_NO_ADDRESSES if code == _IA_NA else _NO_PREFIX)
            yield code, value[:4] + _ASSOCIATION_TIMES.pack(0, 0) + _write([status])


def _addresses(association: bytes, facts: Facts) -> list[_Option]:
    """The port's address, and an end to all others that the guest believes to have."""
    own = facts.ipv6.packed
    stale = [address for address in _claimed(association) if address != own][:_MOST_STALE]
    held = [(_IA_ADDRESS, _ADDRESS.pack(own, _PREFERRED_S, _VALID_S))]
    return held + [(_IA_ADDRESS, _ADDRESS.pack(address, 0, 0)) for address in stale]


def _prefixes(facts: Facts) -> list[_Option]:
    return [
        (_IA_PREFIX, _DELEGATED.pack(_PREFERRED_S, _VALID_S, prefix.prefixlen, prefix.network_address.packed))
        for prefix in facts.routed
    ]


def _confirm(question: _Question, facts: Facts) -> list[_Option] | None:
    """Whether all that the guest believes to have is right; None when it names nothing (RFC 8415, 18.3.3)."""
    claimed = [address for code, value in question.options if code == _IA_NA for address in _claimed(value)]
    if not claimed:
        return None
    return [_status(_SUCCESS if all(address == facts.ipv6.packed for address in claimed) else _NOT_ON_LINK)]


def _claimed(association: bytes) -> list[bytes]:
    """The addresses in an IA_NA that was found to be well-formed."""
    return [value[:16] for code, value in _options(association[12:]) or () if code == _IA_ADDRESS]


def _requested(question: _Question) -> set[int]:
    """The options that the client asks for."""
    codes = question.get(_ORO) or b""
    return {int.from_bytes(codes[at : at + 2], "big") for at in range(0, len(codes), 2)}


def _status(code: int) -> _Option:
    return _STATUS, code.to_bytes(2, "big")


def _is_valid(question: _Question) -> bool:
    """What RFC 8415, section 16, asks of each kind of message."""
    kind, server = question.kind, question.get(_SERVER_ID)
    if kind == _INFORMATION_REQUEST:
        has_none = not any(code in _ASSOCIATIONS for code, _ in question.options)
        return has_none and server in (None, SERVER_DUID)
    if not question.has(_CLIENT_ID):
        return False
    return (kind in _TO_A_SERVER and server == SERVER_DUID) or (kind in _TO_ANY_SERVER and server is None)


def _read(message: bytes) -> _Question | None:
    if len(message) < 4:
        return None
    options = _options(message[4:])
    if options is None or not all(_is_well_formed(code, value) for code, value in options):
        return None
    singles = [code for code, _ in options if code in _ONCE]
    if len(singles) != len(set(singles)):
        return None
    return _Question(message[0], message[1:4], tuple(options))


def _is_well_formed(code: int, value: bytes) -> bool:
    if code in (_CLIENT_ID, _SERVER_ID):
        return 2 < len(value) <= _LONGEST_DUID
    if code in (_IA_NA, _IA_PD):
        within = _options(value[12:]) if len(value) >= 12 else None
        return within is not None and all(len(inner) >= _ADDRESS.size for kind, inner in within if kind == _IA_ADDRESS)
    if code == _IA_TA:
        return len(value) >= 4
    if code == _ORO:
        return len(value) % 2 == 0
    return True


def _options(octets: bytes) -> list[_Option] | None:
    """The options that fill `octets`; None when they don't do so exactly."""
    options: list[_Option] = []
    at = 0
    while at < len(octets):
        if len(octets) - at < _OPTION.size:
            return None
        code, length = _OPTION.unpack_from(octets, at)
        at += _OPTION.size
        value = octets[at : at + length]
        if len(value) != length:
            return None
        options.append((code, value))
        at += length
    return options


def _write(options: Iterable[_Option]) -> bytes:
    return b"".join(_OPTION.pack(code, len(value)) + value for code, value in options)

"""DHCPv6, octet by octet."""

import struct
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest

from tests.unit.ucloud_ipam.guests import (
    ADDRESS,
    FACTS,
    LINK_LOCAL,
    SERVER_DUID,
    Told,
    client,
    codes,
    dhcpv6,
    ia_na,
    ia_pd,
    option6,
    options6,
)
from ucloud_ipam.answer import answer
from ucloud_ipam.facts import Facts

SOLICIT, ADVERTISE, REQUEST, CONFIRM, RENEW, REBIND, REPLY, RELEASE, DECLINE = range(1, 10)
INFORMATION_REQUEST = 11
US = option6(2, SERVER_DUID)
OTHER = IPv6Address("2001:db8::bad")


def _told(frame: bytes, facts: Facts = FACTS) -> tuple[int, dict[int, bytes]]:
    answered = answer(frame, facts)
    assert answered is not None
    told = Told(answered)
    assert told.to == LINK_LOCAL
    kind, options = told.dhcpv6()
    assert len(codes(options)) == len(set(codes(options)))
    assert dict(options)[2] == SERVER_DUID
    return kind, dict(options)


def _addresses(association: bytes) -> list[tuple[IPv6Address, int, int]]:
    """The addresses in an IA_NA with their lifetimes."""
    return [
        (IPv6Address(value[:16]), *struct.unpack("!II", value[16:24]))
        for code, value in options6(association[12:])
        if code == 5
    ]


def _status(options: bytes) -> int:
    return int(struct.unpack("!H", dict(options6(options))[13][:2])[0])


def test_a_solicit_is_offered_the_address_and_the_first_choice() -> None:
    kind, options = _told(dhcpv6(SOLICIT, client(b"\0\1duid"), ia_na(7)))
    assert kind == ADVERTISE
    assert (options[1], options[7]) == (b"\0\1duid", b"\xff")
    assert options[3][:4] == struct.pack("!I", 7)
    ((address, preferred_s, valid_s),) = _addresses(options[3])
    assert address == ADDRESS
    renew_s, rebind_s = struct.unpack("!II", options[3][4:12])
    assert 0 < renew_s < rebind_s < preferred_s <= valid_s
    assert options[23] == IPv6Address("fd00:ec2::253").packed
    assert options[24] == b"\6ucloud\x08internal\0"


def test_with_rapid_commit_the_first_answer_is_the_last() -> None:
    kind, options = _told(dhcpv6(SOLICIT, client(), ia_na(7), option6(14)))
    assert (kind, options[14]) == (REPLY, b"")
    assert _addresses(options[3])[0][0] == ADDRESS


@pytest.mark.parametrize("duid", [b"\0\1\0\1\0\0\0\1abcdef", b"\0\3\0\1zyxwvu", b"\0\4" + bytes(16)])
@pytest.mark.parametrize("kind", [REQUEST, RENEW])
def test_whatever_its_duid_the_guest_gets_its_address(kind: int, duid: bytes) -> None:
    told, options = _told(dhcpv6(kind, client(duid), US, ia_na(1, ADDRESS)))
    assert (told, options[1]) == (REPLY, duid)
    assert [address for address, *_ in _addresses(options[3])] == [ADDRESS]


def test_a_rebind_after_a_move_keeps_the_address_and_ends_others() -> None:
    _, options = _told(dhcpv6(REBIND, client(), ia_na(1, OTHER, ADDRESS)))
    own, other = _addresses(options[3])
    assert (own[0], other) == (ADDRESS, (OTHER, 0, 0))


def test_a_second_association_of_a_kind_gets_nothing() -> None:
    answered = answer(dhcpv6(SOLICIT, client(), ia_na(1), ia_na(2), option6(4, b"tmp!")), FACTS)
    assert answered is not None
    _, options = Told(answered).dhcpv6()
    first, second = (value for code, value in options if code == 3)
    assert len(_addresses(first)) == 1
    assert _status(second[12:]) == 2  # NoAddrsAvail
    (temporary,) = (value for code, value in options if code == 4)
    assert (temporary[:4], _status(temporary[4:])) == (b"tmp!", 2)


def test_routed_prefixes_are_delegated_and_who_has_none_is_told() -> None:
    routed = (IPv6Network("2001:db8:1::/56"), IPv6Network("2001:db8:2::/64"))
    _, options = _told(dhcpv6(SOLICIT, client(), ia_na(1), ia_pd(9)), replace(FACTS, routed=routed))
    delegated = [value for code, value in options6(options[25][12:]) if code == 26]
    assert [IPv6Network((value[9:25], value[8])) for value in delegated] == list(routed)
    assert options[25][:4] == struct.pack("!I", 9)
    _, options = _told(dhcpv6(SOLICIT, client(), ia_pd(9)))
    assert _status(options[25][12:]) == 6  # NoPrefixAvail


def test_a_confirm_says_whether_the_address_is_still_right() -> None:
    assert _status(option6(13, _told(dhcpv6(CONFIRM, client(), ia_na(1, ADDRESS)))[1][13])) == 0
    assert _status(option6(13, _told(dhcpv6(CONFIRM, client(), ia_na(1, OTHER)))[1][13])) == 4  # NotOnLink
    assert answer(dhcpv6(CONFIRM, client(), ia_na(1)), FACTS) is None


@pytest.mark.parametrize("kind", [RELEASE, DECLINE])
def test_who_gives_an_address_back_is_thanked(kind: int) -> None:
    told, options = _told(dhcpv6(kind, client(), US, ia_na(1, ADDRESS)))
    assert (told, options[13], set(options)) == (REPLY, b"\0\0", {1, 2, 13})


def test_information_is_for_everybody() -> None:
    told, options = _told(dhcpv6(INFORMATION_REQUEST, option6(6, struct.pack("!HHH", 23, 24, 39))))
    assert (told, set(options)) == (REPLY, {2, 23, 24, 32, 39})
    assert options[39] == b"\x03\3web\6ucloud\x08internal\0"


def test_a_name_that_the_guest_has_made_up_is_corrected() -> None:
    _, options = _told(dhcpv6(SOLICIT, client(), option6(39, b"\1\4mine")))
    assert options[39] == b"\1\3web\6ucloud\x08internal\0"


@pytest.mark.parametrize(
    "frame",
    [
        dhcpv6(SOLICIT, ia_na(1)),
        dhcpv6(SOLICIT, client(), US),
        dhcpv6(SOLICIT, client(), client()),
        dhcpv6(SOLICIT, client(b"x")),
        dhcpv6(SOLICIT, client(bytes(131))),
        dhcpv6(SOLICIT, client(), b"\0\3\0\x10abc"),
        dhcpv6(SOLICIT, client(), b"\0"),
        dhcpv6(SOLICIT, client(), option6(3, bytes(11))),
        dhcpv6(SOLICIT, client(), option6(3, bytes(12) + option6(5, bytes(23)))),
        dhcpv6(SOLICIT, client(), to="fe80::a9fe:a9fe"),
        dhcpv6(SOLICIT, client(), source=IPv6Address("2001:db8::1")),
        dhcpv6(SOLICIT, client(), source=IPv6Address("::")),
        dhcpv6(SOLICIT, client(), source=IPv6Address("fe80::a9fe:a9fe")),
        dhcpv6(REQUEST, client(), ia_na(1)),
        dhcpv6(REQUEST, client(), option6(2, b"\0\3\0\1others"), ia_na(1)),
        dhcpv6(RENEW, US, ia_na(1)),
        dhcpv6(REBIND, client(), US, ia_na(1)),
        dhcpv6(INFORMATION_REQUEST, ia_na(1)),
        dhcpv6(INFORMATION_REQUEST, option6(2, b"\0\3\0\1others")),
        dhcpv6(ADVERTISE, client(), US),
        dhcpv6(REPLY, client(), US),
        dhcpv6(12, client()),
        dhcpv6(0),
    ],
)
def test_what_is_not_as_it_should_be_stays_unanswered(frame: bytes) -> None:
    assert answer(frame, FACTS) is None

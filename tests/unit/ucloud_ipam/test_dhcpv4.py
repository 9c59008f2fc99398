"""DHCPv4, octet by octet."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from tests.unit.ucloud_ipam.guests import FACTS, MAC, Told4, dhcpv4
from ucloud_ipam.answer import answer

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
OWN, OTHER, SERVER = (IPv4Address(each).packed for each in ("10.0.0.7", "10.0.0.8", "169.254.169.254"))
TO_OWN = (MAC, IPv4Address(OWN))
TO_ALL = (b"\xff" * 6, IPv4Address("255.255.255.255"))


def _told(frame: bytes) -> tuple[int, Told4]:
    answered = answer(frame, FACTS)
    assert answered is not None
    told = Told4(answered)
    assert told.options[54] == SERVER
    return told.options[53][0], told


def test_a_discover_is_offered_all_there_is_and_no_router() -> None:
    kind, told = _told(dhcpv4(DISCOVER, (61, b"\1abcdef"), (55, b"\1\3\6")))
    assert (kind, told.own, told.to) == (OFFER, IPv4Address(OWN), TO_OWN)
    expected = {
        1: b"\xff\xff\xff\0",
        6: SERVER,
        12: b"web",
        15: b"ucloud.internal",
        26: (1430).to_bytes(2, "big"),
        61: b"\1abcdef",
        119: b"\6ucloud\x08internal\0",
        121: b"\x20" + SERVER + bytes(4),
    }
    assert {code: told.options[code] for code in expected} == expected
    assert 3 not in told.options
    renew_s, rebind_s, lease_s = (int.from_bytes(told.options[code], "big") for code in (58, 59, 51))
    assert 0 < renew_s < rebind_s < lease_s


def test_the_offered_address_is_acknowledged() -> None:
    kind, told = _told(dhcpv4(REQUEST, (50, OWN), (54, SERVER)))
    assert (kind, told.own) == (ACK, IPv4Address(OWN))


def test_it_is_acknowledged_after_a_boot_and_when_it_is_renewed() -> None:
    assert _told(dhcpv4(REQUEST, (50, OWN)))[0] == ACK
    assert _told(dhcpv4(REQUEST, ciaddr=OWN, to=SERVER, flags=0x8000))[1].to == TO_OWN


def test_who_can_hear_only_broadcasts_is_answered_so() -> None:
    assert _told(dhcpv4(DISCOVER, flags=0x8000))[1].to == TO_ALL


def test_rapid_commit_saves_a_round() -> None:
    kind, told = _told(dhcpv4(DISCOVER, (80, b"")))
    assert (kind, told.options[80], told.own) == (ACK, b"", IPv4Address(OWN))


@pytest.mark.parametrize("frame", [dhcpv4(REQUEST, (50, OTHER)), dhcpv4(REQUEST, ciaddr=OTHER)])
def test_another_address_is_refused(frame: bytes) -> None:
    kind, told = _told(frame)
    assert (kind, told.own, told.to, set(told.options)) == (NAK, IPv4Address(0), TO_ALL, {53, 54})


def test_information_comes_without_a_lease() -> None:
    kind, told = _told(dhcpv4(INFORM, ciaddr=OWN))
    assert (kind, told.own, 51 in told.options, told.options[15]) == (ACK, IPv4Address(0), False, b"ucloud.internal")


def test_options_in_parts_are_joined() -> None:
    assert _told(dhcpv4(REQUEST, (50, OWN[:2]), (0, b""), (50, OWN[2:])))[0] == ACK


def test_a_port_without_ipv4_is_not_answered() -> None:
    assert answer(dhcpv4(DISCOVER), replace(FACTS, ipv4=None, ipv4_prefix=None)) is None


@pytest.mark.parametrize(
    "frame",
    [
        dhcpv4(REQUEST),
        dhcpv4(REQUEST, (50, OWN), (54, OTHER)),
        dhcpv4(INFORM, ciaddr=OTHER),
        dhcpv4(DECLINE, (50, OWN)),
        dhcpv4(RELEASE, ciaddr=OWN),
        dhcpv4(OFFER),
        dhcpv4(DISCOVER, chaddr=b"\2\0\0\0\0\1"),
        dhcpv4(DISCOVER, giaddr=OTHER),
        dhcpv4(DISCOVER, cookie=b"abcd"),
        dhcpv4(DISCOVER, to=OTHER),
        dhcpv4(DISCOVER, (54, b"abc")),
        dhcpv4(DISCOVER, end=b"\x0c\xffabc"),
        dhcpv4(DISCOVER, end=b"\x0c"),
        dhcpv4(DISCOVER)[:-1],
        dhcpv4(DISCOVER)[:20] + b"\x20\x00" + dhcpv4(DISCOVER)[22:],
    ],
)
def test_what_is_not_as_it_should_be_stays_unanswered(frame: bytes) -> None:
    assert answer(frame, FACTS) is None

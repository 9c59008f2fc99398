"""Router advertisements, octet by octet."""

import struct
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from tests.unit.ucloud_ipam.guests import FACTS, LINK_LOCAL, MAC, ROUTER, Told, codes, solicitation
from ucloud_ipam import ra
from ucloud_ipam.answer import answer
from ucloud_ipam.facts import Facts

SOURCE_LINK_LAYER = b"\1\1" + MAC


def _advertised(frame: bytes | None) -> Told:
    assert frame is not None
    return Told(frame)


def test_who_solicits_learns_of_the_router_the_prefix_the_mtu_and_the_name_server() -> None:
    told = _advertised(answer(solicitation(options=SOURCE_LINK_LAYER), FACTS))
    assert told.to == LINK_LOCAL
    hop_limit, flags, lifetime_s, _, _ = struct.unpack("!BBHII", told.body[4:16])
    assert (hop_limit, flags, lifetime_s) == (64, 0x80, 1800)
    link_layer, mtu, prefix, dns = told.advertised()
    assert link_layer == (1, b"\1\1" + ROUTER)
    assert mtu == (5, struct.pack("!BBHI", 5, 1, 0, 1430))
    kind, length, bits, how, valid_s, preferred_s = struct.unpack("!BBBBII", prefix[1][:12])
    assert (kind, length, bits, how) == (3, 4, 64, 0x80)  # on link, and no SLAAC
    assert valid_s >= preferred_s > 0
    assert prefix[1][16:] == IPv6Address("2001:db8::").packed
    assert dns == (25, struct.pack("!BBHI", 25, 3, 0, 1800) + IPv6Address("fd00:ec2::253").packed)


def test_who_has_no_address_yet_is_answered_at_all_nodes() -> None:
    assert _advertised(answer(solicitation(IPv6Address("::")), FACTS)).to == IPv6Address("ff02::1")


def test_nobody_asks_for_an_unsolicited_one() -> None:
    told = Told(ra.frame(FACTS))
    assert told.to == IPv6Address("ff02::1")
    assert codes(told.advertised()) == [1, 5, 3, 25]


def test_an_isolated_network_has_no_router_but_the_hosts_own_addresses_on_link() -> None:
    facts: Facts = replace(FACTS, isolated=True)
    told = Told(ra.frame(facts))
    assert struct.unpack("!H", told.body[6:8]) == (0,)
    prefixes = [(option[2], IPv6Address(option[16:])) for code, option in told.advertised() if code == 3]
    assert prefixes == [
        (64, IPv6Address("2001:db8::")),
        (128, IPv6Address("fd00:ec2::253")),
        (128, IPv6Address("fd00:ec2::254")),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        solicitation(hops=254),
        solicitation(code=1),
        solicitation(to="ff02::1"),
        solicitation(source=IPv6Address("ff02::1")),
        solicitation(IPv6Address("::"), SOURCE_LINK_LAYER),
        solicitation(options=b"\1\0" + MAC),
        solicitation(options=b"\1\2" + MAC),
        solicitation(options=b"\1"),
        solicitation()[:-1],
        solicitation().replace(MAC, b"\2\0\0\0\0\1"),
        b"",
    ],
    ids=["routed", "code", "to", "multicast", "no-source", "no-length", "too-long", "half", "cut", "forged", "empty"],
)
def test_what_is_no_valid_solicitation_stays_unanswered(frame: bytes) -> None:
    assert answer(frame, FACTS) is None

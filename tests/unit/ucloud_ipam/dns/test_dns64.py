"""Addresses of a NAT64 for names that have only IPv4 addresses."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.reversename
import dns.rrset
import pytest

from ucloud_ipam.dns import dns64, question
from ucloud_ipam.dns.question import Question

PREFIX = IPv6Network("2001:db8:64::/96")
WELL_KNOWN = IPv6Network("64:ff9b::/96")


def _asked(kind: str = "AAAA", flags: int = 0, dnssec: bool = False) -> Question:
    query = dns.message.make_query("v4.example", kind, want_dnssec=dnssec)
    query.flags |= flags
    asked = question.read(query.to_wire(), over_tcp=False)
    assert isinstance(asked, Question)
    return asked


def _answer(*records: str, code: dns.rcode.Rcode = dns.rcode.NOERROR) -> dns.message.Message:
    """What a name server says, each record as "name ttl type data"."""
    answer = dns.message.make_response(dns.message.make_query("v4.example", "A"))
    answer.set_rcode(code)
    for record in records:
        name, ttl, kind, data = record.split()
        answer.answer.append(dns.rrset.from_text(f"{name}.", int(ttl), "IN", kind, data))
    return answer


def test_addresses_are_embedded_and_aliases_kept() -> None:
    ipv4 = _answer("v4.example 60 CNAME w.example.", "w.example 9000 A 192.0.2.1")
    answer = dns64.synthesise(_asked(), ipv4, PREFIX)
    assert answer is not None
    texts = [rrset.to_text() for rrset in dns.message.from_wire(answer.to_wire()).answer]
    assert texts == ["v4.example. 60 IN CNAME w.example.", "w.example. 600 IN AAAA 2001:db8:64::c000:201"]


def test_no_address_is_made_of_none() -> None:
    assert dns64.synthesise(_asked(), _answer("v4.example 60 CNAME w.example."), PREFIX) is None


def test_the_well_known_prefix_stands_for_no_private_address() -> None:
    private = _answer("v4.example 60 A 10.0.0.1")
    assert dns64.synthesise(_asked(), private, WELL_KNOWN) is None
    assert dns64.synthesise(_asked(), private, PREFIX) is not None


@pytest.mark.parametrize(
    ("answer", "stands"),
    [
        (_answer("v4.example 60 AAAA 2001:db8::1"), True),
        (_answer("v4.example 60 AAAA ::ffff:192.0.2.1"), False),
        (_answer(), False),
        (_answer(code=dns.rcode.NXDOMAIN), True),
        (_answer(code=dns.rcode.SERVFAIL), False),
    ],
)
def test_only_where_there_is_no_address_one_is_made(answer: dns.message.Message, stands: bool) -> None:
    assert dns64.has_addresses(answer) is stands


def test_who_checks_signatures_gets_what_was_signed() -> None:
    assert dns64.is_wanted(_asked())
    assert dns64.is_wanted(_asked(dnssec=True))
    assert not dns64.is_wanted(_asked(dnssec=True, flags=dns.flags.CD))
    assert not dns64.is_wanted(_asked("A"))


def test_an_address_of_the_nat64_has_the_name_of_the_one_within() -> None:
    name = dns.reversename.from_address(str(dns64.embed(IPv4Address("192.0.2.1"), PREFIX)))
    target = dns64.reversed_name(name, PREFIX)
    assert target == dns.name.from_text("1.2.0.192.in-addr.arpa.")
    other = dns.reversename.from_address(str(IPv6Address("2001:db8::1")))
    assert dns64.reversed_name(other, PREFIX) is None
    answer = dns64.aliased(_asked("PTR"), target, _answer("1.2.0.192.in-addr.arpa 60 PTR v4.example."))
    assert [rrset.rdtype.name for rrset in answer.answer] == ["CNAME", "PTR"]

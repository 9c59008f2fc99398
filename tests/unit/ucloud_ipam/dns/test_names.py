"""Answers of the name server, from a zone, and what it says to questions that it can't answer."""

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.schemas.network import AddressHolder, NetworkRequest
from ucloud_ipam.dns import local_names, question
from ucloud_ipam.dns.question import Question, to_wire
from ucloud_ipam.dns.zone import Zone, territory_of, zone_of

NETWORK = NetworkRequest(
    uuid="n",
    owner="ann",
    name="n",
    vni=1,
    prefix=IPv6Network("2001:db8::/64"),
    ipv4=IPv4Network("10.0.0.0/24"),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
WEB, WEB4, TWIN = IPv6Address("2001:db8::a"), IPv4Address("10.0.0.7"), IPv6Address("2001:db8::b")


def _holder(name: str) -> AddressHolder:
    return AddressHolder(vm=name, port="0000000001", name=name)


ZONE: Zone = zone_of(
    territory_of(NETWORK, "ucloud.internal"),
    [
        (WEB, _holder("web")),
        (WEB4, _holder("web")),
        (TWIN, _holder("web")),
        (IPv6Address("2001:db8::c"), _holder("metadata")),
        (IPv6Address("2001:db8::d"), _holder("x" * 70)),
    ],
)


def _asked(name: str, kind: str = "AAAA", over_tcp: bool = False) -> Question:
    asked = question.read(dns.message.make_query(name, kind).to_wire(), over_tcp)
    assert isinstance(asked, Question)
    return asked


def _answer(name: str, kind: str = "AAAA") -> dns.message.Message | None:
    asked = _asked(name, kind)
    answer = local_names.answer(asked, ZONE)
    return answer and dns.message.from_wire(to_wire(answer, asked.most_octets))


def _told(name: str, kind: str = "AAAA") -> dns.message.Message:
    answer = _answer(name, kind)
    assert answer is not None
    assert answer.flags & dns.flags.AA
    return answer


def _records(message: dns.message.Message) -> set[str]:
    return {record.to_text() for rrset in message.answer for record in rrset}


def _is_negative(message: dns.message.Message, code: dns.rcode.Rcode) -> bool:
    (authority,) = message.authority
    return (message.rcode(), message.answer, authority.rdtype) == (code, [], dns.rdatatype.SOA)


def test_a_vm_is_found_by_its_name_in_any_case_and_so_are_those_called_alike() -> None:
    assert _records(_told("web.ucloud.internal")) == {str(WEB), str(TWIN)}
    assert _records(_told("WEB.UCloud.Internal")) == {str(WEB), str(TWIN)}
    assert _records(_told("web.ucloud.internal", "A")) == {str(WEB4)}


def test_an_address_has_its_name_back() -> None:
    for address in (WEB, WEB4):
        assert _records(_told(dns.reversename.from_address(str(address)).to_text(), "PTR")) == {"web.ucloud.internal."}


def test_no_vm_can_call_itself_the_metadata_server() -> None:
    assert _records(_told("metadata.ucloud.internal")) == {"fd00:ec2::254"}
    assert _records(_told("metadata.ucloud.internal", "A")) == {"169.254.169.254"}
    reverse = dns.reversename.from_address("fd00:ec2::254").to_text()
    assert _records(_told(reverse, "PTR")) == {"metadata.ucloud.internal."}


def test_what_is_not_there_is_told_from_what_has_no_such_record() -> None:
    assert _is_negative(_told("none.ucloud.internal"), dns.rcode.NXDOMAIN)
    assert _is_negative(_told("a.web.ucloud.internal"), dns.rcode.NXDOMAIN)
    assert _is_negative(_told("web.ucloud.internal", "MX"), dns.rcode.NOERROR)
    assert _is_negative(_told("ucloud.internal"), dns.rcode.NOERROR)
    free = dns.reversename.from_address("2001:db8::e")
    assert _is_negative(_told(free.to_text(), "PTR"), dns.rcode.NXDOMAIN)
    assert _is_negative(_told(free.parent().to_text(), "PTR"), dns.rcode.NOERROR)
    assert _is_negative(_told("8.0.0.10.in-addr.arpa", "PTR"), dns.rcode.NXDOMAIN)
    assert _told("ucloud.internal", "SOA").answer[0].rdtype == dns.rdatatype.SOA


@pytest.mark.parametrize(
    "name",
    ["example.com", "internal", "xucloud.internal", "1.1.0.10.in-addr.arpa", "0.0.10.in-addr.arpa", "ip6.arpa", "."],
)
def test_names_of_others_are_none_of_ours(name: str) -> None:
    assert _answer(name, "PTR") is None


def test_a_long_answer_is_cut_short_for_udp_and_whole_for_tcp() -> None:
    crowd = zone_of(ZONE.territory, [(IPv6Address(int(WEB) + number), _holder("web")) for number in range(60)])
    over_udp, over_tcp = (_asked("web.ucloud.internal", over_tcp=tcp) for tcp in (False, True))
    short, whole = (local_names.answer(asked, crowd) for asked in (over_udp, over_tcp))
    assert short is not None
    assert whole is not None
    octets = to_wire(short, over_udp.most_octets)
    assert len(octets) <= 512
    assert dns.message.from_wire(octets).flags & dns.flags.TC
    assert len(_records(dns.message.from_wire(to_wire(whole, over_tcp.most_octets)))) == 60


@pytest.mark.parametrize(("payload", "most"), [(None, 512), (0, 512), (4096, 1232), (1000, 1000)])
def test_answers_are_as_long_as_the_asker_takes_and_never_fragments(payload: int | None, most: int) -> None:
    query = dns.message.make_query("web.ucloud.internal", "AAAA")
    if payload is not None:
        query.use_edns(0, payload=payload)
    asked = question.read(query.to_wire(), over_tcp=False)
    assert isinstance(asked, Question)
    assert asked.most_octets == most
    answer = local_names.answer(asked, ZONE)
    assert answer is not None
    assert (answer.edns >= 0) == (payload is not None)


def _changed(**changes: int) -> bytes:
    query = dns.message.make_query("web.ucloud.internal", "AAAA")
    for name, value in changes.items():
        if name == "opcode":
            query.set_opcode(dns.opcode.Opcode(value))
        if name == "edns":
            query.use_edns(value)
        if name == "questions":
            query.question = query.question * value
    return query.to_wire()


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (_changed(opcode=2), dns.rcode.NOTIMP),
        (_changed(edns=1), dns.rcode.BADVERS),
        (_changed(questions=0), dns.rcode.FORMERR),
        (dns.message.make_query("ucloud.internal", "AXFR").to_wire(), dns.rcode.REFUSED),
        (dns.message.make_query("ucloud.internal", "A", "CH").to_wire(), dns.rcode.REFUSED),
    ],
    ids=["not a query", "EDNS of the future", "no question", "transfer", "CHAOS"],
)
def test_what_can_not_be_answered_is_told_why(octets: bytes, code: dns.rcode.Rcode) -> None:
    answer = question.read(octets, over_tcp=False)
    assert isinstance(answer, dns.message.Message)
    told = dns.message.from_wire(to_wire(answer, 512))
    assert (told.rcode(), told.id) == (code, int.from_bytes(octets[:2], "big"))


def test_answers_are_not_answered() -> None:
    response = dns.message.make_response(dns.message.make_query("web.ucloud.internal", "AAAA"))
    assert question.read(response.to_wire(), over_tcp=False) is None


_VALID = [_changed(), _changed(edns=0), dns.message.make_query("a.ip6.arpa", "PTR", want_dnssec=True).to_wire()]


@given(st.sampled_from(_VALID), st.lists(st.tuples(st.integers(0, 60), st.binary(max_size=4)), max_size=4))
def test_a_damaged_question_never_raises(octets: bytes, damages: list[tuple[int, bytes]]) -> None:
    for at, put in damages:
        octets = octets[:at] + put + octets[at + 1 :]
    asked = question.read(octets, over_tcp=False)
    if isinstance(asked, Question):
        answer = local_names.answer(asked, ZONE)
        if answer:
            assert len(to_wire(answer, asked.most_octets)) <= asked.most_octets
    elif asked:
        to_wire(asked, 512)


@given(st.binary(max_size=200))
def test_noise_never_raises(octets: bytes) -> None:
    question.read(octets, over_tcp=True)

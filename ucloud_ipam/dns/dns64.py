"""DNS64 (RFC 6147): names that have only IPv4 addresses get IPv6 addresses within the prefix of a NAT64. Pure."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset

from ucloud_ipam.dns.question import Question, response_to
from ucloud_ipam.dns.zone import address_of

_WELL_KNOWN = IPv6Network("64:ff9b::/96")
"""Never stands for addresses that are not unique in the world (RFC 6052, 3.1)."""
_MAPPED = IPv6Network("::ffff:0:0/96")
_MOST_TTL_S = 600


def is_wanted(question: Question) -> bool:
    """Whether addresses may be made up in the answer to `question`."""
    return question.kind == dns.rdatatype.AAAA and not question.checks_itself


def has_addresses(answer: dns.message.Message) -> bool:
    """Whether `answer`, to a question for AAAA, stands as it is."""
    if answer.rcode() == dns.rcode.NXDOMAIN:
        return True
    return any(
        IPv6Address(record.address) not in _MAPPED
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.AAAA
        for record in rrset
    )


def synthesise(question: Question, answer: dns.message.Message, prefix: IPv6Network) -> dns.message.Message | None:
    """The answer to `question` made of `answer`, to the same question for A; None when that has no address either."""
    records = list(_records(answer, prefix))
    if not any(rrset.rdtype == dns.rdatatype.AAAA for rrset in records):
        return None
    response = response_to(question.message)
    response.flags |= dns.flags.RA
    response.answer += records
    return response


def _records(answer: dns.message.Message, prefix: IPv6Network) -> Iterator[dns.rrset.RRset]:
    for rrset in answer.answer:
        if rrset.rdtype in (dns.rdatatype.CNAME, dns.rdatatype.DNAME):
            yield rrset
        elif rrset.rdtype == dns.rdatatype.A:
            usable = [IPv4Address(record.address) for record in rrset]
            texts = [str(embed(each, prefix)) for each in usable if prefix != _WELL_KNOWN or each.is_global]
            if texts:
                yield dns.rrset.from_text(rrset.name, min(rrset.ttl, _MOST_TTL_S), "IN", "AAAA", *texts)


def embed(address: IPv4Address, prefix: IPv6Network) -> IPv6Address:
    """`address` within `prefix`, a /96 (RFC 6052)."""
    return prefix[int(address)]


def reversed_name(name: dns.name.Name, prefix: IPv6Network) -> dns.name.Name | None:
    """The name in in-addr.arpa that `name`, the reverse of an address within `prefix`, stands for (5.3.1)."""
    address = address_of(name)
    if not isinstance(address, IPv6Address) or address not in prefix:
        return None
    return dns.reversename.from_address(str(IPv4Address(int(address) & 0xFFFFFFFF)))


def aliased(question: Question, target: dns.name.Name, answer: dns.message.Message) -> dns.message.Message:
    """The answer to `question` made of `answer`, to the same question for `target`, which its name is an alias of."""
    response = response_to(question.message)
    response.flags |= dns.flags.RA
    response.set_rcode(answer.rcode())
    response.answer.append(dns.rrset.from_text(question.name, _MOST_TTL_S, "IN", "CNAME", target.to_text()))
    response.answer += answer.answer
    response.authority += answer.authority
    return response

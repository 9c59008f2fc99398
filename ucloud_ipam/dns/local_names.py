"""What a network's own names stand for: AAAA, A and PTR; NXDOMAIN and NODATA with their SOA (RFC 2308). Pure."""

from collections.abc import Iterator
from ipaddress import IPv6Address

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from ucloud_ipam.dns.question import Question, response_to
from ucloud_ipam.dns.zone import Zone, address_of

_TTL_S = 30
_NEGATIVE_TTL_S = 5
"""A VM that somebody waits for is known soon after it is made."""
_ANY_KIND = dns.rdatatype.ANY


def answer(question: Question, zone: Zone) -> dns.message.Message | None:
    """The answer from `zone`; None when the name is none of the network's."""
    origin = zone.territory.origin(question.name)
    if origin is None:
        return None
    response = response_to(question.message)
    response.flags |= dns.flags.AA
    found = list(_records(question.name, zone)) if origin == zone.territory.domain else list(_reverse(question, zone))
    if question.name == origin:
        found.append(_soa(origin, zone))
    wanted = [record for record in found if question.kind in (record.rdtype, _ANY_KIND)]
    response.answer += wanted
    if not wanted:
        response.authority.append(_soa(origin, zone))
        if not found and not _is_between(question.name, origin):
            response.set_rcode(dns.rcode.NXDOMAIN)
    return response


def _records(name: dns.name.Name, zone: Zone) -> Iterator[dns.rrset.RRset]:
    addresses = zone.addresses.get(name, ())
    for kind, is_v6 in (("AAAA", True), ("A", False)):
        texts = [str(address) for address in addresses if isinstance(address, IPv6Address) is is_v6]
        if texts:
            yield dns.rrset.from_text(name, _TTL_S, "IN", kind, *texts)


def _reverse(question: Question, zone: Zone) -> Iterator[dns.rrset.RRset]:
    address = address_of(question.name)
    held_by = zone.names.get(address) if address else None
    if held_by:
        yield dns.rrset.from_text(question.name, _TTL_S, "IN", "PTR", held_by.to_text())


def _is_between(name: dns.name.Name, origin: dns.name.Name) -> bool:
    """Whether a name of a reverse zone is no address's, but has those of addresses below it."""
    return origin.to_text(omit_final_dot=True).endswith(".arpa") and address_of(name) is None


def _soa(origin: dns.name.Name, zone: Zone) -> dns.rrset.RRset:
    domain = zone.territory.domain.to_text()
    text = f"dns.{domain} hostmaster.{domain} 1 3600 600 86400 {_NEGATIVE_TTL_S}"
    return dns.rrset.from_text(origin, _NEGATIVE_TTL_S, "IN", "SOA", text)

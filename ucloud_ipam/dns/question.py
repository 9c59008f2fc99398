"""Questions of DNS, and what is said without knowing any name: RFC 1035, EDNS (RFC 6891). Pure.

Reading never raises, whatever the octets are.
"""

from dataclasses import dataclass

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

MOST_OCTETS = 1232
"""Of an answer over UDP: no link is so narrow that it is fragmented, and nobody is worth being aimed at with it."""
_MOST_WITHOUT_EDNS = 512
_MOST_OVER_TCP = 65535
_TRANSFERS = frozenset((dns.rdatatype.AXFR, dns.rdatatype.IXFR))


@dataclass(frozen=True)
class Question:
    """A question that can be answered."""

    message: dns.message.Message
    name: dns.name.Name
    kind: dns.rdatatype.RdataType
    most_octets: int
    """The answer has at most so many."""

    @property
    def checks_itself(self) -> bool:
        """The asker validates DNSSEC: it must get what its owner signed (RFC 6147, 5.5)."""
        return bool(self.message.ednsflags & dns.flags.DO and self.message.flags & dns.flags.CD)


def parse(octets: bytes, question_only: bool = False) -> dns.message.Message | None:
    """The message, of which perhaps only the question is read; None when it is none."""
    try:
        return dns.message.from_wire(octets, question_only=question_only)
    except Exception:  # noqa: BLE001 - whatever a stranger's octets do to the library, it is no reason to end
        return None


def read(octets: bytes, over_tcp: bool) -> Question | dns.message.Message | None:
    """The question; or the error to answer with; or None: stay silent."""
    message = parse(octets)
    if message is None or message.flags & dns.flags.QR:
        return None
    problem = _problem(message)
    if problem is not None:
        return failure(message, problem)
    asked = message.question[0]
    return Question(message, asked.name, asked.rdtype, _most_octets(message, over_tcp))


def _problem(message: dns.message.Message) -> dns.rcode.Rcode | None:
    if message.edns > 0:
        return dns.rcode.BADVERS
    if message.opcode() != dns.opcode.QUERY:
        return dns.rcode.NOTIMP
    if len(message.question) != 1:
        return dns.rcode.FORMERR
    asked = message.question[0]
    if asked.rdclass != dns.rdataclass.IN or asked.rdtype in _TRANSFERS:
        return dns.rcode.REFUSED
    return None


def _most_octets(message: dns.message.Message, over_tcp: bool) -> int:
    if over_tcp:
        return _MOST_OVER_TCP
    if message.edns < 0:
        return _MOST_WITHOUT_EDNS
    return min(max(message.payload, _MOST_WITHOUT_EDNS), MOST_OCTETS)


def failure(message: dns.message.Message, code: dns.rcode.Rcode) -> dns.message.Message:
    """The answer to `message` that says `code` alone."""
    answer = response_to(message)
    answer.set_rcode(code)
    return answer


def response_to(message: dns.message.Message) -> dns.message.Message:
    """An answer with nothing in it yet."""
    answer = dns.message.Message(message.id)
    answer.flags = dns.flags.QR | (message.flags & (dns.flags.RD | dns.flags.CD))
    answer.set_opcode(message.opcode())
    answer.question = list(message.question)
    if message.edns >= 0:
        answer.use_edns(0, message.ednsflags & dns.flags.DO, MOST_OCTETS)
    return answer


def truncated(message: dns.message.Message) -> dns.message.Message:
    """The answer to `message` that says that it is too long (TC), so that the asker comes again over TCP."""
    answer = response_to(message)
    answer.flags |= dns.flags.TC
    return answer


def to_wire(answer: dns.message.Message, most_octets: int) -> bytes:
    """The octets of `answer`, or that it is too long."""
    try:
        return answer.to_wire(max_size=most_octets)
    except dns.exception.TooBig:
        short = truncated(answer)
        short.flags |= answer.flags & (dns.flags.AA | dns.flags.RA)
        short.set_rcode(answer.rcode())
        return short.to_wire(max_size=_MOST_OVER_TCP)

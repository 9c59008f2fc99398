"""Answers the questions of guests for names: from their network's zone, or by asking the name servers of the settings.

What a network's own names are never leaves it, and is never asked of others. A guest has few questions under way at a
time, and all together a bounded number: who asks more is not answered, and asks again.
"""

import logging
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from prometheus_client import CollectorRegistry, Counter

from common.schemas.network import NetworkRequest
from common.settings import DnsSettings
from ucloud_ipam.dns import dns64, local_names, question
from ucloud_ipam.dns.forwarder import Forwarder
from ucloud_ipam.dns.question import Question, failure, to_wire, truncated
from ucloud_ipam.dns.zone import Zone, territory_of
from ucloud_ipam.dns.zones import Zones

_log = logging.getLogger(__name__)
WORKERS = 24
_MOST_WAITING = 512
_MOST_OF_ONE = 32
Reply = Callable[[bytes], None]
"""Sends an answer; must not block nor raise."""


@dataclass(frozen=True)
class Asker:
    """Who asks: in which network, from which address there, how, and how it is answered."""

    network: NetworkRequest
    address: str
    over_tcp: bool
    reply: Reply


@dataclass(frozen=True)
class _Errand:
    """A question that others are asked."""

    asker: Asker
    question: Question

    @property
    def who(self) -> tuple[str, str]:
        """Whose it is."""
        return self.asker.network.uuid, self.asker.address


class NameService:
    """Answers questions; safe to use from many threads."""

    def __init__(self, zones: Zones, forwarder: Forwarder, settings: DnsSettings, registry: CollectorRegistry) -> None:
        self._names = Counter("ucloud_ipam_names_total", "Questions for names", ["by"], registry=registry)
        self._zones = zones
        self._forwarder = forwarder
        self._domain = settings.domain
        self._dns64_prefix = settings.dns64_prefix
        self._errands: queue.SimpleQueue[_Errand | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, str], int] = defaultdict(int)

    def ask(self, octets: bytes, asker: Asker) -> None:
        """Answer what `octets` ask, now or later. Never blocks."""
        asked = question.read(octets, asker.over_tcp)
        if asked is None:
            return
        if isinstance(asked, dns.message.Message):
            asker.reply(to_wire(asked, question.MOST_OCTETS))
        elif territory_of(asker.network, self._domain).origin(asked.name) is not None:
            self._names.labels("network").inc()
            self._zones.use(asker.network, partial(_answer_from, asked, asker))
        elif not self._forwarder.is_of_use:
            self._names.labels("nobody").inc()
            _fail(asked, asker, dns.rcode.REFUSED)
        else:
            self._names.labels("others").inc()
            self._send_out(_Errand(asker, asked))

    def _send_out(self, errand: _Errand) -> None:
        with self._lock:
            if self._under_way[errand.who] >= _MOST_OF_ONE or self._errands.qsize() >= _MOST_WAITING:
                return
            self._under_way[errand.who] += 1
        self._errands.put(errand)

    def _end(self, errand: _Errand) -> None:
        with self._lock:
            self._under_way[errand.who] -= 1
            if not self._under_way[errand.who]:
                del self._under_way[errand.who]

    def close(self) -> None:
        """Let all workers see that they are to end."""
        for _ in range(WORKERS):
            self._errands.put(None)

    def work(self, stop: threading.Event) -> None:
        """Ask others; the body of a thread, of which there are `WORKERS`."""
        while not stop.is_set() and (errand := self._errands.get()):
            try:
                self._run(errand)
            except Exception as error:  # noqa: BLE001 - a stranger's octets are no reason to end
                _log.warning("no answer for %s: %r", errand.question.name, error)
                _fail(errand.question, errand.asker, dns.rcode.SERVFAIL)
            finally:
                self._end(errand)

    def _run(self, errand: _Errand) -> None:
        asked, asker = errand.question, errand.asker
        found = self._find(asked, asker.over_tcp)
        if found is None:
            _fail(asked, asker, dns.rcode.SERVFAIL)
        elif isinstance(found, dns.message.Message):
            asker.reply(to_wire(found, asked.most_octets))
        elif len(found) <= asked.most_octets:
            asker.reply(asked.message.id.to_bytes(2, "big") + found[2:])
        else:
            asker.reply(to_wire(truncated(asked.message), asked.most_octets))

    def _find(self, asked: Question, over_tcp: bool) -> dns.message.Message | bytes | None:
        """What a name server says, or what was made of that; None when none says anything."""
        prefix = self._dns64_prefix
        if prefix and asked.kind == dns.rdatatype.PTR and (target := dns64.reversed_name(asked.name, prefix)):
            _, answer = self._ask(asked, target, asked.kind, over_tcp)
            return dns64.aliased(asked, target, answer) if answer else None
        octets, answer = self._ask(asked, asked.name, asked.kind, over_tcp)
        if not prefix or not dns64.is_wanted(asked):
            return octets
        if answer and (answer.flags & dns.flags.TC or dns64.has_addresses(answer)):
            return octets
        _, ipv4 = self._ask(asked, asked.name, dns.rdatatype.A, over_tcp)
        if ipv4 and ipv4.flags & dns.flags.TC:
            _, ipv4 = self._ask(asked, asked.name, dns.rdatatype.A, over_tcp=True)
        return (dns64.synthesise(asked, ipv4, prefix) if ipv4 else None) or octets

    def _ask(
        self, asked: Question, name: dns.name.Name, kind: dns.rdatatype.RdataType, over_tcp: bool
    ) -> tuple[bytes | None, dns.message.Message | None]:
        """What a name server says, and the same read."""
        octets = self._forwarder.ask(asked, name, kind, over_tcp)
        return octets, question.parse(octets) if octets else None


def _answer_from(asked: Question, asker: Asker, zone: Zone | None) -> None:
    response = zone and local_names.answer(asked, zone)
    if response:
        asker.reply(to_wire(response, asked.most_octets))
    else:
        _fail(asked, asker, dns.rcode.SERVFAIL)


def _fail(asked: Question, asker: Asker, code: dns.rcode.Rcode) -> None:
    asker.reply(to_wire(failure(asked.message, code), asked.most_octets))

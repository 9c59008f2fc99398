"""Asks the name servers of the settings for names that are none of the cloud's.

A socket for each question, so that each comes from a port that nobody can guess (RFC 5452). Who does not answer is
asked last from then on.
"""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import dns.flags
import dns.message
import dns.name
import dns.rdatatype

from ucloud_ipam.dns.question import MOST_OCTETS, Question, parse

_log = logging.getLogger(__name__)
_PORT = 53
_TIMEOUT_S = 1.5
_ROUNDS = 2
_LARGEST = 65535


class Forwarder:
    """Asks one of `servers`; safe to use from many threads."""

    def __init__(self, servers: Sequence[IPv4Address | IPv6Address], port: int = _PORT) -> None:
        self._lock = threading.Lock()
        self._servers = [(str(server), port) for server in servers]

    @property
    def is_of_use(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self._servers)

    def ask(
        self, question: Question, name: dns.name.Name, kind: dns.rdatatype.RdataType, over_tcp: bool
    ) -> bytes | None:
        """The answer to `question`, but for `name` and `kind`; None when nobody has one. Takes 6 s at most."""
        query = _query(question, name, kind)
        for _ in range(_ROUNDS):
            for server in self._in_order():
                try:
                    return _exchange_tcp(query, server) if over_tcp else _exchange_udp(query, server)
                except (OSError, EOFError) as error:
                    _log.debug("name server %s: %s", server[0], error)
                    self._ask_last(server)
        return None

    def _in_order(self) -> list[tuple[str, int]]:
        with self._lock:
            return self._servers[:2]

    def _ask_last(self, server: tuple[str, int]) -> None:
        with self._lock:
            self._servers.remove(server)
            self._servers.append(server)


def _query(question: Question, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message:
    """A question of our own: nothing of the asker's but what it wants to know."""
    asked = question.message
    query = dns.message.make_query(name, kind)
    query.flags = dns.flags.RD | (asked.flags & (dns.flags.CD | dns.flags.AD))
    if asked.edns >= 0:
        query.use_edns(0, asked.ednsflags & dns.flags.DO, MOST_OCTETS)
    return query


def _exchange_udp(query: dns.message.Message, server: tuple[str, int]) -> bytes:
    deadline = time.monotonic() + _TIMEOUT_S
    with socket.socket(_family(server), socket.SOCK_DGRAM) as asking:
        asking.connect(server)
        asking.send(query.to_wire())
        while (left_s := deadline - time.monotonic()) > 0:
            asking.settimeout(left_s)
            octets = asking.recv(_LARGEST)
            if _answers(octets, query):
                return octets
    raise TimeoutError("nothing that answers")


def _exchange_tcp(query: dns.message.Message, server: tuple[str, int]) -> bytes:
    deadline = time.monotonic() + _TIMEOUT_S
    with socket.socket(_family(server), socket.SOCK_STREAM) as asking:
        asking.settimeout(_TIMEOUT_S)
        asking.connect(server)
        octets = query.to_wire()
        asking.sendall(len(octets).to_bytes(2, "big") + octets)
        length = int.from_bytes(_receive(asking, 2, deadline), "big")
        octets = _receive(asking, length, deadline)
    if not _answers(octets, query):
        raise EOFError("something that does not answer")
    return octets


def _receive(asking: socket.socket, count: int, deadline: float) -> bytes:
    octets = b""
    while len(octets) < count:
        asking.settimeout(max(0.001, deadline - time.monotonic()))
        part = asking.recv(count - len(octets))
        if not part:
            raise EOFError("closed")
        octets += part
    return octets


def _family(server: tuple[str, int]) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server[0] else socket.AF_INET


def _answers(octets: bytes, query: dns.message.Message) -> bool:
    """Whether `octets` answer `query`: its number, and its question."""
    head = parse(octets, question_only=True)
    return bool(head and head.flags & dns.flags.QR and head.id == query.id and head.question == query.question)

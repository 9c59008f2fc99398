"""A name server outside of the cloud, in a host's namespace."""

import contextlib
import socket
import threading
from collections.abc import Mapping

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.integration.ucloud_ipam.rig import run_in


class Upstream:
    """Answers on [::1]:53 from `records`, by name and type; all other names don't exist."""

    def __init__(self, namespace: str, records: Mapping[tuple[str, str], tuple[str, ...]]) -> None:
        self.asked: list[tuple[str, str]] = []
        self._records = records
        self._udp = run_in(namespace, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        self._tcp = run_in(namespace, lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
        for each in (self._udp, self._tcp):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("::1", 53))
        self._tcp.listen()
        for body in (self._answer_udp, self._answer_tcp):
            threading.Thread(target=body, daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        for each in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _answer_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                octets, sender = self._udp.recvfrom(4096)
                if not octets:
                    return
                answer = self._answer(octets)
                if len(answer.to_wire(max_size=65535)) > 512:
                    answer.answer.clear()
                    answer.flags |= dns.flags.TC
                self._udp.sendto(answer.to_wire(max_size=65535), sender)

    def _answer_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._tcp.accept()
                with accepted:
                    octets = self._answer(accepted.recv(4096)[2:]).to_wire(max_size=65535)
                    accepted.sendall(len(octets).to_bytes(2, "big") + octets)

    def _answer(self, octets: bytes) -> dns.message.Message:
        query = dns.message.from_wire(octets)
        (asked,) = query.question
        name, kind = asked.name.to_text(), dns.rdatatype.to_text(asked.rdtype)
        self.asked.append((name, kind))
        answer = dns.message.make_response(query, recursion_available=True)
        if not any(known == name for known, _ in self._records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if found := self._records.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(asked.name, 300, "IN", kind, *found))
        return answer

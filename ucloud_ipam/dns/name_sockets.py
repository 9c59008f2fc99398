"""Sockets on one network's bridge, where guests ask for names. What they say of the network is the bridge's word.

They are bound to the bridge, so networks with the same addresses don't meet, and nobody elsewhere is ever answered.
The addresses need not be there yet (IP_FREEBIND, ip(7)): who makes the bridge gives it them.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

PORT = 53
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78
_BACKLOG = 64
_SEND_BUFFER = 1 << 17
"""Holds the longest answer, so that sending never waits."""
_LONGEST_QUESTION = 4096
_IDLE_S = 10.0


def open_socket(bridge: str, address: str, kind: socket.SocketKind) -> socket.socket:
    """A socket of `kind` on `address` that hears `bridge` alone; OSError when it is gone."""
    is_v6 = ":" in address
    family = socket.AF_INET6 if is_v6 else socket.AF_INET
    opened = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
        if is_v6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        opened.bind((address, PORT))
        if kind == socket.SOCK_STREAM:
            opened.listen(_BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


class Connection:
    """A TCP connection of a guest (RFC 7766): questions and answers, each with its length before it."""

    def __init__(self, accepted: socket.socket, who: str) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self.who = who
        self._octets = b""
        self._ends_at_s = time.monotonic() + _IDLE_S

    def questions(self) -> Iterator[bytes]:
        """What has come as a whole; EOFError when nothing more will, or what comes is longer than any question."""
        try:
            part = self.socket.recv(_LONGEST_QUESTION)
        except BlockingIOError:
            return
        except OSError as error:
            raise EOFError(str(error)) from error
        if not part:
            raise EOFError("closed")
        self._octets += part
        while len(self._octets) >= 2:
            end = 2 + int.from_bytes(self._octets[:2], "big")
            if end > 2 + _LONGEST_QUESTION:
                raise EOFError("too long")
            if len(self._octets) < end:
                return
            question, self._octets = self._octets[2:end], self._octets[end:]
            yield question

    def send(self, answer: bytes) -> None:
        """Send an answer, from whichever thread; the connection ends when the guest does not take it."""
        octets = len(answer).to_bytes(2, "big") + answer
        self._ends_at_s = time.monotonic() + _IDLE_S
        with suppress(OSError):
            if self.socket.send(octets) < len(octets):
                self.socket.shutdown(socket.SHUT_RDWR)

    def is_over(self, now_s: float) -> bool:
        """Whether nothing has been answered for too long."""
        return now_s >= self._ends_at_s

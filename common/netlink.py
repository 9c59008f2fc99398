"""What the kernel tells of by itself over netlink(7): the messages, and the socket that they come by."""

import errno
import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

_log = logging.getLogger(__name__)
ROUTE, NETFILTER = 0, 12
"""Protocols."""
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ATTRIBUTE_MASK = 0x3FFF
_SO_RCVBUFFORCE = 33
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_MOST_BYTES = 2**20
_BUFFER_BYTES = 8 * 2**20
"""What may wait: thousands of links that come up at once."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its type, the netlink port of whom it answers or who caused it, and what is in it."""

    kind: int
    port: int
    body: bytes


def messages(told: bytes) -> Iterator[Message]:
    """The messages of a datagram; what is cut off is left out."""
    at = 0
    while at + _HEADER.size <= len(told):
        length, kind, _flags, _sequence, port = _HEADER.unpack_from(told, at)
        if length < _HEADER.size or at + length > len(told):
            return
        yield Message(kind, port, told[at + _HEADER.size : at + length])
        at += _aligned(length)


def attributes(body: bytes, header_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The type and the value of each attribute after a header; what is cut off is left out."""
    at = header_bytes
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size or at + length > len(body):
            return
        yield kind & _ATTRIBUTE_MASK, body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)


def text(value: bytes) -> str:
    """An attribute that is a name."""
    return value.rstrip(b"\0").decode(errors="replace")


def number(value: bytes) -> int:
    """An attribute of four octets; 0 when it has another size."""
    return int(struct.unpack("=I", value)[0]) if len(value) == 4 else 0


class Listener:
    """Hears groups of messages in this network namespace, from when it is made."""

    def __init__(self, protocol: int, groups: Sequence[int], buffer_bytes: int = _BUFFER_BYTES) -> None:
        """What is told while nobody reads must fit into the buffer."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._waker = os.eventfd(0, os.EFD_CLOEXEC)
        _make_room(self._socket, buffer_bytes)
        self._socket.bind((0, 0))  # the kernel tells nothing to whom has no address
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def run(self, stop: threading.Event, hear: Callable[[Iterator[Message]], None], missed: Callable[[], None]) -> None:
        """Have each datagram heard until `stop` and `close`; `missed` is called when some were lost."""
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        waiting.register(self._waker, select.POLLIN)
        with self._socket:
            while not stop.is_set():
                waiting.poll()
                try:
                    told = self._socket.recv(_MOST_BYTES, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    _log.warning("news of the kernel were missed")
                    missed()
                    continue
                hear(messages(told))

    def close(self) -> None:
        """Have `run` end, once `stop` is set."""
        os.eventfd_write(self._waker, 1)


def _make_room(source: socket.socket, buffer_bytes: int) -> None:
    """Enlarge a socket's buffer: as far as wished with CAP_NET_ADMIN, else as far as the system lets anybody."""
    try:
        source.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
    except PermissionError:
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)


def _aligned(length: int) -> int:
    return (length + 3) & ~3

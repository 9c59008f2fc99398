"""What the kernel tells of by itself over netlink: the messages, and the socket that they come by."""

import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_log = logging.getLogger(__name__)
_SO_RCVBUFFORCE = 33
_MOST_BYTES = 2**20
_LOOK_FOR_STOP_S = 0.5
_ATTRIBUTE_MASK = 0x3FFF


@dataclass(frozen=True)
class Message:
    """One message: its type, the netlink port of whom it answers or who caused it, and what is in it."""

    kind: int
    port: int
    body: bytes


def messages(told: bytes) -> Iterator[Message]:
    """The messages of a datagram; what is cut off is left out."""
    at = 0
    while at + 16 <= len(told):
        length, kind, _flags, _sequence, port = struct.unpack_from("=IHHII", told, at)
        if length < 16:
            return
        yield Message(kind, port, told[at + 16 : at + length])
        at += (length + 3) & ~3


def attributes(body: bytes, header_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The type and the value of each attribute after a header."""
    at = header_bytes
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if length < 4:
            return
        yield kind & _ATTRIBUTE_MASK, body[at + 4 : at + length]
        at += (length + 3) & ~3


def text(value: bytes) -> str:
    """An attribute that is a name."""
    return value.rstrip(b"\0").decode(errors="replace")


class Listener:
    """Hears a group of messages in this network namespace, from when it is made."""

    def __init__(self, protocol: int, group: int, buffer_bytes: int) -> None:
        """What is told while nobody reads must fit into the buffer."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        self._socket.bind((0, 1 << (group - 1)))
        self._socket.settimeout(_LOOK_FOR_STOP_S)

    def run(self, stop: threading.Event, hear: Callable[[Iterator[Message]], None], missed: Callable[[], None]) -> None:
        """Have each datagram heard until `stop`; `missed` is called when some were lost."""
        with self._socket:
            while not stop.is_set():
                try:
                    told = self._socket.recv(_MOST_BYTES)
                except TimeoutError:
                    continue
                except OSError as error:  # ENOBUFS
                    _log.warning("news of the kernel were missed: %s", error.strerror)
                    missed()
                    continue
                hear(messages(told))

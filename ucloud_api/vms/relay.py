"""Between the websocket of a client and that of the host: once both are open, what passes is passed on as it comes.

The frames of the one are the frames of the other (RFC 6455), so pings, limits and the end of a session are the host's
matter, and no message is ever put together here. One thread, which never blocks on either side.
"""

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection
from wsproto.utilities import RemoteProtocolError

from common.errors import InvalidValue

_BACKLOG_BYTES = 64 * 1024
_LOOK_INTERVAL_S = 1.0
_SILENT_S = 30.0
"""The host pings its client every few seconds: one of which nothing is heard is gone."""
_LAST_WORDS_S = 2.0
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def accept(headers: Iterable[tuple[str, str]], path: str) -> bytes:
    """The answer (101) to a client's request for a websocket; InvalidValue when it is none."""
    server = WSConnection(ConnectionType.SERVER)
    try:
        server.initiate_upgrade_connection([(name.encode(), value.encode()) for name, value in headers], path)
        return server.send(AcceptConnection())
    except RemoteProtocolError as error:
        raise InvalidValue(f"this is no websocket's handshake: {error}") from error


class _End:
    """One of two connections, with what waits to be sent to it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.waiting = bytearray()
        self.has_ended = False
        connection.setblocking(False)

    def read(self, room: int) -> bytes:
        """What came, at most `room` bytes; `has_ended` is set when no more will."""
        received = bytearray()
        try:
            while len(received) < room and (chunk := self.connection.recv(room - len(received))):
                received += chunk
                # What TLS has decrypted already, no selector tells of.
                if not (isinstance(self.connection, ssl.SSLSocket) and self.connection.pending()):
                    return bytes(received)
            self.has_ended = len(received) < room
        except _NOT_NOW:
            pass
        except OSError:
            self.has_ended = True
        return bytes(received)

    def write(self) -> None:
        """Send of what waits as much as the other side takes now."""
        try:
            del self.waiting[: self.connection.send(self.waiting)]
        except _NOT_NOW:
            pass
        except OSError:
            self.has_ended = True

    def say_last_words(self) -> None:
        """Send the rest, if that takes not long, and end the connection."""
        with contextlib.suppress(OSError):
            self.connection.settimeout(_LAST_WORDS_S)
            self.connection.sendall(self.waiting)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def relay(client: socket.socket, host: socket.socket, greeting: bytes, may_go_on: Callable[[], bool]) -> None:
    """Say `greeting` to the client and relay until one side ends, or `may_go_on` says no. Both are shut down then."""
    ends = (_End(client), _End(host))
    ends[0].waiting += greeting
    heard_at_s = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end.connection, selectors.EVENT_READ)
        while not any(end.has_ended for end in ends) and may_go_on():
            if time.monotonic() - heard_at_s > _SILENT_S:
                break
            for end, other in (ends, ends[::-1]):
                _await(selector, end, other)
            for key, events in selector.select(_LOOK_INTERVAL_S):
                end, other = ends if key.fileobj is client else ends[::-1]
                if events & selectors.EVENT_WRITE:
                    end.write()
                if events & selectors.EVENT_READ and (received := end.read(_BACKLOG_BYTES - len(other.waiting))):
                    other.waiting += received
                    heard_at_s = time.monotonic() if end is ends[1] else heard_at_s
    for end in ends:
        end.say_last_words()


def _await(selector: selectors.BaseSelector, end: _End, other: _End) -> None:
    """Wait for what can be done with `end`: to send what waits, to read what the other side has room for."""
    reading = selectors.EVENT_READ if len(other.waiting) < _BACKLOG_BYTES else 0
    events = reading | (selectors.EVENT_WRITE if end.waiting else 0)
    known = end.connection in selector.get_map()
    if not events:
        if known:
            selector.unregister(end.connection)
    elif known:
        selector.modify(end.connection, events)
    else:
        selector.register(end.connection, events)

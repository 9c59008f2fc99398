"""Between a websocket (RFC 6455) and the serial line of a guest: bytes, both ways, in one thread that never blocks.

What the guest says is taken from it at once, whether the client reads or not: beyond what may wait for the client it is
dropped, and the client is told. What the client types is dropped beyond what may wait for the guest, as on any terminal
line. A client of which nothing has been heard for a while is gone.
"""

import contextlib
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from common.errors import InvalidValue

_READ_BYTES = 16 * 1024
_CONTROL_BYTES = 4 * 1024
_LAST_WORDS_S = 1.0


@dataclass(frozen=True)
class Limits:
    """What a session may take: how much waits for either side, how large a message is, how long a client is silent."""

    backlog_bytes: int = 64 * 1024
    message_bytes: int = 64 * 1024
    ping_interval_s: float = 4.0
    silence_s: float = 12.0


class Session:
    """One client of one guest's serial line."""

    def __init__(self, client: socket.socket, guest: socket.socket, limits: Limits) -> None:
        """The sockets are left to be closed by their owners."""
        self._client = client
        self._guest = guest
        self._limits = limits
        self._websocket = WSConnection(ConnectionType.SERVER)
        self._to_client = bytearray()
        self._to_guest = bytearray()
        self._message_bytes = 0
        self._lost_bytes = 0
        self._is_over = False
        self._heard_at_s = self._pinged_at_s = time.monotonic()

    def accept(self, headers: Sequence[tuple[str, str]], path: str) -> None:
        """Take the client's request to upgrade; InvalidValue when it is none. Nothing is sent yet."""
        try:
            self._websocket.initiate_upgrade_connection([(a.encode(), b.encode()) for a, b in headers], path)
            self._to_client += self._websocket.send(AcceptConnection())
        except RemoteProtocolError as error:
            raise InvalidValue(f"this is no websocket's handshake: {error}") from error

    def run(self) -> None:
        """Relay until one side ends, or the client falls silent."""
        for end in (self._client, self._guest):
            end.setblocking(False)
        # Else the kernel alone would hold megabytes for a client that does not read.
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.backlog_bytes)
        with selectors.DefaultSelector() as selector:
            selector.register(self._client, selectors.EVENT_READ, self._serve_client)
            selector.register(self._guest, selectors.EVENT_READ, self._serve_guest)
            while not self._is_over:
                self._flush()
                selector.modify(self._client, _interest(self._to_client), self._serve_client)
                selector.modify(self._guest, _interest(self._to_guest), self._serve_guest)
                for key, events in selector.select(self._limits.ping_interval_s / 2):
                    key.data(events)
                self._keep_alive()
        self._say_last_words()

    def _flush(self) -> None:
        """Send what the client takes without being waited for."""
        with contextlib.suppress(BlockingIOError):
            try:
                while self._to_client:
                    del self._to_client[: self._client.send(self._to_client)]
            except ConnectionError:
                self._is_over = True

    def _serve_client(self, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                # That it takes what had to wait for it is a sign of life.
                self._heard_at_s = time.monotonic()
            if events & selectors.EVENT_READ:
                received = self._client.recv(_READ_BYTES)
                self._heard_at_s = time.monotonic()
                self._websocket.receive_data(received or None)
                for event in self._websocket.events():
                    self._handle(event)
        except (OSError, RemoteProtocolError):
            self._is_over = True

    def _serve_guest(self, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                del self._to_guest[: self._guest.send(self._to_guest)]
            said = self._guest.recv(_READ_BYTES) if events & selectors.EVENT_READ else None
        except OSError:
            said = b""
        if said == b"":
            self._end(CloseReason.GOING_AWAY, "the guest has ended")
        elif said:
            self._tell(said)

    def _tell(self, said: bytes) -> None:
        if len(self._to_client) + len(said) > self._limits.backlog_bytes:
            self._lost_bytes += len(said)
            return
        if self._lost_bytes:
            said = f"\r\n[{self._lost_bytes} bytes are left out here, they came too fast]\r\n".encode() + said
            self._lost_bytes = 0
        self._to_client += self._websocket.send(BytesMessage(data=said))

    def _handle(self, event: Event) -> None:
        if isinstance(event, BytesMessage | TextMessage):
            typed = event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
            self._message_bytes += len(typed)
            if self._message_bytes > self._limits.message_bytes:
                self._end(CloseReason.MESSAGE_TOO_BIG, f"messages have up to {self._limits.message_bytes} bytes")
                return
            if event.message_finished:
                self._message_bytes = 0
            self._to_guest += typed[: self._limits.backlog_bytes - len(self._to_guest)]
        elif isinstance(event, Ping):
            self._control(event.response())
        elif isinstance(event, CloseConnection):
            self._control(event.response())
            self._is_over = True

    def _control(self, event: Event) -> None:
        """Send what is no message; not to who asks for it and does not read it."""
        if len(self._to_client) <= self._limits.backlog_bytes + _CONTROL_BYTES:
            self._to_client += self._websocket.send(event)

    def _keep_alive(self) -> None:
        now_s = time.monotonic()
        if now_s - self._heard_at_s > self._limits.silence_s:
            self._is_over = True
        elif not self._is_over and now_s - self._pinged_at_s > self._limits.ping_interval_s:
            self._pinged_at_s = now_s
            self._control(Ping())

    def _end(self, reason: CloseReason, text: str) -> None:
        if not self._is_over:
            self._control(CloseConnection(code=reason, reason=text))
        self._is_over = True

    def _say_last_words(self) -> None:
        with contextlib.suppress(OSError):
            self._client.settimeout(_LAST_WORDS_S)
            self._client.sendall(self._to_client)
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)


def _interest(waiting: bytearray) -> int:
    return selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)

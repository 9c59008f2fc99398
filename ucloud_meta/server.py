"""The HTTP server: a listener on each bridge, and all connections, in one thread that never blocks.

Why not a server library: gunicorn opens its sockets when it starts, and bridges come and go; werkzeug and http.server
give each connection a thread, which a slow client, and any guest is free to be one, holds for as long as it likes. An
answer needs no I/O, so one thread is enough, and no client can hold it. So the parser is a library (h11), and around it
is only this loop. 500 bridges cost it 2 to 8 MB and no thread. It answers some 1,000 requests a second that come on
connections of their own, 4,000 on connections that stay; a guest that boots asks sixty times (docs/benchmarks.md).

Fairness: each turn of the loop takes at most one new connection of each network, so a flood on one delays others by no
more than its part of a turn.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from common.schemas.network import GATEWAY, METADATA_V4, METADATA_V6
from ucloud_meta.answer import Answer, Request
from ucloud_meta.connection import Connection
from ucloud_meta.conversation import Conversation
from ucloud_meta.desk import Asker
from ucloud_meta.figures import Figures
from ucloud_meta.links import Neighbours
from ucloud_meta.rooms import Room

_log = logging.getLogger(__name__)
PORT = 80
_BACKLOG = 32
_SO_BINDTOIFINDEX = 62
_USER_TIMEOUT_MS = 10_000
_SERVED = frozenset({GATEWAY, METADATA_V6, IPv4Address(METADATA_V4)})


@dataclass(frozen=True)
class Limits:
    """What clients may take."""

    connections: int = 32
    """At once, on a network."""
    connections_each: int = 6
    """At once, of a port."""
    patience_s: float = 10.0
    """So long may a request take to come in, and so long its answer to be taken; and so long may nothing happen."""


def listen(ifindex: int) -> socket.socket:
    """A socket that takes connections to port 80 that come over one link; OSError if that can't be.

    Bound as by SO_BINDTODEVICE, but to the link itself: another one that has its name later is another one.
    """
    listener = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, ifindex)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Connections have these from their listener. Without the second, the kernel would go on for minutes to send to
        # who does not read, though the connection is closed.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
        listener.bind(("::", PORT))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


@dataclass(frozen=True)
class _Counter:
    """Where the guests of a network are answered."""

    network: str
    ifindex: int
    listener: socket.socket
    room: Room[Connection]


class Server:
    """Serves until it is told to end. `serve`, `leave` and `close` may be called from any thread."""

    def __init__(self, answer: Callable[[Asker, Request], Answer], limits: Limits, figures: Figures) -> None:
        self._answer = answer
        self._limits = limits
        self._figures = figures
        self._orders: deque[Callable[[], None]] = deque()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._counters: dict[str, _Counter] = {}
        self._patience: dict[Connection, float] = {}
        """Until when each connection is waited for (time.monotonic), the one that ends first at the front."""

    def serve(self, network: str, ifindex: int, listener: socket.socket) -> None:
        """Answer a network's guests at `listener`, which is the server's from now on; instead of an earlier one."""
        self._order(partial(self._open, network, ifindex, listener))

    def leave(self, network: str) -> None:
        """Answer a network's guests no more, also those who are connected."""
        self._order(partial(self._shut, network))

    def close(self) -> None:
        """Have `run` end, once `stop` is set."""
        self._order(lambda: None)

    def run(self, stop: threading.Event) -> None:
        """Serve until `close`; the body of a thread."""
        self._neighbours = Neighbours()
        self._selector.register(self._woken, selectors.EVENT_READ, self._wake_up)
        while not stop.is_set():
            for key, _ in self._selector.select(self._next_end_s()):
                # What was closed earlier in this turn is not looked at any more.
                if isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() >= 0:
                    key.data()
            while self._orders:
                self._orders.popleft()()
            self._end_late_ones()
        for network in list(self._counters):
            self._shut(network)
        self._neighbours.close()
        self._selector.close()

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        with contextlib.suppress(BlockingIOError):  # then it has enough to wake up from
            self._waker.send(b"\0")

    def _wake_up(self) -> None:
        self._woken.recv(4096)

    def _open(self, network: str, ifindex: int, listener: socket.socket) -> None:
        self._shut(network)
        room: Room[Connection] = Room(
            self._limits.connections, self._limits.connections_each, lambda connection: connection.is_closing
        )
        counter = self._counters[network] = _Counter(network, ifindex, listener, room)
        self._selector.register(listener, selectors.EVENT_READ, partial(self._accept, counter))
        self._figures.networks.set(len(self._counters))

    def _shut(self, network: str) -> None:
        counter = self._counters.pop(network, None)
        if counter is None:
            return
        self._selector.unregister(counter.listener)
        counter.listener.close()
        for connection in [each for each in self._patience if each.asker.network == network]:
            self._end(counter, connection)
        self._figures.networks.set(len(self._counters))

    def _accept(self, counter: _Counter) -> None:
        try:
            end, peer = counter.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._make_room(error)
            return
        try:
            if _address(end.getsockname()[0]) not in _SERVED:
                end.close()
                return
        except OSError:
            end.close()
            return
        address = _address(peer[0])
        asker = Asker(counter.network, address, self._neighbours.mac(counter.ifindex, address))
        connection = Connection(end, asker, Conversation(partial(self._answer, asker)))
        displaced = counter.room.enter(asker.mac, connection)
        if displaced is connection:
            self._figures.turned_away.inc()
            connection.close()
            return
        if displaced is not None:
            if not displaced.is_closing:
                self._figures.turned_away.inc()
            self._end(counter, displaced)
        self._selector.register(end, selectors.EVENT_READ, partial(self._attend, counter, connection))
        self._wait_for(connection)

    def _make_room(self, error: OSError) -> None:
        """There are no more descriptors, or no memory: who waits for longest makes room."""
        _log.warning("can't take a connection: %s", error)
        for connection in self._patience:
            self._end(self._counters[connection.asker.network], connection)
            return

    def _attend(self, counter: _Counter, connection: Connection) -> None:
        answered, wanted_to_send = connection.answered, connection.wants_to_send
        goes_on = connection.writable() if wanted_to_send else connection.readable()
        if not goes_on:
            self._end(counter, connection)
            return
        if connection.wants_to_send != wanted_to_send:
            events = selectors.EVENT_WRITE if connection.wants_to_send else selectors.EVENT_READ
            self._selector.modify(connection.socket, events, partial(self._attend, counter, connection))
        if connection.answered != answered or connection.wants_to_send != wanted_to_send:
            self._wait_for(connection)

    def _wait_for(self, connection: Connection) -> None:
        self._patience.pop(connection, None)
        self._patience[connection] = time.monotonic() + self._limits.patience_s

    def _next_end_s(self) -> float | None:
        for ends_at_s in self._patience.values():
            return max(0.0, ends_at_s - time.monotonic())
        return None

    def _end_late_ones(self) -> None:
        now_s = time.monotonic()
        while self._patience:
            connection, ends_at_s = next(iter(self._patience.items()))
            if ends_at_s > now_s:
                return
            self._end(self._counters[connection.asker.network], connection)

    def _end(self, counter: _Counter, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        self._patience.pop(connection, None)
        counter.room.leave(connection.asker.mac, connection)
        connection.close()


def _address(text: str) -> IPv6Address | IPv4Address:
    """An address of a dual-stack socket, without its interface."""
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address

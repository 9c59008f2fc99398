"""Listens for guests' questions for names on the bridge of each network that has ports here.

One thread has all sockets, and blocks on none: what takes time is done elsewhere (ucloud_ipam.dns.name_service).
"""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from common.schemas.network import DNS_V6, METADATA_V4, NetworkRequest
from ucloud_ipam.dns.asker_limits import AskerLimits
from ucloud_ipam.dns.name_service import Asker, NameService
from ucloud_ipam.dns.name_sockets import Connection, open_socket
from ucloud_ipam.dns.zones import Zones
from ucloud_ipam.links import Links
from ucloud_ipam.roster import Roster

_log = logging.getLogger(__name__)
_LARGEST = 4096
_QUESTIONS_IN_TURN = 32
_MOST_CONNECTIONS = 512
_MOST_OF_ONE = 8
_TIDY_S = 1.0
_RETRY_S = 5.0
_NEVER = float("inf")


class _Place:
    """The bridge of a network, and the sockets on it."""

    def __init__(self, network: NetworkRequest, index: int) -> None:
        """OSError when the bridge is gone, or somebody else listens there."""
        self.network = network
        self.index = index
        self.limits = AskerLimits(network.prefix)
        self.udp: list[socket.socket] = []
        self.tcp: list[socket.socket] = []
        try:
            for address in (str(DNS_V6), *([METADATA_V4] if network.ipv4 else [])):
                self.udp.append(open_socket(network.bridge, address, socket.SOCK_DGRAM))
                self.tcp.append(open_socket(network.bridge, address, socket.SOCK_STREAM))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Listen no more."""
        for each in self.udp + self.tcp:
            each.close()


class NameServer:
    """Has guests' questions answered by `service`, as bridges come and go in `links`."""

    def __init__(self, roster: Roster, links: Links, zones: Zones, service: NameService) -> None:
        self._roster = roster
        self._links = links
        self._zones = zones
        self._service = service
        self._epoll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._waker, select.EPOLLIN)
        self._places: dict[str, _Place] = {}
        self._connections: dict[int, tuple[_Place, Connection]] = {}
        self._handlers: dict[int, Callable[[], None]] = {self._waker: self._wake_up}
        self._look_at_s = _NEVER
        roster.subscribe(self.look_again)
        links.subscribe(self.look_again)

    def look_again(self) -> None:
        """Have it look at networks and links again."""
        self._look_at_s = 0.0
        self.wake()

    def wake(self) -> None:
        """Have its thread look up."""
        os.eventfd_write(self._waker, 1)

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop`; the body of a thread."""
        while not stop.is_set():
            for descriptor, _ in self._epoll.poll(self._next_in_s()):
                if handler := self._handlers.get(descriptor):  # else: closed a moment ago
                    handler()
            if self._look_at_s <= time.monotonic():
                self._look()
            self._end_idle_ones()

    def _next_in_s(self) -> float | None:
        if self._connections:
            return _TIDY_S
        return None if self._look_at_s == _NEVER else max(0.0, self._look_at_s - time.monotonic())

    def _wake_up(self) -> None:
        os.eventfd_read(self._waker)

    def _look(self) -> None:
        """Have sockets on the bridge of each network with ports here, and on no other."""
        self._look_at_s = _NEVER
        networks, links = self._roster.networks(), self._links.by_name()
        for bridge, place in list(self._places.items()):
            if bridge not in networks or bridge not in links or links[bridge].index != place.index:
                self._close(place)
        for bridge, network in networks.items():
            if bridge in links and bridge not in self._places:
                self._open(network, links[bridge].index)
        self._zones.keep_only(networks.values())

    def _open(self, network: NetworkRequest, index: int) -> None:
        try:
            place = _Place(network, index)
        except OSError as error:
            _log.warning("can't answer for names on %s yet: %s", network.bridge, error)
            self._look_at_s = min(self._look_at_s, time.monotonic() + _RETRY_S)
            return
        self._places[network.bridge] = place
        for each in place.udp:
            self._handle(each, partial(self._hear, place, each))
        for each in place.tcp:
            self._handle(each, partial(self._accept, place, each))

    def _close(self, place: _Place) -> None:
        del self._places[place.network.bridge]
        for each in place.udp + place.tcp:
            self._forget(each)
        for of, connection in list(self._connections.values()):
            if of is place:
                self._hang_up(connection)
        place.close()

    def _handle(self, heard: socket.socket, handler: Callable[[], None]) -> None:
        self._handlers[heard.fileno()] = handler
        self._epoll.register(heard, select.EPOLLIN)

    def _forget(self, heard: socket.socket) -> None:
        self._epoll.unregister(heard)
        del self._handlers[heard.fileno()]

    def _hear(self, place: _Place, heard: socket.socket) -> None:
        """Take questions that came over UDP."""
        now_s = time.monotonic()
        with suppress(OSError):  # nothing more is there
            for _ in range(_QUESTIONS_IN_TURN):
                octets, sender = heard.recvfrom(_LARGEST)
                who = place.limits.count_as(sender[0])
                if place.limits.allow(who, now_s):
                    self._service.ask(octets, Asker(place.network, who, False, partial(_send, heard, sender)))

    def _accept(self, place: _Place, heard: socket.socket) -> None:
        with suppress(OSError):  # it is gone again
            accepted, sender = heard.accept()
            who = place.limits.count_as(sender[0])
            of_one = sum(each is place and connection.who == who for each, connection in self._connections.values())
            if of_one >= _MOST_OF_ONE or len(self._connections) >= _MOST_CONNECTIONS:
                accepted.close()
                return
            connection = Connection(accepted, who)
            self._connections[accepted.fileno()] = place, connection
            self._handle(accepted, partial(self._listen, place, connection))

    def _listen(self, place: _Place, connection: Connection) -> None:
        """Take questions that came over TCP."""
        now_s = time.monotonic()
        try:
            for octets in connection.questions():
                if not place.limits.allow(connection.who, now_s):
                    self._hang_up(connection)
                    return
                self._service.ask(octets, Asker(place.network, connection.who, True, connection.send))
        except EOFError:
            self._hang_up(connection)

    def _hang_up(self, connection: Connection) -> None:
        del self._connections[connection.socket.fileno()]
        self._forget(connection.socket)
        connection.socket.close()

    def _end_idle_ones(self) -> None:
        now_s = time.monotonic()
        for _, connection in list(self._connections.values()):
            if connection.is_over(now_s):
                self._hang_up(connection)


def _send(heard: socket.socket, to: tuple[object, ...], answer: bytes) -> None:
    with suppress(OSError):  # it asks again
        heard.sendto(answer, to)

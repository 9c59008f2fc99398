"""Answers each guest out of its own tap, and advertises the router there now and then.

One thread has all sockets: an answer takes microseconds, and nothing waits. Who asks without end is not heard for a
second at a time, and its frames are dropped by the kernel meanwhile.
"""

import heapq
import itertools
import logging
import os
import random
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge

from ucloud_ipam import ra
from ucloud_ipam.answer import answer
from ucloud_ipam.bucket import Bucket
from ucloud_ipam.facts import Facts, facts_of
from ucloud_ipam.links import Link, Links
from ucloud_ipam.roster import Entry, Roster
from ucloud_ipam.tap_socket import TapSocket

_log = logging.getLogger(__name__)
_FIRST_AFTER_S = 0.5
_ANSWERS_PER_S = 10.0
_ANSWERS_AT_ONCE = 40.0
_DEAF_S = 1.0
_FRAMES_IN_TURN = 8


class Responder:
    """Hears and answers the taps of the ports in `roster`, as they come and go in `links`."""

    def __init__(self, roster: Roster, links: Links, domain: str, registry: CollectorRegistry) -> None:
        self._roster = roster
        self._links = links
        self._domain = domain
        self._epoll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._waker, select.EPOLLIN)
        self._ears: dict[str, _Ear] = {}
        self._by_descriptor: dict[int, _Ear] = {}
        self._due: list[tuple[float, int, _Ear, Callable[[_Ear, float], None]]] = []
        self._numbers = itertools.count()
        self._answers = Counter("ucloud_ipam_answers_total", "Guests' questions answered at taps", registry=registry)
        self._deaf = Counter("ucloud_ipam_deaf_total", "Guests that asked too often were not heard", registry=registry)
        self._taps = Gauge("ucloud_ipam_taps", "Taps that are listened to", registry=registry)
        roster.subscribe(self.wake)
        links.subscribe(self.wake)

    def wake(self) -> None:
        """Have it look at ports and links again."""
        os.eventfd_write(self._waker, 1)

    def run(self, stop: threading.Event) -> None:
        """Listen and answer until `stop`; the body of a thread."""
        while not stop.is_set():
            for descriptor, _ in self._epoll.poll(self._next_in_s()):
                if descriptor == self._waker:
                    os.eventfd_read(self._waker)
                    self._look()
                elif ear := self._by_descriptor.get(descriptor):  # else: closed a moment ago
                    self._hear(ear)
            self._do_what_is_due()

    def _next_in_s(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

    def _do_what_is_due(self) -> None:
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            due_s, _, ear, action = heapq.heappop(self._due)
            if not ear.is_closed:
                action(ear, due_s)

    def _do_later(self, due_s: float, ear: "_Ear", action: Callable[["_Ear", float], None]) -> None:
        heapq.heappush(self._due, (due_s, next(self._numbers), ear, action))

    def _look(self) -> None:
        """Have a socket on each tap that is up and whose port is known, and on no other."""
        links, entries = self._links.by_name(), self._roster.by_tap()
        mtus = {link.index: link.mtu for link in links.values()}
        for tap, ear in list(self._ears.items()):
            link = links.get(tap)
            if tap not in entries or link is None or not link.is_up or link.index != ear.index:
                self._close(ear)
        for tap, entry in entries.items():
            link = links.get(tap)
            if link and link.is_up:
                self._attend(entry, link, min(link.mtu, mtus.get(link.bridge, link.mtu)))
        self._taps.set(len(self._ears))

    def _attend(self, entry: Entry, link: Link, mtu: int) -> None:
        """Listen to a tap, and know what is to be told there."""
        ear = self._ears.get(link.name)
        if ear and ear.entry is entry and ear.mtu == mtu:
            return
        facts = facts_of(entry.local, entry.network, self._domain, mtu)
        if ear is None:
            ear = self._open(link, facts)
            if ear is None:
                return
        if ear.entry is None or ear.facts != facts:
            ear.advertised = 0
            ear.advertise_at_s = time.monotonic() + _random(0, _FIRST_AFTER_S)
            self._do_later(ear.advertise_at_s, ear, self._advertise)
        ear.entry, ear.mtu, ear.facts = entry, mtu, facts

    def _open(self, link: Link, facts: Facts) -> "_Ear | None":
        try:
            tap_socket = TapSocket(link.name, facts.mac)
        except OSError as error:  # gone already, of which the kernel is about to tell; or there are too many
            _log.warning("can't listen to %s: %s", link.name, error)
            return None
        ear = _Ear(link, tap_socket, facts)
        self._epoll.register(ear.descriptor, select.EPOLLIN)
        self._ears[link.name] = self._by_descriptor[ear.descriptor] = ear
        _log.info("listening to %s: %s", link.name, facts.ipv6)
        return ear

    def _close(self, ear: "_Ear") -> None:
        self._epoll.unregister(ear.descriptor)
        del self._ears[ear.tap], self._by_descriptor[ear.descriptor]
        ear.close()
        _log.info("not listening to %s any more", ear.tap)

    def _hear(self, ear: "_Ear") -> None:
        """Answer what a guest has asked."""
        now_s = time.monotonic()
        try:
            for frame in ear.socket.receive(_FRAMES_IN_TURN):
                if not ear.bucket.take(now_s):
                    self._turn_deaf(ear, now_s)
                    return
                if told := answer(frame, ear.facts):
                    ear.socket.send(told)
                    self._answers.inc()
        except OSError as error:  # the tap goes, or the guest does not take what it is sent
            _log.debug("%s: %s", ear.tap, error)

    def _turn_deaf(self, ear: "_Ear", now_s: float) -> None:
        self._deaf.inc()
        self._epoll.modify(ear.descriptor, 0)
        self._do_later(now_s + _DEAF_S, ear, self._listen_again)

    def _listen_again(self, ear: "_Ear", _due_s: float) -> None:
        self._epoll.modify(ear.descriptor, select.EPOLLIN)

    def _advertise(self, ear: "_Ear", due_s: float) -> None:
        if due_s != ear.advertise_at_s:  # there is a new time since
            return
        with suppress(OSError):  # nobody takes it: then nobody is there who wants to know
            ear.socket.send(ra.frame(ear.facts))
        ear.advertised += 1
        interval_s = _random(ra.MIN_INTERVAL_S, ra.MAX_INTERVAL_S)
        if ear.advertised < ra.INITIAL_COUNT:
            interval_s = min(interval_s, ra.INITIAL_INTERVAL_S)
        ear.advertise_at_s = time.monotonic() + interval_s
        self._do_later(ear.advertise_at_s, ear, self._advertise)


class _Ear:
    """A tap that is listened to."""

    __slots__ = (
        "advertise_at_s", "advertised", "bucket", "descriptor", "entry", "facts", "index", "is_closed", "mtu", "socket",
        "tap",
    )  # fmt: skip

    def __init__(self, link: Link, tap_socket: TapSocket, facts: Facts) -> None:
        self.tap = link.name
        self.index = link.index
        self.socket = tap_socket
        self.descriptor = tap_socket.fileno()
        self.facts = facts
        self.entry: Entry | None = None
        self.mtu = 0
        self.bucket = Bucket(_ANSWERS_PER_S, _ANSWERS_AT_ONCE, time.monotonic())
        self.advertised = 0
        self.advertise_at_s = 0.0
        self.is_closed = False

    def close(self) -> None:
        """Hear nothing any more."""
        self.is_closed = True
        self.socket.close()


def _random(least: float, most: float) -> float:
    return random.uniform(least, most)  # noqa: S311 - spreads work, hides nothing

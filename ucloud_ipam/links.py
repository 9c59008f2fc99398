"""The taps and bridges of this host, as the kernel tells of them (rtnetlink(7)).

Whatever goes wrong with the news, all are listed again. Links with other names are nobody's business here.
"""

import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.rtnl.marshal import MarshalRtnl

_log = logging.getLogger(__name__)
_OURS = ("tap", "ucbr")
_RTMGRP_LINK = 1
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK = 16, 17, 18
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_MESSAGE = struct.Struct("=IHHIIBxHiII")  # length, type, flags, sequence, pid; family, type, index, flags, change
_AF_BRIDGE = 7
_UP_AND_RUNNING = 0x1 | 0x40  # IFF_UP, IFF_RUNNING
_RECEIVE_BUFFER = 1 << 20
_LARGEST = 1 << 16
_RETRY_MS = 1000


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is now."""

    name: str
    index: int
    mtu: int
    bridge: int
    """The index of the link that it is a port of; 0: none."""
    is_up: bool


class Links:
    """Follows the links; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[int, Link] = {}
        self._listed = threading.Event()
        self._listeners: list[Callable[[], None]] = []
        self._waker = os.eventfd(0, os.EFD_CLOEXEC)
        self._marshal: Any = MarshalRtnl()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when links may have changed. It must not block."""
        self._listeners.append(listener)

    def by_name(self) -> dict[str, Link]:
        """All taps and bridges, a copy."""
        with self._lock:
            return {link.name: link for link in self._links.values()}

    def problem(self) -> str | None:
        """What is wrong, for /healthz."""
        return None if self._listed.is_set() else "the links of this host have not been listed yet"

    def close(self) -> None:
        """Let the thread see that it is to end."""
        os.eventfd_write(self._waker, 1)

    def run(self, stop: threading.Event) -> None:
        """Follow the links until `stop`; the body of a thread."""
        with _open() as news:
            news.bind((0, _RTMGRP_LINK))
            waiting = select.poll()
            waiting.register(news, select.POLLIN)
            waiting.register(self._waker, select.POLLIN)
            while not stop.is_set():
                try:
                    if not self._listed.is_set():
                        self._list()
                        self._tell()
                    waiting.poll()
                    self._read_news(news, stop)
                except OSError as error:  # ENOBUFS: there was more news than room for it
                    _log.info("listing the links again: %s", error)
                    self._listed.clear()
                    stop.wait(_RETRY_MS / 1000)

    def _read_news(self, news: socket.socket, stop: threading.Event) -> None:
        changed = False
        while not stop.is_set():
            try:
                octets = news.recv(_LARGEST, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            for message in self._marshal.parse(octets):
                changed |= self._enter(message)
        if changed:
            self._tell()

    def _enter(self, message: Any) -> bool:
        """Enter what a message says; whether anything of ours is another now."""
        kind = message["header"]["type"]
        # A bridge tells of its ports as such, too: one that leaves it is no link that goes.
        if kind not in (_RTM_NEWLINK, _RTM_DELLINK) or message["family"] == _AF_BRIDGE:
            return False
        link = _read(message) if kind == _RTM_NEWLINK else None
        with self._lock:
            before = self._links.pop(message["index"], None)
            if link:
                self._links[link.index] = link
        return link != before

    def _list(self) -> None:
        links: dict[int, Link] = {}
        with _open() as asking:
            asking.send(_MESSAGE.pack(_MESSAGE.size, _RTM_GETLINK, _DUMP, 1, 0, socket.AF_UNSPEC, 0, 0, 0, 0))
            done = False
            while not done:
                for message in self._marshal.parse(asking.recv(_LARGEST)):
                    kind = message["header"]["type"]
                    done = done or kind in (_NLMSG_DONE, _NLMSG_ERROR)
                    if kind == _RTM_NEWLINK and (link := _read(message)):
                        links[link.index] = link
        with self._lock:
            self._links = links
        self._listed.set()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    return opened


def _read(message: Any) -> Link | None:
    """The link that a message is about, if it is one of ours."""
    name = message.get_attr("IFLA_IFNAME") or ""
    if not name.startswith(_OURS):
        return None
    return Link(
        name=name,
        index=message["index"],
        mtu=message.get_attr("IFLA_MTU") or 0,
        bridge=message.get_attr("IFLA_MASTER") or 0,
        is_up=message["flags"] & _UP_AND_RUNNING == _UP_AND_RUNNING,
    )

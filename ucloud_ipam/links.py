"""The taps and bridges of this host, as the kernel tells of them (rtnetlink(7)).

Whatever goes wrong with the news, all are listed again. Links with other names are nobody's business here.
"""

import logging
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

from common import link_news, netlink

_log = logging.getLogger(__name__)
_OURS = ("tap", "ucbr")
_RTM_GETLINK = 18
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_QUESTION = struct.Struct("=IHHIIBxHiII")  # length, type, flags, sequence, pid; family, type, index, flags, change
_UP_AND_RUNNING = 0x1 | 0x40  # IFF_UP, IFF_RUNNING
_LARGEST = 1 << 16
_ANSWER_TIMEOUT_S = 5.0


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
        self._news = link_news.LinkNews(self._hear, self._list)

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
        """Have `run` end, once its `stop` is set."""
        self._news.close()

    def run(self, stop: threading.Event) -> None:
        """Follow the links until `stop`; the body of a thread."""
        self._news.run(stop)

    def _hear(self, told: link_news.Link) -> None:
        if told.by_bridge:
            return
        link = None if told.is_gone else _ours(told)
        with self._lock:
            before = self._links.pop(told.index, None)
            if link:
                self._links[link.index] = link
        if link != before:
            self._tell()

    def _list(self) -> None:
        links = {link.index: link for told in _all() if (link := _ours(told))}
        with self._lock:
            self._links = links
        self._listed.set()
        self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _all() -> list[link_news.Link]:
    """All links that there are."""
    links: list[link_news.Link] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(_ANSWER_TIMEOUT_S)
        asking.send(_QUESTION.pack(_QUESTION.size, _RTM_GETLINK, _DUMP, 1, 0, socket.AF_UNSPEC, 0, 0, 0, 0))
        while True:
            for message in netlink.messages(asking.recv(_LARGEST)):
                if message.kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return links
                if link := link_news.link_of(message):
                    links.append(link)


def _ours(told: link_news.Link) -> Link | None:
    """A link, if it is one of ours."""
    if not told.name.startswith(_OURS):
        return None
    return Link(
        name=told.name,
        index=told.index,
        mtu=told.mtu,
        bridge=told.master,
        is_up=told.flags & _UP_AND_RUNNING == _UP_AND_RUNNING,
    )

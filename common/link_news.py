"""The links of this network namespace, as the kernel tells of them by itself: rtnetlink(7)."""

import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from common import netlink

GROUP = 1
"""The group in which the kernel tells of links."""

_NEW_LINK, _DEL_LINK = 16, 17
_HEADER = struct.Struct("=BxHiII")  # family, type, index, flags, change
_NAME, _MTU, _MASTER = 3, 4, 10
_FAMILY_BRIDGE = 7


@dataclass(frozen=True, slots=True)
class Link:
    """A link, as a message tells of it: `flags` are those of netdevice(7), `master` the index of its bridge or 0.

    `by_bridge`: its bridge tells of it as of a port, which it may be no longer.
    """

    index: int
    name: str
    mtu: int
    master: int
    flags: int
    is_gone: bool
    by_bridge: bool


def link_of(message: netlink.Message) -> Link | None:
    """The link that a message is about; None when it is about something else."""
    if message.kind not in (_NEW_LINK, _DEL_LINK) or len(message.body) < _HEADER.size:
        return None
    family, _type, index, flags, _change = _HEADER.unpack_from(message.body)
    told = dict(netlink.attributes(message.body, _HEADER.size))
    return Link(
        index=index,
        name=netlink.text(told.get(_NAME, b"")),
        mtu=netlink.number(told.get(_MTU, b"")),
        master=netlink.number(told.get(_MASTER, b"")),
        flags=flags,
        # A port that leaves its bridge is no link that goes.
        is_gone=message.kind == _DEL_LINK and family != _FAMILY_BRIDGE,
        by_bridge=family == _FAMILY_BRIDGE,
    )


class LinkNews:
    """Tells of links that have come, gone or changed, from when it is made."""

    def __init__(self, hear: Callable[[Link], None], look_at_all: Callable[[], None]) -> None:
        """`look_at_all` is called first of all, as nobody tells what was before, and when news were lost."""
        self._hear = hear
        self._look_at_all = look_at_all
        self._listener = netlink.Listener(netlink.ROUTE, (GROUP,))

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop` and `close`; the body of a thread."""
        self._look_at_all()
        self._listener.run(stop, self._read, self._look_at_all)

    def close(self) -> None:
        """Have `run` end, once `stop` is set."""
        self._listener.close()

    def _read(self, told: Iterator[netlink.Message]) -> None:
        for link in filter(None, map(link_of, told)):
            self._hear(link)

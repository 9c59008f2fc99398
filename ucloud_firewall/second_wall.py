"""What holds where the tables do not: without their mark, nothing goes from one link of a bridge to another, or up.

The tables mark each frame that they look at. Somebody may empty them, `nft flush ruleset` does; until they are back no
frame has the mark, and traffic control, which knows nothing of nftables, drops those at the way out of each tap and
VXLAN and at the way into each bridge. What this host says itself needs no mark. All of it stays when this process ends.
"""

import logging
import os
import threading
from collections.abc import Mapping

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from common.errors import TemporaryError
from common.link_news import Link, LinkNews
from ucloud_firewall import bpf
from ucloud_firewall.nft_static import ESTABLISHED, LOOKED_AT

_log = logging.getLogger(__name__)
_EXISTS = 17
_IN, _OUT = 0xFFFFFFF2, 0xFFFFFFF3
"""The two sides of a clsact queueing discipline."""
_ETH_P_ALL = 3
_BITS = LOOKED_AT | ESTABLISHED

_NEEDS_MARK = (
    bpf.save_context(),
    bpf.load_field(bpf.INGRESS_IFINDEX),
    bpf.jump_if_equal(0, 5),  # this host's own
    bpf.load_field(bpf.MARK),
    bpf.bits_and(LOOKED_AT),
    bpf.jump_unless_equal(0, 2),
    bpf.answer(bpf.DROP),
    bpf.answer(bpf.GO_ON),
)
_NEEDS_MARK_AND_TAKES_IT = (
    *_NEEDS_MARK[:-1],
    # The mark is of the frame: the packet that it travels in between hosts has none.
    bpf.load_field(bpf.MARK),
    bpf.bits_and(0xFFFFFFFF ^ _BITS),
    bpf.store_field(bpf.MARK),
    bpf.answer(bpf.GO_ON),
)
_NOT_FOR_BRIDGES = (
    bpf.save_context(),
    bpf.load_packet_32(0),
    bpf.jump_unless_equal(0x0180C200, 5),
    bpf.load_packet_16(4),
    bpf.bits_and(0xFFF0),
    bpf.jump_unless_equal(0, 2),
    bpf.answer(bpf.DROP),
    bpf.answer(bpf.GO_ON),
)
"""Frames to 01:80:c2:00:00:0x go past the bridge, to the tap's own interface."""
_OF_LINKS: Mapping[str, tuple[tuple[int, tuple[bytes, ...]], ...]] = {
    "tap": ((_IN, _NOT_FOR_BRIDGES), (_OUT, _NEEDS_MARK)),
    "ucvx": ((_OUT, _NEEDS_MARK_AND_TAKES_IT),),
    "ucbr": ((_IN, _NEEDS_MARK),),
}


class SecondWall:
    """Puts the programs on each tap, VXLAN and bridge of this network namespace, as soon as it is there."""

    def __init__(self) -> None:
        """The links that come from now on are heard of in `run`."""
        self._news = LinkNews(self._hear, self._look_at_all)
        self._problem: str | None = None
        self._done: dict[int, str] = {}
        self._programs: dict[tuple[bytes, ...], int] = {}
        try:
            for program in {program for sides in _OF_LINKS.values() for _, program in sides}:
                self._programs[program] = bpf.load(program)
        except TemporaryError as error:
            self._problem = str(error)
            _log.warning("there is no second wall, should somebody empty the tables: %s", error)

    def fact(self) -> str:
        """Whether it stands, for /healthz."""
        return self._problem or "stands"

    def run(self, stop: threading.Event) -> None:
        """Build it on the links that are there and on those that come, until `stop`; the body of a thread."""
        if self._programs:
            self._news.run(stop)
        for descriptor in self._programs.values():
            os.close(descriptor)

    def close(self) -> None:
        """Have `run` end, once `stop` is set."""
        self._news.close()

    def _look_at_all(self) -> None:
        self._done.clear()
        with IPRoute() as route:
            links = [(link["index"], str(link.get_attr("IFLA_IFNAME"))) for link in route.get_links()]
        self._build(links)

    def _hear(self, link: Link) -> None:
        if link.is_gone:
            self._done.pop(link.index, None)
        else:
            self._build([(link.index, link.name)])

    def _build(self, links: list[tuple[int, str]]) -> None:
        new = [(index, name) for index, name in links if self._done.get(index) != name and _sides(name)]
        if not new:
            return
        with IPRoute() as route:
            for index, name in new:
                try:
                    self._build_one(route, index, name)
                except NetlinkError as error:
                    _log.warning("%s: no second wall: %s", name, error)
                else:
                    self._done[index] = name

    def _build_one(self, route: IPRoute, index: int, name: str) -> None:
        try:
            route.tc("add", "clsact", index)
        except NetlinkError as error:
            if error.code != _EXISTS:
                raise
        for side, program in _sides(name):
            route.tc("replace-filter", "bpf", index, 1, parent=side, prio=1, protocol=_ETH_P_ALL,
                     fd=self._programs[program], name="ucloud", flags=1)  # fmt: skip


def _sides(name: str) -> tuple[tuple[int, tuple[bytes, ...]], ...]:
    return next((sides for prefix, sides in _OF_LINKS.items() if name.startswith(prefix)), ())

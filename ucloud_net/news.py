"""Tells of links, addresses, routes, forwarding entries and filters that may have changed, as the kernel reports it.

What it tells is a hint: the name of a link to look at. It reads no more of a report than it needs for that, as every
neighbour that any guest has is reported, too.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator

from common import netlink
from common.link_news import Link, link_of
from common.schemas.network import GATEWAY_MAC

_NEWADDR, _DELADDR, _DELROUTE, _DELNEIGH, _DELRULE, _NEWNETCONF = 20, 21, 25, 29, 33, 80
_GROUPS = (1, 3, 5, 9, 11, 19, 24, 25)
"""Links, neighbours, IPv4 addresses, IPv6 addresses, IPv6 routes, IPv6 rules, kernel parameters of IPv4 and IPv6."""
_GROUP_OF_FILTERS = 7
_RTA_OIF, _NDA_LLADDR, _CONF_INDEX = 4, 2, 1
_OF_NO_LINK = 2**32 - 2
"""NETCONFA_IFINDEX_ALL is -1, NETCONFA_IFINDEX_DEFAULT -2."""
_BRIDGE_FAMILY = 7
_ENTRIES = frozenset({bytes(6), bytes.fromhex(GATEWAY_MAC.replace(":", ""))})
"""The MAC addresses of the forwarding entries that matter: for what is for everybody, and the bridge's own."""
_DELETED_OF_FILTERS = frozenset({0x0A02, 0x0A05, 0x0A08, 0x0A0B, 0x0A0E})  # tables, chains, rules, sets, elements


class News:
    """Listens; its threads are `run` and `watch_filters`."""

    def __init__(
        self, filter_table: str, of_link: Callable[[str], None], of_host: Callable[[], None], of_all: Callable[[], None]
    ) -> None:
        """Call `of_link(name)` for a link, `of_host()` for rules or the filter, `of_all()` when news were lost."""
        self._filter_table = filter_table.encode() + b"\0"
        self._of_link = of_link
        self._of_host = of_host
        self._of_all = of_all
        self._names: dict[int, str] = {}
        self._route = netlink.Listener(netlink.ROUTE, _GROUPS)
        self._filters = netlink.Listener(netlink.NETFILTER, (_GROUP_OF_FILTERS,))

    def run(self, stop: threading.Event) -> None:
        """Listen to all but filters until `stop` and `close`; the body of a thread."""
        self._look_at_all()
        self._route.run(stop, self._hear, self._look_at_all)

    def watch_filters(self, stop: threading.Event) -> None:
        """Listen to what becomes of filters until `stop` and `close`; the body of a thread."""
        self._filters.run(stop, self._hear_filters, self._of_host)

    def close(self) -> None:
        """Have both threads end, once `stop` is set."""
        self._route.close()
        self._filters.close()

    def _look_at_all(self) -> None:
        self._learn_names()
        self._of_host()
        self._of_all()

    def _hear_filters(self, told: Iterator[netlink.Message]) -> None:
        if any(each.kind in _DELETED_OF_FILTERS and self._filter_table in each.body for each in told):
            self._of_host()

    def _hear(self, told: Iterator[netlink.Message]) -> None:
        for message in told:
            if link := link_of(message):
                self._hear_link(link)
            elif message.kind == _DELRULE:
                self._of_host()
            elif index := _index_of(message.kind, message.body):
                self._hear_index(index)

    def _hear_link(self, link: Link) -> None:
        touched = {link.name, self._names.get(link.index, ""), self._names.get(link.master, "")}
        if link.is_gone:
            self._names.pop(link.index, None)
        else:
            self._names[link.index] = link.name
        for each in touched - {""}:
            self._of_link(each)

    def _hear_index(self, index: int) -> None:
        if index >= _OF_NO_LINK:
            self._of_host()
        elif index in self._names:
            self._of_link(self._names[index])

    def _learn_names(self) -> None:
        self._names.update(socket.if_nameindex())


def _index_of(kind: int, body: bytes) -> int:
    """The link that a report is about, if it matters; else 0."""
    if kind in (_NEWADDR, _DELADDR):
        return int(struct.unpack_from("=I", body, 4)[0])
    if kind == _DELROUTE:
        return netlink.number(_attribute(body, 12, _RTA_OIF))
    if kind == _NEWNETCONF:
        return netlink.number(_attribute(body, 4, _CONF_INDEX))
    if kind == _DELNEIGH and body[0] == _BRIDGE_FAMILY and _attribute(body, 12, _NDA_LLADDR) in _ENTRIES:
        return int(struct.unpack_from("=i", body, 4)[0])
    return 0


def _attribute(body: bytes, header_bytes: int, wanted: int) -> bytes:
    return next((value for kind, value in netlink.attributes(body, header_bytes) if kind == wanted), b"")

"""Tells of links, addresses, routes, forwarding entries and filters that may have changed, as the kernel reports it.

What it tells is a hint: the name of a link to look at. It reads no more of a report than it needs for that, as every
neighbour that any guest has is reported, too.
"""

import errno
import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)
_ROUTE, _NETFILTER = 0, 12
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _DELROUTE, _DELNEIGH, _DELRULE, _NEWNETCONF = 16, 17, 20, 21, 25, 29, 33, 80
_GROUPS = (1, 3, 5, 9, 11, 19, 24, 25)
"""Links, neighbours, IPv4 addresses, IPv6 addresses, IPv6 routes, IPv6 rules, kernel parameters of IPv4 and IPv6."""
_GROUPS_OF_FILTERS = 7
_IFNAME, _MASTER, _RTA_OIF, _NDA_LLADDR, _CONF_INDEX = 3, 10, 4, 2, 1
_OF_NO_LINK = 2**32 - 2
"""NETCONFA_IFINDEX_ALL is -1, NETCONFA_IFINDEX_DEFAULT -2."""
_BRIDGE_FAMILY = 7
_DELETED_OF_FILTERS = frozenset({0x0A02, 0x0A05, 0x0A08, 0x0A0B, 0x0A0E})  # tables, chains, rules, sets, elements
_BUFFER_BYTES = 8 * 1024 * 1024
_READ_BYTES = 64 * 1024
_WAIT_S = 1.0

Message = tuple[int, bytes]


class News:
    """Listens; its thread is `run`."""

    def __init__(
        self, filter_table: str, of_link: Callable[[str], None], of_host: Callable[[], None], of_all: Callable[[], None]
    ) -> None:
        """Call `of_link(name)` for a link, `of_host()` for rules or the filter, `of_all()` when news were lost."""
        self._filter_table = filter_table.encode() + b"\0"
        self._of_link = of_link
        self._of_host = of_host
        self._of_all = of_all
        self._names: dict[int, str] = {}
        self._route = _open(_ROUTE, _GROUPS)
        self._filter = _open(_NETFILTER, (_GROUPS_OF_FILTERS,))

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop`; the body of a thread."""
        self._learn_names()
        self._of_all()
        while not stop.is_set():
            ready, _, _ = select.select([self._route, self._filter], [], [], _WAIT_S)
            for source in ready:
                self._read(source)
        self._route.close()
        self._filter.close()

    def _read(self, source: socket.socket) -> None:
        try:
            data = source.recv(_READ_BYTES)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            _log.info("the kernel had more to tell than fits: looking at everything")
            self._learn_names()
            self._of_host()
            self._of_all()
            return
        for kind, body in messages(data):
            if source is self._filter:
                self._hear_filter(kind, body)
            else:
                self._hear(kind, body)

    def _hear_filter(self, kind: int, body: bytes) -> None:
        if kind in _DELETED_OF_FILTERS and self._filter_table in body:
            self._of_host()

    def _hear(self, kind: int, body: bytes) -> None:
        if kind in (_NEWLINK, _DELLINK):
            index = struct.unpack_from("=i", body, 4)[0]
            name = attribute(body, 16, _IFNAME).rstrip(b"\0").decode(errors="replace")
            touched = {name, self._names.get(index, ""), self._names.get(_number(attribute(body, 16, _MASTER)), "")}
            if kind == _NEWLINK:
                self._names[index] = name
            elif body[0] != _BRIDGE_FAMILY:  # else it has but left its bridge
                self._names.pop(index, None)
            for each in touched - {""}:
                self._of_link(each)
        elif kind == _DELRULE:
            self._of_host()
        elif index := _index_of(kind, body):
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
        return _number(attribute(body, 12, _RTA_OIF))
    if kind == _NEWNETCONF:
        return _number(attribute(body, 4, _CONF_INDEX))
    if kind == _DELNEIGH and body[0] == _BRIDGE_FAMILY and not any(attribute(body, 12, _NDA_LLADDR)):
        return int(struct.unpack_from("=i", body, 4)[0])
    return 0


def _number(value: bytes) -> int:
    return int(struct.unpack("=I", value)[0]) if len(value) == 4 else 0


def messages(data: bytes) -> Iterator[Message]:
    """The netlink messages in what was received at once: the type and the body of each."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def attribute(body: bytes, at: int, wanted: int) -> bytes:
    """The first attribute of type `wanted` after the `at` octets that a body begins with; empty when there is none."""
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return b""
        if kind & 0x3FFF == wanted:
            return body[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return b""


def _open(protocol: int, groups: tuple[int, ...]) -> socket.socket:
    """A socket that the kernel reports to."""
    source = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    try:
        source.setsockopt(socket.SOL_SOCKET, 33, _BUFFER_BYTES)  # SO_RCVBUFFORCE, which CAP_NET_ADMIN allows
    except OSError as error:
        _log.warning("the buffer for the kernel's reports stays small: %s", os.strerror(error.errno or 0))
    source.bind((0, 0))  # the kernel reports to none that has no address
    for group in groups:
        source.setsockopt(270, 1, group)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
    return source

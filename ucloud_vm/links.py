"""The network links of this host, as its kernel has them. They are looked at, never changed.

Sources: netdevice(7) on SIOCGIFFLAGS and SIOCGIFMTU, netlink(7) and rtnetlink(7) on news of links.
"""

import errno
import fcntl
import logging
import os
import re
import select
import socket
import struct
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)
_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_IFF_UP = 1
_RTMGRP_LINK = 1
_REQUEST = struct.Struct("16s24x")
_FLAGS = struct.Struct("16xH22x")
_MTU = struct.Struct("16xi20x")
_LONGEST_NAME = 15
_ROOM = 65536
_TAP = re.compile(r"tap([0-9a-f]{10})")


def mtu_of(name: str) -> int | None:
    """The MTU of a link, in octets; None where it is not there, or not up yet: then its MTU may not be set either."""
    request = _REQUEST.pack(name.encode("ascii"))
    if len(name) > _LONGEST_NAME:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        try:
            (flags,) = _FLAGS.unpack(fcntl.ioctl(asker, _SIOCGIFFLAGS, request))
            (mtu,) = _MTU.unpack(fcntl.ioctl(asker, _SIOCGIFMTU, request))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
    return int(mtu) if flags & _IFF_UP else None


def ports_with_taps() -> frozenset[str]:
    """The ids of the ports that have taps here, by the taps' names."""
    matches = (_TAP.fullmatch(name) for _, name in socket.if_nameindex())
    return frozenset(match[1] for match in matches if match)


class LinkNews:
    """Tells whenever any link has changed: a hint to look, so what the kernel says of it is not even read."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []
        self._waker = os.eventfd(0, os.EFD_CLOEXEC)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when links may have changed. It must not block."""
        self._listeners.append(listener)

    def run(self, stop: threading.Event) -> None:
        """Listen to the kernel; the body of a thread."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as news:
            news.bind((0, _RTMGRP_LINK))
            poll = select.poll()
            poll.register(news, select.POLLIN)
            poll.register(self._waker, select.POLLIN)
            while not stop.is_set():
                self._tell()
                poll.poll()
                _drain(news)

    def close(self) -> None:
        """Let the thread see that it is to end."""
        os.eventfd_write(self._waker, 1)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()


def _drain(news: socket.socket) -> None:
    """Take what there is. What was lost because there was too much of it (ENOBUFS) is news all the same."""
    while True:
        try:
            news.recv(_ROOM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise

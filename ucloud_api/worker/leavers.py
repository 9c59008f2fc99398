"""Notices clients that leave while nothing is sent to them, so that their streams end and free their threads.

Without it a stream would learn of it when its second heartbeat can't be sent. Source: epoll_ctl(2), EPOLLRDHUP.
"""

import logging
import os
import select
import socket
import threading
from collections.abc import Callable

_log = logging.getLogger(__name__)
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Leavers:
    """Calls back when the other end of a connection is closed, a half-closed one included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="leavers", daemon=True)

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._thread.start()

    def watch(self, connection: socket.socket, callback: Callable[[], None]) -> None:
        """Call `callback` once when the client has left; `forget` must follow, before the connection is closed."""
        with self._lock:
            if self._epoll.closed:
                return
            self._callbacks[connection.fileno()] = callback
            self._epoll.register(connection, _GONE | select.EPOLLONESHOT)

    def forget(self, connection: socket.socket) -> None:
        """Look no more; a second time does nothing."""
        with self._lock:
            if self._callbacks.pop(connection.fileno(), None) and not self._epoll.closed:
                self._epoll.unregister(connection)

    def close(self) -> None:
        """End the thread; nobody is watched any more."""
        os.eventfd_write(self._wake, 1)
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._epoll.close()
            os.close(self._wake)

    def _run(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll():
                if descriptor == self._wake:
                    return
                with self._lock:
                    # Meanwhile the number may have become that of another client, which is there.
                    callback = self._callbacks.get(descriptor)
                    has_left = callback and _has_left(descriptor)
                if callback and has_left:
                    callback()


def _has_left(descriptor: int) -> bool:
    look = select.poll()
    look.register(descriptor, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(look.poll(0))

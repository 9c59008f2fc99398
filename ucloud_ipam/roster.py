"""The ports here by their taps, each with its network. What can't be read of a network now is tried again."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from common.errors import StoreError, TemporaryError, Unavailable
from common.local_ports import LocalPort, NetworkBook, View
from common.queue import WorkQueue
from common.schemas.network import NetworkRequest

_log = logging.getLogger(__name__)
_RETRY_S = 2.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A port here, and the network that it is on."""

    local: LocalPort
    network: NetworkRequest


class Roster:
    """Follows the ports; safe to use from many threads."""

    def __init__(self, ports: View[LocalPort], book: NetworkBook) -> None:
        self._ports = ports
        self._book = book
        self._queue = WorkQueue()
        self._lock = threading.Lock()
        self._by_key: dict[str, Entry] = {}
        self._listeners: list[Callable[[], None]] = []
        ports.subscribe(self._queue.add)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when entries may have changed. It must not block."""
        self._listeners.append(listener)

    def by_tap(self) -> dict[str, Entry]:
        """All ports whose networks are known."""
        with self._lock:
            return {entry.local.port.tap: entry for entry in self._by_key.values()}

    def networks(self) -> dict[str, NetworkRequest]:
        """The networks of these ports, by the names of their bridges."""
        with self._lock:
            return {entry.network.bridge: entry.network for entry in self._by_key.values()}

    def close(self) -> None:
        """Let the thread see that it is to end."""
        self._queue.close()

    def run(self, _stop: threading.Event) -> None:
        """Keep the entries; the body of a thread."""
        while (key := self._queue.get()) is not None:
            try:
                self._look(key)
            except (StoreError, TemporaryError, Unavailable) as error:
                _log.warning("port %s can't be answered yet: %s", key, error)
                self._queue.add(key, after_s=_RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            finally:
                self._queue.done(key)

    def _look(self, key: str) -> None:
        cached = self._ports.get(key)
        entry = Entry(cached.record, self._book.get(cached.record.port.network)) if cached else None
        with self._lock:
            before = self._by_key.pop(key, None)
            if entry:
                self._by_key[key] = entry
        if entry is None:
            self._book.keep_only(network.uuid for network in self.networks().values())
        if entry != before:
            for listener in self._listeners:
                listener()

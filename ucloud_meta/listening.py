"""Which networks are served: those with VMs here, as soon as their bridges are there and for as long.

News of placements and of links are hints to look. What fails is tried again.
"""

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from common import keys
from common.errors import TemporaryError, Unavailable
from common.local_ports import LocalPorts, NetworkBook
from common.queue import WorkQueue
from common.schemas.network import NetworkRequest

_log = logging.getLogger(__name__)
_FIRST_BACKOFF_S = 1.0
_MAX_BACKOFF_S = 30.0


class Counters(Protocol):
    """Where guests are answered: the server."""

    def serve(self, network: str, ifindex: int, listener: socket.socket) -> None:
        """See Server."""
        ...

    def leave(self, network: str) -> None:
        """See Server."""
        ...


class Listening:
    """Opens and closes the counters. `look` runs in one thread."""

    def __init__(
        self,
        here: LocalPorts,
        book: NetworkBook,
        counters: Counters,
        index_of: Callable[[str], int | None],
        listen: Callable[[int], socket.socket],
    ) -> None:
        """`index_of` a link's name is its index; `listen` opens a socket on the link of an index."""
        self._here = here
        self._book = book
        self._counters = counters
        self._index_of = index_of
        self._listen = listen
        self._queue = WorkQueue()
        self._known: dict[str, NetworkRequest] = {}
        self._at_bridge: dict[str, str] = {}
        """The network of each bridge's name."""
        self._open: dict[str, int] = {}
        """The link at which each network's guests are answered."""
        self._failures: dict[str, tuple[int, str]] = {}
        here.networks.subscribe(lambda key: self._queue.add(keys.last_part(key)))

    @property
    def networks(self) -> Mapping[str, NetworkRequest]:
        """The networks that have VMs here, as far as they could be read; a view that changes."""
        return self._known

    def problem(self) -> str | None:
        """What keeps guests from being answered, for /healthz."""
        return "; ".join(f"network {uuid}: {text}" for uuid, (_, text) in list(self._failures.items())) or None

    def hint(self, link: str | None) -> None:
        """A link (None: any) may have come or gone."""
        if link is None:
            for uuid in [*self._here.networks.records(), *map(keys.network, list(self._known))]:
                self._queue.add(keys.last_part(uuid))
        elif uuid_there := self._at_bridge.get(link):
            self._queue.add(uuid_there)

    def close(self) -> None:
        """Have `run` end."""
        self._queue.close()

    def run(self, _stop: threading.Event) -> None:
        """Look at what may have changed until `close`; the body of a thread."""
        while (uuid := self._queue.get()) is not None:
            try:
                self._look(uuid)
                self._failures.pop(uuid, None)
            except (TemporaryError, Unavailable, OSError) as error:
                self._failed(uuid, error)
            finally:
                self._queue.done(uuid)

    def _failed(self, uuid: str, error: Exception) -> None:
        times, before = self._failures.get(uuid, (0, ""))
        self._failures[uuid] = times + 1, str(error)
        if str(error) != before:
            _log.warning("network %s can't be served: %s", uuid, error)
        self._queue.add(uuid, min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(times, 10)))

    def _look(self, uuid: str) -> None:
        key = keys.network(uuid)
        if self._here.networks.get(key) is None:
            if not self._here.networks.is_malformed(key):
                self._forget(uuid)
            return
        network = self._book.get(uuid)
        self._known[uuid] = network
        # Noted before the bridge is looked for: should it come right after, there is a hint.
        self._at_bridge[network.bridge] = uuid
        index = self._index_of(network.bridge)
        if self._open.get(uuid) == index:
            return
        self._leave(uuid)
        if index is not None:
            self._counters.serve(uuid, index, self._listen(index))
            self._open[uuid] = index
            _log.info("network %s is served at %s", uuid, network.bridge)

    def _forget(self, uuid: str) -> None:
        self._leave(uuid)
        if network := self._known.pop(uuid, None):
            self._at_bridge.pop(network.bridge, None)
            self._book.keep_only(self._known)

    def _leave(self, uuid: str) -> None:
        if self._open.pop(uuid, None) is not None:
            self._counters.leave(uuid)
            _log.info("network %s is served no more", uuid)

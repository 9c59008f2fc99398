"""Where the hosts that have VMs on a network take its packets, for networks that are flooded by unicast.

Each network in use here is watched by itself: what this costs grows with the VMs of this host, not with the cloud.
"""

import threading
from collections.abc import Callable
from ipaddress import IPv6Address

from common import keys
from common.cache import Cache
from common.errors import MalformedRecord
from common.metrics import Metrics
from common.schemas.network import Endpoint
from common.store import PATIENT_PROBE_INTERVAL_S, Delete, Put, Store, unchanged


class Endpoints:
    """What host `host` knows of them, and says itself. Safe to use from many threads."""

    def __init__(self, store: Store, host: str, metrics: Metrics) -> None:
        self._store = store
        self._host = host
        self._metrics = metrics
        self._listeners: list[Callable[[str], None]] = []
        self._lock = threading.Lock()
        self._followed: dict[str, tuple[Cache[Endpoint], threading.Event]] = {}

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener(network)` when hosts may have come or gone. It must not block."""
        self._listeners.append(listener)

    def follow(self, network: str) -> frozenset[IPv6Address] | None:
        """All that is told of a network, which is watched from now on; None: not known yet."""
        with self._lock:
            if network not in self._followed:
                cache = Cache(self._store, keys.endpoints(network), Endpoint, self._metrics, PATIENT_PROBE_INTERVAL_S)
                cache.subscribe(lambda _key: self._tell(network))
                stop = threading.Event()
                self._followed[network] = cache, stop
                threading.Thread(target=cache.keep, args=(stop,), name=f"endpoints {network}", daemon=True).start()
            cache, _ = self._followed[network]
        if not cache.wait_synced(0):
            return None
        return frozenset(cached.record.address for cached in cache.records().values())

    def forget(self, network: str) -> None:
        """Watch it no more."""
        with self._lock:
            _, stop = self._followed.pop(network, (None, None))
        if stop:
            stop.set()

    def close(self) -> None:
        """Watch nothing any more."""
        with self._lock:
            for _, stop in self._followed.values():
                stop.set()

    def own(self, network: str) -> IPv6Address | None:
        """What this host says of a network."""
        key = keys.endpoint(network, self._host)
        with self._lock:
            cache, _ = self._followed.get(network, (None, None))
        if cache and cache.wait_synced(0):
            cached = cache.get(key)
            return cached.record.address if cached else None
        return self._read(key)[0]

    def announce(self, network: str, address: IPv6Address) -> None:
        """Say that this host takes the network's packets at `address`."""
        key, record = keys.endpoint(network, self._host), Endpoint(address=address)
        revision = self._store.commit([unchanged(key, self._read(key)[1])], [Put(key, record.to_json())])
        self._note(network, key, record, revision)

    def withdraw(self, network: str) -> None:
        """Say that it takes none."""
        key = keys.endpoint(network, self._host)
        known, revision = self._read(key)
        if known or revision:
            revision = self._store.commit([unchanged(key, revision)], [Delete(key)])
            self._note(network, key, None, revision)

    def _read(self, key: str) -> tuple[IPv6Address | None, int]:
        """What this host says at `key`, and its revision (0: there is none)."""
        entry = self._store.get(key)
        if entry is None:
            return None, 0
        try:
            return Endpoint.read(key, entry.value).address, entry.mod_revision
        except MalformedRecord:
            return None, entry.mod_revision

    def _tell(self, network: str) -> None:
        for listener in self._listeners:
            listener(network)

    def _note(self, network: str, key: str, record: Endpoint | None, revision: int) -> None:
        with self._lock:
            cache, _ = self._followed.get(network, (None, None))
        if cache:
            cache.note(key, record, revision)

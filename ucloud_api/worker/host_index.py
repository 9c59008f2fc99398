"""Which things are on which hosts, both ways, so that no request looks through all of them."""

import threading
from typing import Any

from common import keys
from common.cache import Cache


class HostIndex:
    """Follows a cache whose keys end with a host and a thing: placements of VMs, statuses of networks.

    It says where to look; what holds is what the cache has there.
    """

    def __init__(self, cache: Cache[Any]) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._hosts_by_thing: dict[str, set[str]] = {}
        self._things_by_host: dict[str, set[str]] = {}
        cache.subscribe(self._look)

    def _look(self, key: str) -> None:
        host, thing = keys.host_and_vm(key)
        with self._lock:
            if self._cache.get(key):
                self._hosts_by_thing.setdefault(thing, set()).add(host)
                self._things_by_host.setdefault(host, set()).add(thing)
                return
            for index, one, other in ((self._hosts_by_thing, thing, host), (self._things_by_host, host, thing)):
                others = index.get(one, set())
                others.discard(other)
                if not others:
                    index.pop(one, None)

    def hosts_of(self, thing: str) -> tuple[str, ...]:
        """The hosts that a thing is on: of a VM none, one, or two while it moves."""
        with self._lock:
            return tuple(self._hosts_by_thing.get(thing, ()))

    def things_on(self, host: str) -> tuple[str, ...]:
        """The uuids of the things on a host."""
        with self._lock:
            return tuple(self._things_by_host.get(host, ()))

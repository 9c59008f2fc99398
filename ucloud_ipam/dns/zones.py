"""The zones of the networks here, read from etcd when somebody asks, and kept for two seconds.

While etcd does not answer, what was read last is told: addresses seldom change, and guests need names.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from common import keys
from common.errors import MalformedRecord, StoreError, Unavailable
from common.queue import WorkQueue
from common.schemas.network import AddressHolder, NetworkRequest
from common.store import Store
from ucloud_ipam.dns.zone import Address, Zone, territory_of, zone_of

_log = logging.getLogger(__name__)
_FRESH_S = 2.0
_MOST_WAITING = 256
Action = Callable[[Zone | None], None]
"""What is done with a zone; None: it can't be read."""


@dataclass
class _Known:
    """What is known of a network's names."""

    network: NetworkRequest
    zone: Zone | None = None
    read_at_s: float = float("-inf")
    is_failing: bool = False
    waiting: list[Action] = field(default_factory=list)


class Zones:
    """Reads zones in a thread of its own; safe to use from many."""

    def __init__(self, store: Store, domain: str) -> None:
        self._store = store
        self._domain = domain
        self._queue = WorkQueue()
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def use(self, network: NetworkRequest, action: Action) -> None:
        """Call `action` with the zone of `network`: now, or from the thread that reads it, or never."""
        with self._lock:
            known = self._known.setdefault(network.uuid, _Known(network))
            is_fresh = time.monotonic() - known.read_at_s < _FRESH_S
            must_wait = not is_fresh and not (known.is_failing and known.zone)
            if must_wait and len(known.waiting) < _MOST_WAITING:
                known.waiting.append(action)
            zone = known.zone
        if not is_fresh:
            self._queue.add(network.uuid)
        if not must_wait:
            action(zone)

    def keep_only(self, networks: Iterable[NetworkRequest]) -> None:
        """Forget the others."""
        kept = {network.uuid for network in networks}
        with self._lock:
            self._known = {uuid: known for uuid, known in self._known.items() if uuid in kept}

    def close(self) -> None:
        """Let the thread see that it is to end."""
        self._queue.close()

    def run(self, _stop: threading.Event) -> None:
        """Read what is asked for; the body of a thread."""
        while (uuid := self._queue.get()) is not None:
            try:
                self._read(uuid)
            finally:
                self._queue.done(uuid)

    def _read(self, uuid: str) -> None:
        with self._lock:
            known = self._known.get(uuid)
        if known is None:
            return
        zone = known.zone
        try:
            zone = zone_of(territory_of(known.network, self._domain), self._held(uuid))
            known.is_failing = False
        except (StoreError, Unavailable) as error:
            _log.warning("can't read the names of network %s: %s", uuid, error)
            known.is_failing = True
        with self._lock:
            known.zone, known.read_at_s = zone, time.monotonic()
            waiting, known.waiting = known.waiting, []
        for action in waiting:
            action(zone)

    def _held(self, uuid: str) -> Iterator[tuple[Address, AddressHolder]]:
        for entry in self._store.list(keys.addresses(uuid)).entries:
            try:
                yield ip_address(keys.last_part(entry.key)), AddressHolder.read(entry.key, entry.value)
            except (MalformedRecord, ValueError) as error:
                _log.warning("a name can't be read: %s", error)

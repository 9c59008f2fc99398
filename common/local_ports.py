"""The ports that VMs have on this host, and the networks that these are on, as the placements tell.

A control loop takes either for its requests. A VM that arrives from another host has its ports here from the moment
that the host is told of it; one that has left has none. While an order to this host can't be read, and never could be,
nobody knows which ports it is about: what is not known to be requested stays as it is.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from common import keys
from common.cache import Cache, Cached
from common.errors import MalformedRecord, TemporaryError
from common.schemas.network import NetworkRequest
from common.schemas.port import Port
from common.schemas.record import Record
from common.schemas.vm import Placement, Role
from common.store import Store

R = TypeVar("R", bound=Record)


class LocalPort(Record):
    """A port of a VM on this host."""

    port: Port
    vm: str
    """The VM's uuid."""
    name: str
    """The VM's name."""
    is_arriving: bool = False
    """The VM still runs on another host, which it is to come from."""


class LocalNetwork(Record):
    """A network with VMs on this host, and their ports by id."""

    uuid: str
    ports: tuple[LocalPort, ...]


class View(Generic[R]):
    """What is seen in the placements, by key; a common.controller.Requests. Safe to use from many threads."""

    def __init__(self, prefix: str, placements: Cache[Placement]) -> None:
        self._prefix = prefix
        self._placements = placements
        self._lock = threading.Lock()
        self._records: dict[str, Cached[R]] = {}
        self._listeners: list[Callable[[str], None]] = []

    @property
    def prefix(self) -> str:
        """What all keys begin with."""
        return self._prefix

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each key that may have changed. It must not block."""
        self._listeners.append(listener)

    def get(self, key: str) -> Cached[R] | None:
        """What is here at `key`."""
        with self._lock:
            return self._records.get(key)

    def records(self) -> dict[str, Cached[R]]:
        """All that is here, a copy."""
        with self._lock:
            return dict(self._records)

    def is_malformed(self, key: str) -> bool:
        """Whether nobody can say whether it is to be here."""
        return self.get(key) is None and any(
            self._placements.get(placement) is None for placement in self._placements.malformed
        )

    def wait_synced(self, timeout_s: float | None = None) -> bool:
        """Wait until the placements have been listed; False when it took too long."""
        return self._placements.wait_synced(timeout_s)

    def change(self, records: Mapping[str, Cached[R] | None]) -> None:
        """These are now what is there (None: nothing); tell those who listen."""
        with self._lock:
            for key, cached in records.items():
                if cached is None:
                    self._records.pop(key, None)
                else:
                    self._records[key] = cached
        for key in records:
            for listener in self._listeners:
                listener(key)


class LocalPorts:
    """Follows the placements of one host. Make it before the cache runs."""

    def __init__(self, placements: Cache[Placement]) -> None:
        self._placements = placements
        self._lock = threading.Lock()
        self._of_vm: dict[str, dict[str, Cached[LocalPort]]] = {}
        self.ports: View[LocalPort] = View(keys.PORT, placements)
        """By `keys.port`."""
        self.networks: View[LocalNetwork] = View(keys.NETWORK, placements)
        """By `keys.network`."""
        placements.subscribe(self._look)

    def _look(self, placement_key: str) -> None:
        vm_uuid = keys.last_part(placement_key)
        cached = self._placements.get(placement_key)
        with self._lock:
            before, now = self._of_vm.pop(vm_uuid, {}), _ports_of(cached)
            if now:
                self._of_vm[vm_uuid] = now
            self.ports.change({keys.port(name): now.get(name) for name in before.keys() | now.keys()})
            touched = {each.record.port.network for each in (*before.values(), *now.values())}
            self.networks.change({keys.network(uuid): self._network(uuid) for uuid in touched})

    def _network(self, uuid: str) -> Cached[LocalNetwork] | None:
        on_it = [each for ports in self._of_vm.values() for each in ports.values() if each.record.port.network == uuid]
        if not on_it:
            return None
        ports = sorted((each.record for each in on_it), key=lambda local: local.port.id)
        revisions = [each.mod_revision for each in on_it]
        return Cached(LocalNetwork(uuid=uuid, ports=tuple(ports)), min(revisions), max(revisions))


def _ports_of(cached: Cached[Placement] | None) -> dict[str, Cached[LocalPort]]:
    if cached is None or cached.record.role is Role.LEFT:
        return {}
    request, is_arriving = cached.record.request, cached.record.role is Role.INCOMING
    locals_ = [
        LocalPort(port=port, vm=request.uuid, name=request.name, is_arriving=is_arriving) for port in request.ports
    ]
    return {local.port.id: Cached(local, cached.create_revision, cached.mod_revision) for local in locals_}


class NetworkBook:
    """What the cloud says of networks. What matters to a host never changes, so each is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, NetworkRequest] = {}

    def get(self, uuid: str) -> NetworkRequest:
        """The network; TemporaryError when there is none that can be read, Unavailable when etcd does not answer."""
        if found := self._known.get(uuid):
            return found
        entry = self._store.get(keys.network(uuid))
        if entry is None:
            raise TemporaryError(f"there is no network {uuid}")
        try:
            found = self._known[uuid] = NetworkRequest.read(entry.key, entry.value)
        except MalformedRecord as error:
            raise TemporaryError(f"network {uuid} can't be read: {error}") from error
        return found

    def keep_only(self, uuids: Iterable[str]) -> None:
        """Forget all others."""
        kept = frozenset(uuids)
        self._known = {uuid: known for uuid, known in self._known.items() if uuid in kept}

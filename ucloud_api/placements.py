"""Which VMs are placed on which hosts, both ways, so that no request looks through all placements."""

import threading

from common import keys
from common.cache import Cache
from common.schemas.vm import Placement


class PlacementIndex:
    """Follows a cache of placements. It says where to look; what holds is what the cache has there."""

    def __init__(self, placements: Cache[Placement]) -> None:
        self._placements = placements
        self._lock = threading.Lock()
        self._hosts_by_vm: dict[str, set[str]] = {}
        self._vms_by_host: dict[str, set[str]] = {}
        placements.subscribe(self._look)

    def _look(self, key: str) -> None:
        host, vm_uuid = keys.host_and_vm(key)
        with self._lock:
            if self._placements.get(key):
                self._hosts_by_vm.setdefault(vm_uuid, set()).add(host)
                self._vms_by_host.setdefault(host, set()).add(vm_uuid)
                return
            for index, one, other in ((self._hosts_by_vm, vm_uuid, host), (self._vms_by_host, host, vm_uuid)):
                others = index.get(one, set())
                others.discard(other)
                if not others:
                    index.pop(one, None)

    def hosts_of(self, vm_uuid: str) -> tuple[str, ...]:
        """The hosts that a VM is placed on: none, one, or two while it moves."""
        with self._lock:
            return tuple(self._hosts_by_vm.get(vm_uuid, ()))

    def vms_on(self, host: str) -> tuple[str, ...]:
        """The uuids of the VMs that are placed on a host."""
        with self._lock:
            return tuple(self._vms_by_host.get(host, ()))

"""The scheduler's picture of the cloud, kept current from its caches hint by hint.

An event costs what it touches: one VM's view, one host's sums. Belongs to one thread; the caches' threads only hint.
It never writes to etcd.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from common import keys
from common.cache import Cache
from common.schemas.host import Alive, HostRequest, HostState, HostStatus, Overcommit, StoreCapacity
from common.schemas.vm import Placement, VmRequest, VmStatus
from ucloud_scheduler.ledger import Ledger
from ucloud_scheduler.views import Disk, Host, Placed, Reported, Snapshot, Vm, specs_of

T = TypeVar("T")


@dataclass(frozen=True)
class Caches:
    """All that the scheduler watches."""

    vms: Cache[VmRequest]
    placements: Cache[Placement]
    statuses: Cache[VmStatus]
    hosts: Cache[HostRequest]
    host_statuses: Cache[HostStatus]
    alive: Cache[Alive]

    def all(self) -> tuple[Cache[Any], ...]:
        """Each of them."""
        return (self.hosts, self.host_statuses, self.alive, self.vms, self.placements, self.statuses)

    def of(self, key: str) -> Cache[Any] | None:
        """The one that holds `key`."""
        return next((cache for cache in self.all() if key.startswith(cache.prefix)), None)


class World:
    """Views of every VM and host, and the VMs that are due to be looked at."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._vms: dict[str, Vm] = {}
        self._hosts: dict[str, Host] = {}
        self._ledger = Ledger()
        self._due: dict[str, None] = {}
        self._waiting: set[str] = set()
        self._absorbers: dict[str, Callable[[str], None]] = {
            keys.VM: self._absorb_request,
            keys.PLACEMENT: self._absorb_placement,
            keys.STATUS_VM: self._absorb_status,
            keys.HOST: self._absorb_host,
            keys.STATUS_HOST: self._absorb_host,
            keys.ALIVE: self._absorb_host,
        }

    def absorb(self, hints: Iterable[str]) -> None:
        """Look at what the caches hold at these keys now."""
        for key in hints:
            for prefix, absorb in self._absorbers.items():
                if key.startswith(prefix):
                    absorb(key)
                    break

    def absorb_all(self) -> None:
        """Look at everything, also at what the caches hold no more; every VM is due afterwards."""
        for cache in self._caches.all():
            self.absorb(cache.records())
            self.absorb(cache.malformed)
        for vm in list(self._vms.values()):
            self.absorb([keys.vm(vm.uuid), *(keys.placement(host, vm.uuid) for host in vm.placements)])
            self.absorb(keys.vm_status(host, vm.uuid) for host in (*vm.statuses, keys.NO_HOST))
        for name in list(self._hosts):
            self.absorb([keys.host(name)])
        self._due = dict.fromkeys(self._vms)

    def look_at(self, vm_uuid: str) -> None:
        """A VM is due to be looked at."""
        self._due[vm_uuid] = None

    @property
    def has_due(self) -> bool:
        """Whether any VM is due."""
        return bool(self._due)

    @property
    def waiting(self) -> int:
        """How many VMs wait for room."""
        return len(self._waiting)

    def forget_due(self) -> None:
        """Nothing is due: another instance looks at the VMs. `absorb_all` makes them due when this one has to."""
        self._due.clear()

    def take_due(self, limit: int) -> Snapshot:
        """What is needed for a plan for up to `limit` VMs that are due; they are due no more."""
        chosen = [vm_uuid for vm_uuid, _ in zip(self._due, range(limit), strict=False)]
        for vm_uuid in chosen:
            del self._due[vm_uuid]
        vms = tuple(self._vms[vm_uuid] for vm_uuid in chosen if vm_uuid in self._vms)
        return Snapshot(vms, self._hosts, self._ledger.used_mib)

    def set_waiting(self, planned: Iterable[Vm], waiting: frozenset[str]) -> None:
        """Of the VMs that were `planned`, those in `waiting` are to be looked at again when there may be more room."""
        self._waiting.difference_update(vm.uuid for vm in planned)
        self._waiting.update(waiting)

    def _look_at_waiting(self) -> None:
        self._due.update(dict.fromkeys(sorted(self._waiting)))

    def _set(self, vm: Vm) -> None:
        """Keep a VM's view, unless nothing at all is left of the VM."""
        if vm.request or vm.is_malformed or vm.placements or vm.statuses or vm.pending:
            self._vms[vm.uuid] = vm
            self._due[vm.uuid] = None
        else:
            self._vms.pop(vm.uuid, None)
            self._due.pop(vm.uuid, None)
            self._waiting.discard(vm.uuid)

    def _vm(self, vm_uuid: str) -> Vm:
        return self._vms.get(vm_uuid) or Vm(vm_uuid)

    def _absorb_request(self, key: str) -> None:
        cached = self._caches.vms.get(key)
        vm = replace(
            self._vm(keys.last_part(key)),
            request=cached.record if cached else None,
            revision=cached.mod_revision if cached else 0,
            is_malformed=self._caches.vms.is_malformed(key),
        )
        self._set(vm)
        for host, placed in vm.placements.items():
            if placed.record is None:
                self._charge(host, vm)

    def _absorb_placement(self, key: str) -> None:
        host, vm_uuid = keys.host_and_vm(key)
        cached = self._caches.placements.get(key)
        placed: Placed | None = None
        if self._caches.placements.is_malformed(key):
            placed = Placed(None, 0)
        elif cached:
            placed = Placed(cached.record, cached.mod_revision)
        vm = self._vm(vm_uuid)
        vm = replace(vm, placements=_with(vm.placements, host, placed))
        self._set(vm)
        self._charge(host, vm)

    def _absorb_status(self, key: str) -> None:
        host, vm_uuid = keys.host_and_vm(key)
        cached = self._caches.statuses.get(key)
        is_malformed = self._caches.statuses.is_malformed(key)
        vm = self._vm(vm_uuid)
        if host == keys.NO_HOST:
            # One that can't be read is written anew: nobody else writes it.
            self._set(replace(vm, pending=cached.record if cached and not is_malformed else None))
            return
        reported: Reported | None = None
        if is_malformed:
            reported = Reported(None, 0)
        elif cached:
            reported = Reported(cached.record, cached.mod_revision)
        self._set(replace(vm, statuses=_with(vm.statuses, host, reported)))

    def _charge(self, host: str, vm: Vm) -> None:
        placed = vm.placements.get(host)
        became_free = self._ledger.charge(host, vm.uuid, specs_of(placed, vm.request) if placed else None)
        if host in self._hosts:
            self._hosts[host] = self._with_use(self._hosts[host])
        if became_free:
            self._look_at_waiting()

    def _with_use(self, host: Host) -> Host:
        return replace(
            host, used_cpu=self._ledger.used_cpu(host.name), used_ram_mib=self._ledger.used_ram_mib(host.name)
        )

    def _absorb_host(self, key: str) -> None:
        name = keys.last_part(key)
        request = self._caches.hosts.get(keys.host(name))
        status = self._caches.host_statuses.get(keys.host_status(name))
        is_alive = self._caches.alive.get(keys.alive(name)) is not None
        before = self._hosts.get(name)
        if request or status or is_alive:
            state = request.record.state if request else HostState.ENABLED
            if self._caches.hosts.is_malformed(keys.host(name)) and not request:
                state = HostState.DISABLED  # the admin said something: until it is clear what, the careful reading
            overcommit = request.record.overcommit if request else Overcommit()
            if status:
                ssd, hdd = status.record.ssd, status.record.hdd
                self._ledger.set_stores(name, ssd.store_id if ssd else None, hdd.store_id if hdd else None)
            host = _host(name, state, is_alive, status.record if status else None, overcommit)
            self._hosts[name] = self._with_use(host)
        else:
            self._hosts.pop(name, None)
        if self._hosts.get(name) != before:
            self._look_at_waiting()


def _host(name: str, state: HostState, is_alive: bool, status: HostStatus | None, overcommit: Overcommit) -> Host:
    if status is None:
        return Host(name, state, is_alive)
    return Host(
        name,
        state,
        is_alive,
        is_registered=True,
        cpu=int(status.cpu * overcommit.cpu),
        ram_mib=int(status.ram_mib * overcommit.ram),
        ssd=_disk(status.ssd, overcommit),
        hdd=_disk(status.hdd, overcommit),
    )


def _disk(capacity: StoreCapacity | None, overcommit: Overcommit) -> Disk | None:
    return Disk(capacity.store_id, int(capacity.total_mib * overcommit.disk)) if capacity else None


def _with(values: Mapping[str, T], name: str, value: T | None) -> dict[str, T]:
    """A copy of `values` with `value` at `name`; None removes it."""
    rest = {other: kept for other, kept in values.items() if other != name}
    return rest if value is None else {**rest, name: value}

"""The scheduler's picture of the cloud, kept current from its caches hint by hint.

An event costs what it touches: one VM's view, one host's sums. Belongs to one thread; the caches' threads only hint.
It never writes to etcd.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from common import keys
from common.cache import Cache, Cached
from common.schemas.host import Alive, HostRequest, HostState, HostStatus
from common.schemas.record import Record
from common.schemas.verdict import Verdict
from common.schemas.vm import Placement, VmRequest
from ucloud_scheduler.due import Due
from ucloud_scheduler.filters import Why
from ucloud_scheduler.inventory import Inventory, host_view
from ucloud_scheduler.lives import is_lost, turn
from ucloud_scheduler.movers import Movers
from ucloud_scheduler.views import BriefStatus, Host, Judged, Placed, Reported, Snapshot, Vm, specs_of

T = TypeVar("T")
R = TypeVar("R", bound=Record)
V = TypeVar("V", Placed, Reported)


@dataclass(frozen=True)
class Caches:
    """All that the scheduler watches."""

    vms: Cache[VmRequest]
    placements: Cache[Placement]
    statuses: Cache[BriefStatus]
    hosts: Cache[HostRequest]
    host_statuses: Cache[HostStatus]
    alive: Cache[Alive]
    verdicts: Cache[Verdict]

    def all(self) -> tuple[Cache[Any], ...]:
        """Each of them."""
        return (
            self.placements,
            self.vms,
            self.statuses,
            self.hosts,
            self.host_statuses,
            self.alive,
            self.verdicts,
        )

    def of(self, key: str) -> Cache[Any] | None:
        """The one that holds `key`."""
        return next((cache for cache in self.all() if key.startswith(cache.prefix)), None)

    def expect(self, key: str, record: Record, value: bytes) -> None:
        """`record` is about to be written; see Cache.expect."""
        if cache := self.of(key):
            cache.expect(key, record, value)

    def expect_nothing(self) -> None:
        """Nothing is about to be written."""
        for cache in (self.placements, self.statuses):
            cache.expect_nothing()


_NO_OWNER = ""
_WAITING = "those that wait"
"""The lane of VMs that wait for room; no owner can be called so."""
_LOST = "those of dead hosts"
"""The lane of VMs that are to go on elsewhere."""


class World:
    """Views of every VM and host, and the VMs that are due to be looked at."""

    def __init__(self, caches: Caches, keeps_spare: bool = False) -> None:
        """`keeps_spare`: see Inventory."""
        self._caches = caches
        self._vms: dict[str, Vm] = {}
        self._inventory = Inventory(keeps_spare)
        self._due = Due(first=_LOST)
        self._waiting: dict[str, Why] = {}
        self._may_have_room = False
        self._movers = Movers()
        self._drained: set[str] = set()
        self._moves_changed = False
        self.changes = 0
        """Counts what was absorbed of hosts and VMs."""
        self._absorbers: dict[str, Callable[[str], Vm | None]] = {
            keys.VM: self._absorb_request,
            keys.PLACEMENT: self._absorb_placement,
            keys.STATUS_VM: self._absorb_status,
            keys.HOST: self._absorb_host,
            keys.STATUS_HOST: self._absorb_host,
            keys.ALIVE: self._absorb_host,
            keys.VERDICT: self._absorb_host,
        }

    def absorb(self, hints: Iterable[str]) -> None:
        """Look at what the caches hold at these keys now. A VM of which there is news is due."""
        for vm in self._absorb(hints):
            self._look_at(vm)

    def absorb_all(self) -> None:
        """Look at all that the caches hold: for the beginning, whoever was told of it."""
        for cache in self._caches.all():
            self.absorb(cache.records())
            self.absorb(cache.malformed)

    def absorb_own(self, written: Iterable[str]) -> None:
        """Look at what was written by a plan: nothing is left to do for its VMs."""
        for _ in self._absorb(written):
            pass

    def _absorb(self, hints: Iterable[str]) -> Iterator[Vm]:
        for key in hints:
            for prefix, absorb in self._absorbers.items():
                if key.startswith(prefix):
                    if vm := absorb(key):
                        yield vm
                    break

    def look_at_all(self) -> None:
        """Every VM is due to be looked at."""
        for vm in self._vms.values():
            self._look_at(vm)

    def look_at(self, vm_uuid: str) -> None:
        """A VM is due to be looked at, if it still exists."""
        if vm := self._vms.get(vm_uuid):
            self._look_at(vm)

    def _look_at(self, vm: Vm) -> None:
        self._due.add(vm.uuid, self._lane(vm))

    def _lane(self, vm: Vm) -> str:
        if vm.placements and is_lost(vm, self._inventory.hosts):
            return _LOST
        return vm.request.owner if vm.request else _NO_OWNER

    @property
    def has_due(self) -> bool:
        """Whether any VM is due."""
        return len(self._due) > 0 or (self._may_have_room and len(self._waiting) > 0)

    @property
    def waiting(self) -> Counter[Why]:
        """How many VMs wait, by what they wait for."""
        return Counter(self._waiting.copy().values())

    @property
    def vms(self) -> Iterable[Vm]:
        """Every VM's view; a copy, for any thread."""
        return self._vms.copy().values()

    @property
    def inventory(self) -> Inventory:
        """The hosts."""
        return self._inventory

    @property
    def movers(self) -> Movers:
        """The VMs that move, or are wished to."""
        return self._movers

    def views(self, vm_uuids: Iterable[str]) -> list[Vm]:
        """The views of these VMs, as far as they exist."""
        return [vm for vm_uuid in vm_uuids if (vm := self._vms.get(vm_uuid))]

    def vms_on(self, host: str) -> list[Vm]:
        """The views of the VMs that are placed on a host."""
        return self.views(self._inventory.ledger.vms_on(host))

    def is_drained(self, host: str) -> bool:
        """Whether a host is to become empty."""
        return host in self._drained

    @property
    def has_moves_changed(self) -> bool:
        """Whether anything changed since `take_moves_changed` that decides on what begins to move."""
        return self._moves_changed

    def take_moves_changed(self) -> bool:
        """The same; from now on only what comes later counts."""
        changed, self._moves_changed = self._moves_changed, False
        return changed

    def forget_due(self) -> None:
        """Nothing is due: another instance looks at the VMs. `look_at_all` makes them due when this one has to."""
        self._due.clear()
        self._waiting.clear()

    def take_due(self, limit: int) -> Snapshot:
        """What is needed for a plan for up to `limit` VMs that are due; they are due no more."""
        if self._may_have_room and not self._due.has(_WAITING):
            self._may_have_room = False
            self._look_at_waiting()
        vms = tuple(self._vms[vm_uuid] for vm_uuid in self._due.take(limit))
        return self._inventory.snapshot(vms)

    def set_waiting(self, planned: Iterable[Vm], waiting: Mapping[str, Why]) -> None:
        """Of the VMs that were `planned`, those in `waiting` are to be looked at again when there may be more room."""
        for vm in planned:
            self._waiting.pop(vm.uuid, None)
        self._waiting.update(waiting)

    def _look_at_waiting(self) -> None:
        """Those that wait are due, in their turn, in a lane of their own: however many, new VMs don't wait."""
        self._line_up(vm_uuid for vm_uuid in self._waiting if vm_uuid not in self._due)

    def _line_up(self, vm_uuids: Iterable[str]) -> None:
        hosts = self._inventory.hosts
        vms = [vm for vm_uuid in vm_uuids if (vm := self._vms.get(vm_uuid))]
        turns = [(turn(vm, vm.request, hosts), vm) for vm in vms if vm.request]
        for (is_new, *_), vm in sorted(turns, key=lambda each: each[0]):
            self._due.add(vm.uuid, _WAITING if is_new else _LOST)

    def _set(self, vm: Vm) -> Vm | None:
        """Keep a VM's view, and return it, unless nothing at all is left of the VM."""
        self.changes += 1
        is_leaving = bool(self._drained) and not self._drained.isdisjoint(vm.placements)
        if self._movers.follow(vm) or is_leaving:
            self._moves_changed = True
        if vm.request or vm.is_malformed or vm.placements or vm.statuses or vm.pending:
            self._vms[vm.uuid] = vm
            return vm
        self._vms.pop(vm.uuid, None)
        self._due.discard(vm.uuid)
        self._waiting.pop(vm.uuid, None)
        return None

    def _vm(self, vm_uuid: str) -> Vm:
        return self._vms.get(vm_uuid) or Vm(vm_uuid)

    def _absorb_request(self, key: str) -> Vm | None:
        cached, is_malformed = self._caches.vms.look(key)
        before = self._vm(keys.last_part(key))
        request, revision = (cached.record, cached.mod_revision) if cached else (None, 0)
        # A revision alone does not tell: a restored store counts anew.
        if before.request is request and (before.revision, before.is_malformed) == (revision, is_malformed):
            return None
        vm = before._replace(request=request, revision=revision, is_malformed=is_malformed)
        for host, placed in vm.placements.items():
            if placed.record is None:
                self._charge(host, vm)
        return self._set(vm)

    def _absorb_placement(self, key: str) -> Vm | None:
        host, vm_uuid = keys.host_and_vm(key)
        placed = _readable(Placed, *self._caches.placements.look(key))
        vm = self._vm(vm_uuid)
        if _is_same(vm.placements.get(host), placed):
            return None
        vm = vm._replace(placements=_with(vm.placements, host, placed))
        self._charge(host, vm)
        return self._set(vm)

    def _absorb_status(self, key: str) -> Vm | None:
        host, vm_uuid = keys.host_and_vm(key)
        reported = _readable(Reported, *self._caches.statuses.look(key))
        vm = self._vm(vm_uuid)
        if host == keys.NO_HOST:
            # One that can't be read is written anew: nobody else writes it.
            pending = reported.record if reported else None
            return None if pending is vm.pending else self._set(vm._replace(pending=pending))
        if _is_same(vm.statuses.get(host), reported):
            return None
        return self._set(vm._replace(statuses=_with(vm.statuses, host, reported)))

    def _charge(self, host: str, vm: Vm) -> None:
        placed = vm.placements.get(host)
        specs = specs_of(placed, vm.request) if placed else None
        if self._inventory.charge(host, vm.uuid, specs, placed.record if placed else None):
            self._may_have_room = self._moves_changed = True
            self._moves_changed = True

    def _absorb_host(self, key: str) -> Vm | None:
        name = keys.last_part(key)
        request = self._caches.hosts.get(keys.host(name))
        status = self._caches.host_statuses.get(keys.host_status(name))
        is_alive = self._caches.alive.get(keys.alive(name)) is not None
        judged = self._caches.verdicts.get(keys.verdict(name))
        before = self._inventory.hosts.get(name)
        if request or status or is_alive or judged:
            word = request.record if request else HostRequest(name=name)
            if self._caches.hosts.is_malformed(keys.host(name)) and not request:
                # The admin said something: until it is clear what, the careful reading.
                word = word.model_copy(update={"state": HostState.DISABLED})
            verdict = Judged(judged.record.sentence, judged.mod_revision) if judged else None
            is_news = self._inventory.set(host_view(word, is_alive, status.record if status else None, verdict))
        else:
            is_news = self._inventory.remove(name)
        if is_news:
            self._may_have_room = True
        now = self._inventory.hosts.get(name)
        if is_news:
            self.changes += 1
            self._moves_changed = True
        if now and now.state is HostState.DRAINING:
            self._drained.add(name)
        else:
            self._drained.discard(name)
        if _standing(before) != _standing(now):
            self._look_at_host(name)
        return None

    def _look_at_host(self, name: str) -> None:
        """All VMs of a host are due, in their turn."""
        lost_or_found = [vm_uuid for vm_uuid in self._inventory.ledger.vms_on(name) if vm_uuid in self._vms]
        for vm_uuid in lost_or_found:
            self._due.discard(vm_uuid)
        self._line_up(lost_or_found)


def _standing(host: Host | None) -> tuple[bool, bool]:
    """What of a host may matter to all of its VMs: whether it is judged, and dead."""
    return (host is not None and host.verdict is not None, host is not None and host.is_dead)


def _readable(kind: Callable[[R | None, int], V], cached: Cached[R] | None, is_malformed: bool) -> V | None:
    """What a cache holds as a plan sees it: one that can't be read is there, without a record."""
    if is_malformed:
        return kind(None, 0)
    return kind(cached.record, cached.mod_revision) if cached else None


def _is_same(before: Placed | Reported | None, now: Placed | Reported | None) -> bool:
    if before is None or now is None:
        return before is now
    return before.record is now.record and before.revision == now.revision


def _with(values: Mapping[str, T], name: str, value: T | None) -> dict[str, T]:
    """A copy of `values` with `value` at `name`; None removes it."""
    if value is not None and len(values) == 0:
        return {name: value}
    rest = {other: kept for other, kept in values.items() if other != name}
    return rest if value is None else {**rest, name: value}

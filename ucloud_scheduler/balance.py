"""What to move so that hosts become equally full. Pure: no I/O, no clock, no randomness.

A VM moves only to a host that is, with the VM on it, emptier by more than a margin than the VM's host is before. Both
hosts are then less full than the fuller one was: each move makes the fullest hosts less full, so there is no circle and
an end. What is on its way counts where it goes. A VM that moved for this, or that failed to, stays for an hour.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from common.schemas.cloud import PlannedMove
from common.schemas.vm import Actual, Cause, Placement, Role, Specs, VmRequest
from ucloud_scheduler.capacity import Amounts, Capacity
from ucloud_scheduler.departures import shares_any
from ucloud_scheduler.draining import settled
from ucloud_scheduler.filters import Need, Stores, misfit, why_closed
from ucloud_scheduler.groups import Groups
from ucloud_scheduler.views import Host, Snapshot, Vm

STAYS = timedelta(hours=1)
DEFAULT_MARGIN = 0.2
"""What is shown is planned with it where no margin is set."""


@dataclass(frozen=True)
class Aim:
    """How even the cloud is to be (see Rebalance), and how many moves may be planned for that."""

    margin: float
    most: int


def moved_at(placement: Placement) -> datetime | None:
    """When a VM last began to move, or failed to, for the sake of balance; None: not since it was placed here."""
    if placement.tried and placement.tried.cause is Cause.BALANCE:
        return placement.tried.at
    is_for_balance = placement.choice and placement.choice.cause is Cause.BALANCE and placement.role is not Role.LEFT
    return placement.placed_at if is_for_balance else None


def even_out(
    snapshot: Snapshot, vms_on: Callable[[str], Iterable[Vm]], moving: Iterable[Vm], aim: Aim, now: datetime
) -> tuple[PlannedMove, ...]:
    """The moves that would make the cloud more even, in the order in which they are to begin."""
    planner = _Planner(snapshot, vms_on, moving, aim.margin, now)
    moves: list[PlannedMove] = []
    while len(moves) < aim.most and (move := planner.next()):
        moves.append(move)
    return tuple(moves)


class _Movable(NamedTuple):
    vm: Vm
    request: VmRequest
    specs: Specs


def _kind(movable: _Movable) -> tuple[object, ...]:
    """What decides on where a VM may move; those of groups are each of their own kind."""
    request = movable.request
    labels = tuple(sorted(request.host_labels.items()))
    return movable.specs, request.owner, labels, request.affinity and request.uuid


class _Choice(NamedTuple):
    fuller: float
    """How full the fuller one of both hosts is afterwards."""
    vm_uuid: str
    movable: _Movable
    to: str
    amounts: Amounts


class _Planner:
    """Plans one move after the other, each as if those before it were done."""

    def __init__(
        self,
        snapshot: Snapshot,
        vms_on: Callable[[str], Iterable[Vm]],
        moving: Iterable[Vm],
        margin: float,
        now: datetime,
    ) -> None:
        self._hosts = {name: host for name, host in snapshot.hosts.items() if why_closed(host) is None}
        self._vms_on = vms_on
        self._margin = margin
        self._now = now
        self._capacity = Capacity(snapshot.used_mib)
        self._groups = Groups(snapshot.groups)
        self._movable: dict[str, list[_Movable]] = {}
        self._moved: set[str] = set()
        self._more = dict.fromkeys(self._hosts, (0, 0))
        for vm in moving:
            for name, placed in vm.placements.items():
                if placed.record and (placed.record.leaving or placed.record.role is Role.LEFT):
                    self._add(name, placed.record.request.specs, -1)

    def next(self) -> PlannedMove | None:
        """The next move; None when the cloud is as even as it can become."""
        by_load = sorted((self._load(name), name) for name in self._hosts)
        for load, name in reversed(by_load):
            if load - by_load[0][0] <= self._margin:
                return None
            if choice := self._best(name, load, by_load):
                return self._take(name, load, choice)
        return None

    def _load(self, name: str, specs: Specs | None = None, sign: int = 1) -> float:
        """How full a host is, 0 to 1; with `specs` more or less, if they are given."""
        cpu, ram_mib = self._more[name]
        if specs:
            cpu, ram_mib = cpu + sign * specs.cpu, ram_mib + sign * specs.ram_mib
        return self._hosts[name].load(cpu, ram_mib)

    def _add(self, name: str, specs: Specs, sign: int) -> None:
        if name in self._more:
            cpu, ram_mib = self._more[name]
            self._more[name] = (cpu + sign * specs.cpu, ram_mib + sign * specs.ram_mib)

    def _best(self, name: str, load: float, by_load: list[tuple[float, str]]) -> _Choice | None:
        """The VM of a host whose move evens out the most."""
        source, best = self._hosts[name], None
        seen: set[tuple[object, ...]] = set()
        for movable in self._movable_on(source):
            if (kind := _kind(movable)) in seen:
                continue  # what goes for one VM goes for the next that needs the same
            seen.add(kind)
            for other_load, other in by_load:
                if load - other_load <= self._margin:
                    break
                after = self._load(other, movable.specs)
                if load - after <= self._margin:
                    continue
                amounts = self._fitting(movable, source, self._hosts[other])
                if amounts is None:
                    continue
                fuller = max(after, self._load(name, movable.specs, -1))
                choice = _Choice(fuller, movable.vm.uuid, movable, other, amounts)
                best = choice if best is None or choice[:2] < best[:2] else best
                break
        return best

    def _movable_on(self, source: Host) -> list[_Movable]:
        if not source.moves_live:
            return []
        if source.name not in self._movable:
            found = (self._movable_vm(vm, source.name) for vm in self._vms_on(source.name))
            self._movable[source.name] = sorted((each for each in found if each), key=lambda each: each.vm.uuid)
        return [each for each in self._movable[source.name] if each.vm.uuid not in self._moved]

    def _movable_vm(self, vm: Vm, source: str) -> _Movable | None:
        found, reported = settled(vm), vm.statuses.get(source)
        if found is None or found[0] != source or reported is None or reported.record is None:
            return None
        _, order, request = found
        is_on = reported.record.actual in (Actual.RUNNING, Actual.SUSPENDED) and reported.record.epoch == order.epoch
        at = moved_at(order)
        was_tried = order.tried is not None and self._now - order.tried.at < STAYS
        if not is_on or was_tried or (at and self._now - at < STAYS):
            return None
        return _Movable(vm, request, order.request.specs)

    def _fitting(self, movable: _Movable, source: Host, target: Host) -> Amounts | None:
        """What the VM would take of a host that suits it and has room for it; else None."""
        amounts = Amounts.all_of(movable.specs)
        stores = Stores.of(source, movable.specs.hdd_mib)
        if stores.are_on(target):
            amounts = amounts._replace(ssd_mib=0, hdd_mib=0)
        elif shares_any(source, target):
            return None
        need = Need(movable.request, amounts, leaves=source.name)
        if not target.moves_live or misfit(need, target):
            return None
        if movable.request.affinity and self._groups.misfit(movable.request, target.name, source.name):
            return None
        return None if self._capacity.lack(target, amounts) else amounts

    def _take(self, source: str, load: float, choice: _Choice) -> PlannedMove:
        vm, specs, to = choice.movable.vm, choice.movable.specs, choice.to
        self._capacity.take(self._hosts[to], choice.amounts)
        self._groups.join(choice.movable.request, to)
        self._add(source, specs, -1)
        self._add(to, specs, 1)
        self._moved.add(vm.uuid)
        why = f"host {source} is {load:.0%} full, {to} would be {self._load(to):.0%}"
        return PlannedMove(vm=vm.uuid, source=source, to=to, why=why)


def left_this_hour(moved: Mapping[str, datetime], per_hour: int, now: datetime) -> int:
    """How many moves may begin, where VMs last moved for balance at these times."""
    return max(0, per_hour - sum(now - at < STAYS for at in moved.values()))

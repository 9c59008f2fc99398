"""Decides what is to be written for the VMs of a snapshot. Pure: no I/O, no clock, no randomness.

The same snapshot gives the same plan. VMs are served in the order of their creation; one that can't be placed is in
nobody's way. Nor is growth without room in the way of what else is requested of the same VM: its placement takes the
newer request with the specs that it holds, and is resized when there is room.
"""

from collections.abc import Iterator
from datetime import datetime

from common.schemas.vm import Actual, Placement, Requested, Role, Specs, VmRequest
from ucloud_scheduler.capacity import Amounts, Capacity
from ucloud_scheduler.filters import Refusal, Why
from ucloud_scheduler.lives import is_gone, next_epoch
from ucloud_scheduler.ranking import Ranking
from ucloud_scheduler.views import BriefStatus, Host, Snapshot, Vm
from ucloud_scheduler.writes import Clear, Place, Plan, Release, Report, Update, Write


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """What to write for the VMs of `snapshot`, at `now`."""
    return _Planner(snapshot, now).plan()


class _Planner:
    """One plan in the making."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self._snapshot = snapshot
        self._now = now
        self._capacity = Capacity(snapshot.used_mib)
        self._ranking: Ranking | None = None
        self._waiting: dict[str, Why] = {}
        self._oddities: list[str] = []

    def plan(self) -> Plan:
        writes: list[Write] = []
        with_request: list[tuple[datetime, str, Vm, VmRequest]] = []
        for vm in self._snapshot.vms:
            if vm.is_malformed:
                continue  # not to be told from a request for something else: everything stays as it is
            if vm.request is None:
                writes += self._without_request(vm)
            else:
                with_request.append((vm.request.created_at, vm.uuid, vm, vm.request))
        for _, _, vm, request in sorted(with_request, key=lambda each: each[:2]):
            writes += self._placed(vm, request) if vm.placements else self._unplaced(vm, request)
        return Plan(tuple(writes), self._waiting, tuple(self._oddities))

    def _without_request(self, vm: Vm) -> Iterator[Write]:
        if vm.placements:
            # A backup was restored, or somebody wrote by hand: the disk may be the only copy, so nothing is removed.
            self._oddities.append(f"VM {vm.uuid} has no request but is placed on {_hosts(vm)}: left alone")
        elif vm.pending:
            yield Clear(vm)

    def _unplaced(self, vm: Vm, request: VmRequest) -> Iterator[Write]:
        if strays := _strays(vm):
            yield from self._report(vm, request, strays)
            return
        if request.requested is Requested.DELETED:
            yield Release(vm, request)
            return
        if self._ranking is None:
            self._ranking = Ranking(self._snapshot, self._capacity)
        host = self._ranking.choose(request.specs)
        if isinstance(host, Refusal):
            yield from self._report(vm, request, host)
            return
        placement = Placement(
            epoch=next_epoch(vm),
            role=Role.RUN,
            generation=request.generation,
            request=request,
            placed_at=self._now,
        )
        yield Place(vm, host.name, placement)

    def _placed(self, vm: Vm, request: VmRequest) -> Iterator[Write]:
        running = [
            host for host, placed in vm.placements.items() if not placed.record or placed.record.role is Role.RUN
        ]
        if len(running) > 1:
            self._oddities.append(f"VM {vm.uuid} is placed more than once, on {_hosts(vm)}: left alone")
        if request.requested is Requested.DELETED and all(is_gone(vm, host) for host in vm.placements):
            strays = _strays(vm)
            yield from self._report(vm, request, strays) if strays else [Release(vm, request)]
            return
        obstacle: Refusal | None = None
        for host, placed in sorted(vm.placements.items()):
            if placed.record is None or placed.record.generation > request.generation:
                continue
            held = placed.record.request.specs
            specs = held
            if request.specs != held and request.requested is not Requested.DELETED:
                lack = self._resize(host, request.specs, held)
                obstacle = lack or obstacle
                specs = held if lack else request.specs
            if specs != held or placed.record.generation < request.generation:
                ordered = request if specs == request.specs else request.model_copy(update={"specs": specs})
                update = {"generation": request.generation, "request": ordered}
                yield Update(vm, host, placed.record.model_copy(update=update))
        if obstacle:
            yield from self._report(vm, request, obstacle)
        elif vm.pending:
            yield Clear(vm)

    def _resize(self, name: str, specs: Specs, held: Specs) -> Refusal | None:
        """Take what a placed VM grows by; what is in its way if there is no room: it is not resized at all then."""
        host = self._snapshot.hosts.get(name) or Host(name)
        wanted = Amounts.growth(specs, held)
        if lack := self._capacity.lack(host, wanted):
            growth = lack.resource.of(specs) - lack.resource.of(held)
            reason = f"host {name} has not another {lack.resource.describe(growth)} free"
            return Refusal(Why.NO_ROOM_TO_GROW, reason)
        self._capacity.take(host, wanted)
        return None

    def _report(self, vm: Vm, request: VmRequest, refusal: Refusal) -> Iterator[Write]:
        self._waiting[vm.uuid] = refusal.why
        known, reason, generation = vm.pending, refusal.reason, request.generation
        if known and (known.reason, known.generation) == (reason, generation):
            return
        since = known.since if known else self._now
        yield Report(vm, BriefStatus(epoch=0, generation=generation, actual=Actual.PENDING, reason=reason, since=since))


def _strays(vm: Vm) -> Refusal | None:
    """What to wait for where hosts still report a VM that is not placed there, or not readably.

    Its placement was taken away by somebody else; the disk may still be in use.
    """
    if not vm.statuses:
        return None
    hosts = sorted(host for host in vm.statuses if host not in vm.placements and not is_gone(vm, host))
    return Refusal(Why.STILL_THERE, f"waiting until it is gone from host {', '.join(hosts)}") if hosts else None


def _hosts(vm: Vm) -> str:
    return ", ".join(sorted(vm.placements))

"""Decides what is to be written for the VMs of a snapshot. Pure: no I/O, no clock, no randomness.

The same snapshot gives the same plan. VMs of dead hosts are served first, then those of a higher priority, then the
older ones; one that can't be placed is in nobody's way. Nor is growth without room in the way of what else is requested
of the same VM: its placement takes the newer request with the specs that it holds, and is resized when there is room.
"""

from collections.abc import Iterator
from datetime import datetime

from common.schemas.vm import Actual, Cause, Choice, Placement, Requested, Role, Specs, VmRequest
from ucloud_scheduler.capacity import NOTHING, Amounts, Capacity
from ucloud_scheduler.filters import Need, Refusal, Stores, Why
from ucloud_scheduler.lives import handed_on, is_gone, is_guarded, next_epoch, turn
from ucloud_scheduler.moves import is_moving, step
from ucloud_scheduler.ranking import Chosen, Ranking
from ucloud_scheduler.views import BriefStatus, Host, Snapshot, Vm
from ucloud_scheduler.writes import Clear, Evacuate, Place, Plan, Release, Report, Update, Write


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
        with_request: list[tuple[Vm, VmRequest]] = []
        hosts = self._snapshot.hosts
        for vm in self._snapshot.vms:
            if vm.is_malformed:
                continue  # not to be told from a request for something else: everything stays as it is
            if vm.request is None:
                writes += self._without_request(vm)
            else:
                with_request.append((vm, vm.request))
        for vm, request in sorted(with_request, key=lambda each: turn(each[0], each[1], hosts)):
            if not vm.placements:
                writes += self._unplaced(vm, request)
            elif is_moving(vm):
                writes += [move] if (move := step(vm, request, hosts, self._now)) else []
            else:
                writes += self._placed(vm, request)
        return Plan(tuple(writes), self._waiting, tuple(self._oddities))

    def _without_request(self, vm: Vm) -> Iterator[Write]:
        if vm.placements:
            # A backup was restored, or somebody wrote by hand: the disk may be the only copy, so nothing is removed.
            self._oddities.append(f"VM {vm.uuid} has no request but is placed on {_hosts(vm)}: left alone")
        elif vm.pending:
            yield Clear(vm)

    def _unplaced(self, vm: Vm, request: VmRequest) -> Iterator[Write]:
        if vm.statuses:
            if strays := self._strays(vm, request):
                yield from self._report(vm, request, strays)
                return
            if home := self._lost_home(vm, request):
                yield from self._evacuated(vm, request, home)
                return
        if request.requested is Requested.DELETED:
            yield Release(vm, request)
            return
        found = self._choose(Need(request, Amounts.all_of(request.specs)))
        if isinstance(found, Refusal):
            yield from self._report(vm, request, found)
            return
        yield Place(vm, found.host.name, self._order(vm, request, found, Cause.NEW))

    def _choose(self, need: Need) -> Chosen | Refusal:
        if self._ranking is None:
            self._ranking = Ranking(self._snapshot, self._capacity)
        return self._ranking.choose(need)

    def _order(self, vm: Vm, request: VmRequest, found: Chosen, cause: Cause) -> Placement:
        """A new life of a VM."""
        moved = vm.placements and [placed.record.moved for placed in vm.placements.values() if placed.record]
        return Placement(
            epoch=next_epoch(vm),
            role=Role.RUN,
            generation=request.generation,
            request=request,
            placed_at=self._now,
            choice=Choice(cause=cause, hosts=len(self._snapshot.hosts), refused=found.refused, scores=found.scores),
            moved=max(moved) if moved else 0,
        )

    def _lost_home(self, vm: Vm, request: VmRequest) -> Host | None:
        """The dead host from which a VM is to be taken away; the disks are where that one has them.

        What is to be deleted runs nowhere any more, so it does not matter whether it was an HA VM.
        """
        is_doomed = request.requested is Requested.DELETED
        if not is_doomed and not request.ha:
            return None
        if not vm.placements:
            # Its placement was taken away by somebody else. No other host reports it, or it would wait for that.
            names = [host for host in vm.statuses if not is_gone(vm, host)]
            return self._snapshot.hosts[min(names)] if names else None
        if len(vm.placements) > 1:
            return None
        ((name, placed),) = vm.placements.items()
        host, order = self._snapshot.hosts.get(name), placed.record
        if host is None or not host.is_dead or order is None or order.role is not Role.RUN or order.leaving:
            return None
        return host if is_doomed or is_guarded(vm, name) else None

    def _evacuated(self, vm: Vm, request: VmRequest, home: Host) -> Iterator[Write]:
        """A VM whose host is dead goes on where its disks are, too."""
        placed = vm.placements.get(home.name)
        held = placed.record.request.specs if placed and placed.record else request.specs
        if request.requested is Requested.DELETED:
            request = request.model_copy(update={"specs": held})
        # Where there is no room for what it is to grow by, it goes on as it was.
        as_it_was = request.model_copy(update={"specs": held})
        ordered, found = request, self._choose(_elsewhere(request, held, home))
        if isinstance(found, Refusal) and request.specs != held:
            ordered, found = as_it_was, self._choose(_elsewhere(as_it_was, held, home))
            self._waiting[vm.uuid] = Why.NO_ROOM_TO_GROW
        if isinstance(found, Refusal):
            stores, hosts = Stores.of(home, held.hdd_mib), self._snapshot.hosts.values()
            has_heirs = any(stores.are_on(host) for host in hosts if host is not home)
            reason = found.reason if has_heirs else "no other host has its disk"
            yield from self._report(vm, request, Refusal(found.why, f"its host {home.name} is dead, and {reason}"))
            return
        known = self._snapshot.hosts
        names = [name for name in {*vm.placements, *vm.statuses} if name in known and known[name].is_dead]
        dead = {name: verdict for name in sorted(names) if (verdict := known[name].verdict)}
        yield Evacuate(vm, found.host.name, self._order(vm, ordered, found, Cause.DEAD), dead)

    def _placed(self, vm: Vm, request: VmRequest) -> Iterator[Write]:
        running = [
            host for host, placed in vm.placements.items() if not placed.record or placed.record.role is Role.RUN
        ]
        if len(running) > 1:
            self._oddities.append(f"VM {vm.uuid} is placed more than once, on {_hosts(vm)}: left alone")
        if request.requested is Requested.DELETED and all(is_gone(vm, host) for host in vm.placements):
            strays = self._strays(vm, request)
            yield from self._report(vm, request, strays) if strays else [Release(vm, request)]
            return
        if home := self._lost_home(vm, request):
            strays = self._strays(vm, request)
            yield from self._report(vm, request, strays) if strays else self._evacuated(vm, request, home)
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
                yield Update(vm, host, handed_on(placed.record, request, specs))
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

    def _strays(self, vm: Vm, request: VmRequest) -> Refusal | None:
        """What to wait for where hosts still report a VM that is not placed there, or not readably.

        Its placement was taken away by somebody else; the disk may still be in use, if not by an HA VM on a dead host.
        """
        hosts = [host for host in vm.statuses if host not in vm.placements and not is_gone(vm, host)]
        if request.ha or request.requested is Requested.DELETED:
            known = self._snapshot.hosts
            hosts = [host for host in hosts if host not in known or not known[host].is_dead]
        told = ", ".join(sorted(hosts))
        return Refusal(Why.STILL_THERE, f"waiting until it is gone from host {told}") if hosts else None

    def _report(self, vm: Vm, request: VmRequest, refusal: Refusal) -> Iterator[Write]:
        self._waiting[vm.uuid] = refusal.why
        known, reason, generation = vm.pending, refusal.reason, request.generation
        if known and (known.reason, known.generation) == (reason, generation):
            return
        since = known.since if known else self._now
        yield Report(vm, BriefStatus(epoch=0, generation=generation, actual=Actual.PENDING, reason=reason, since=since))


def _elsewhere(request: VmRequest, held: Specs, home: Host) -> Need:
    """What a VM with the specs `held` needs of another host, with which it shares the stores of its `home`."""
    growth = Amounts.growth(request.specs, held)
    amounts = growth._replace(cpu=request.specs.cpu, ram_mib=request.specs.ram_mib)
    # What is to be deleted there never runs, so it finds room wherever the disk is.
    is_doomed = request.requested is Requested.DELETED
    return Need(request, NOTHING if is_doomed else amounts, home.name, Stores.of(home, held.hdd_mib))


def _hosts(vm: Vm) -> str:
    return ", ".join(sorted(vm.placements))

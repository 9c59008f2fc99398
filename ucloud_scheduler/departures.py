"""How a VM begins to move: which way, to which host, and whether it is its turn. Pure: no I/O, no clock, no randomness.

Ways, the better ones first: the guest goes on running and its disks stay in a store that both hosts have; it goes on
running and its disks are copied; it is off (or shut down, where somebody said so) and started from the shared store.
What is off on a store of its own host's has no way: nobody would copy it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from common.schemas.vm import Actual, Cause, Choice, Leaving, Placement, Role, VmRequest
from ucloud_scheduler.capacity import Amounts, Capacity
from ucloud_scheduler.filters import Need, Refusal, Stores, Why
from ucloud_scheduler.lives import is_gone, next_epoch
from ucloud_scheduler.moves import wish_number
from ucloud_scheduler.ranking import Chosen, Ranking
from ucloud_scheduler.views import BriefStatus, Host, Snapshot, Vm
from ucloud_scheduler.writes import Move

_ON = (Actual.RUNNING, Actual.SUSPENDED)
_OFF = (Actual.STOPPED, Actual.KILLED, Actual.ERROR)


@dataclass(frozen=True)
class Limits:
    """How many VMs may be on their way from a host or to one, and in all."""

    per_host: int
    at_once: int


@dataclass
class Traffic:
    """How many VMs are on their way, by the host that they leave, and by the one that they come to."""

    leaving: Counter[str] = field(default_factory=Counter)
    coming: Counter[str] = field(default_factory=Counter)

    def add(self, source: str, to: str) -> None:
        """One more."""
        self.leaving[source] += 1
        self.coming[to] += 1

    @classmethod
    def of(cls, vms: Iterable[Vm]) -> "Traffic":
        """That of the VMs that have not left their sources yet."""
        traffic = cls()
        for vm in vms:
            for source, placed in vm.placements.items():
                if placed.record and placed.record.leaving and placed.record.role is Role.RUN:
                    traffic.add(source, placed.record.leaving.to)
        return traffic


@dataclass(frozen=True)
class Waits:
    """A VM can't begin to move yet; nothing is wrong."""

    reason: str


@dataclass(frozen=True)
class Stuck:
    """A VM can't move, as things are."""

    reason: str


class Departure(NamedTuple):
    """A VM that is to move, and where it is until now."""

    vm: Vm
    request: VmRequest
    source: str
    order: Placement
    cause: Cause
    to: str | None = None
    """The only host that will do."""
    cold: bool = False
    """A guest that runs may be shut down for it."""
    only_cold: bool = False
    """It is to be."""

    @property
    def status(self) -> BriefStatus | None:
        """What the source says of the VM, if it speaks of its present life and of what is wanted now."""
        reported = self.vm.statuses.get(self.source)
        status = reported.record if reported else None
        is_current = status and (status.epoch, status.generation) == (self.order.epoch, self.order.generation)
        return status if is_current else None


class _Way(NamedTuple):
    live: bool
    copies_disks: bool


HAS_SNAPSHOTS = "it has snapshots, which a copy of its disks would not have"


class Departures:
    """Begins moves, and counts on top of the snapshot what that takes of hosts and limits."""

    def __init__(self, snapshot: Snapshot, traffic: Traffic, limits: Limits, now: datetime) -> None:
        self._snapshot = snapshot
        self._hosts = snapshot.hosts
        self._traffic = traffic
        self._limits = limits
        self._now = now
        self._ranking = Ranking(snapshot, Capacity(snapshot.used_mib))

    def begin(self, departure: Departure) -> Move | Waits | Stuck:
        """The first write of a move, or why there is none."""
        if reason := self._why_not_yet(departure):
            return Waits(reason)
        source = self._hosts.get(departure.source)
        if source is None or source.verdict or not source.is_alive:
            return Stuck(f"host {departure.source} is {'dead' if source and source.is_dead else 'silent'}")
        is_on = departure.status is not None and departure.status.actual in _ON
        refusals = []
        for way in _ways(departure, source, is_on):
            if way.copies_disks and departure.request.snapshots:
                refusals.append(Refusal(Why.NO_MATCH, HAS_SNAPSHOTS))
                continue
            need, is_busy = self._need(departure, source, way)
            chosen = self._ranking.choose(need)
            if isinstance(chosen, Chosen):
                self._traffic.add(source.name, chosen.host.name)
                return self._move(departure, way, chosen)
            if is_busy:
                return Waits("the hosts that would do are busy with other moves")
            refusals.append(chosen)
        return Stuck(self._why_stuck(departure, source, is_on, refusals))

    def _why_stuck(self, departure: Departure, source: Host, is_on: bool, refusals: list[Refusal]) -> str:
        """Why no way was open, in the words of the one that came nearest."""
        stores = Stores.of(source, departure.order.request.specs.hdd_mib)
        is_shared = any(stores.are_on(host) for host in self._hosts.values() if host is not source)
        if short := [refusal for refusal in refusals if refusal.why is Why.NO_ROOM]:
            return _reason(short[0], is_on)
        reason = f"it runs, and host {source.name} can't send guests that run"
        if refusals:
            reason = _reason(refusals[0 if is_shared else -1], is_on)
        is_cold_possible = is_on and not departure.cold and is_shared
        return f"{reason}; it would have to be shut down for it" if is_cold_possible else reason

    def _why_not_yet(self, departure: Departure) -> str:
        vm, source = departure.vm, departure.source
        if self._traffic.leaving[source] >= self._limits.per_host:
            return f"{self._limits.per_host} VMs at a time leave host {source}"
        if self._traffic.leaving.total() >= self._limits.at_once:
            return f"{self._limits.at_once} VMs at a time move"
        if strays := sorted(host for host in vm.statuses if host != source and not is_gone(vm, host)):
            return f"something of it is still on host {', '.join(strays)}"
        if departure.status is None or departure.status.actual not in _ON + _OFF:
            return f"host {source} is busy with it"
        return ""

    def _need(self, departure: Departure, source: Host, way: _Way) -> tuple[Need, bool]:
        """What the VM needs of a host to come there by a way; and whether only other moves keep hosts from it."""
        specs = departure.order.request.specs
        barred, is_busy = {}, False
        for name, host in self._hosts.items():
            if departure.to not in (None, name):
                barred[name] = "not asked for"
            elif way.live and not host.moves_live:
                barred[name] = "without live moves"
            elif way.copies_disks and shares_any(source, host):
                barred[name] = "with one of its stores"
            elif self._traffic.coming[name] >= self._limits.per_host:
                barred[name] = "busy with other moves"
                is_busy = is_busy or name != source.name
        amounts = Amounts.all_of(specs)
        if not way.copies_disks:
            amounts = amounts._replace(ssd_mib=0, hdd_mib=0)  # they stay where they are
        stores = None if way.copies_disks else Stores.of(source, specs.hdd_mib)
        need = Need(departure.request, amounts, leaves=source.name, stores=stores, barred=barred)
        return need, is_busy

    def _move(self, departure: Departure, way: _Way, chosen: Chosen) -> Move:
        vm, order, to = departure.vm, departure.order, chosen.host.name
        epoch = next_epoch(vm)
        wish = wish_number(departure.request) if departure.cause is Cause.ASKED else order.moved
        choice = Choice(
            cause=departure.cause, hosts=len(self._hosts), refused=dict(chosen.refused), scores=chosen.scores
        )
        incoming = Placement(
            epoch=epoch,
            role=Role.INCOMING,
            generation=order.generation,
            request=order.request,
            placed_at=self._now,
            choice=choice,
            coming_from=departure.source,
            copies_disks=way.copies_disks,
            moved=wish,
        )
        leaving = Leaving(to=to, epoch=epoch, live=way.live, copies_disks=way.copies_disks)
        leaves = order.model_copy(update={"leaving": leaving, "moved": wish})
        what = f"is to move from {departure.source} to {to} ({departure.cause})"
        return Move(vm, {departure.source: leaves, to: incoming}, what)


_COLD = _Way(live=False, copies_disks=False)


def _ways(departure: Departure, source: Host, is_on: bool) -> list[_Way]:
    ways = []
    if is_on and source.moves_live and not departure.only_cold:
        ways += [_Way(live=True, copies_disks=False), _Way(live=True, copies_disks=True)]
    if not is_on or departure.cold:
        ways.append(_COLD)
    return ways


def _reason(refusal: Refusal, is_on: bool) -> str:
    return refusal.reason if is_on else f"it is off; {refusal.reason}"


def shares_any(one: Host, other: Host) -> bool:
    """Whether two hosts have a store in common: what is copied within one would be written over itself."""
    stores = {disk.store_id for disk in (one.ssd, one.hdd) if disk}
    return any(disk.store_id in stores for disk in (other.ssd, other.hdd) if disk)

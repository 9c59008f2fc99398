"""Begins moves while this instance leads: when something of interest changed, or is to be tried again.

It also says what it is at, for admins (`/v1/status/cloud`): how far drained hosts are, and what would make hosts
equally full. That is written when it has changed, and not more often than each few seconds.
"""

from collections.abc import Iterable
from datetime import datetime

from common import keys
from common.schemas.cloud import CloudStatus, PlannedMove, Rebalance
from common.schemas.vm import Cause
from common.settings import SchedulerSettings
from common.store import Compare, Put, Store
from ucloud_scheduler.balance import DEFAULT_MARGIN, Aim, even_out, left_this_hour
from ucloud_scheduler.departures import Departure, Departures, Limits, Traffic
from ucloud_scheduler.draining import depart, grant, settled
from ucloud_scheduler.views import Snapshot, Vm
from ucloud_scheduler.world import World
from ucloud_scheduler.writes import Move

_LOOK_S = 5.0
"""So often VMs on their way are looked at though nobody tells anything: a host may never get ready."""
_BALANCE_S = 10.0
"""The least time between two looks at the balance."""
_TELL_S = 2.0
"""The least time between two reports."""
_SHOWN = 20
"""So many moves are shown where none is made."""


class Mover:
    """Belongs to the thread of the world. Times without a zone are those of time.monotonic, in seconds."""

    def __init__(self, world: World, settings: SchedulerSettings) -> None:
        self._world = world
        self._limits = Limits(settings.moves_per_host, settings.moves_at_once)
        self._margin = settings.balance_margin
        self._per_hour = settings.balance_moves_per_hour
        self._again_s: float | None = None
        self._balance_s = 0.0
        self._seen = -1
        self._tell_s = 0.0
        self._told: CloudStatus | None = None
        self._status = CloudStatus()

    def begin_term(self) -> None:
        """Nothing that a former leader did or said counts."""
        self._again_s, self._balance_s, self._seen, self._told = 0.0, 0.0, -1, None

    def next_s(self, now_s: float) -> float | None:
        """When to go on without news; None: for ever."""
        times = [self._again_s] if self._again_s is not None else []
        if self._seen != self._world.changes:
            times.append(self._balance_s)
        if self._status != self._told:
            times.append(self._tell_s)
        return max(0.0, min(times) - now_s) if times else None

    def plan(self, now_s: float, now: datetime) -> tuple[Move, ...]:
        """The first writes of the moves that are to begin now."""
        is_due = self._again_s is not None and self._again_s <= now_s
        is_balance_due = self._seen != self._world.changes and self._balance_s <= now_s
        if not (self._world.take_moves_changed() or is_due or is_balance_due):
            return ()
        for vm_uuid in self._world.movers.moving if is_due else ():
            self._world.look_at(vm_uuid)
        snapshot = self._world.inventory.snapshot(())
        moving = self._world.views(self._world.movers.moving)
        departures = Departures(snapshot, Traffic.of(moving), self._limits, now)
        writes = grant(self._world.views(self._world.movers.wishes), departures, now)
        drained = [host.name for host in snapshot.hosts.values() if self._world.is_drained(host.name)]
        departing = depart(
            (snapshot.hosts[name] for name in drained),
            {name: self._world.vms_on(name) for name in drained},
            departures,
            now,
        )
        writes += departing.writes
        rebalance = self._status.rebalance
        if is_balance_due:
            rebalance, begun = self._balance(snapshot, moving, departures, now)
            writes += begun
            # What has to wait for its turn, or for the next hour, is begun though nothing changes.
            has_more = rebalance.is_on and (rebalance.left_this_hour == 0 or len(rebalance.moves) > len(begun))
            self._balance_s, self._seen = now_s + _BALANCE_S, -1 if has_more else self._world.changes
        self._status = CloudStatus(drains=departing.drains, rebalance=rebalance)
        waits_s = [_LOOK_S] if moving or writes else []
        waits_s += [(departing.again_at - now).total_seconds()] if departing.again_at else []
        self._again_s = now_s + min(waits_s) if waits_s else None
        return tuple(writes)

    def _balance(
        self, snapshot: Snapshot, moving: Iterable[Vm], departures: Departures, now: datetime
    ) -> tuple[Rebalance, list[Move]]:
        """What would make hosts equally full, and the first writes for it, as far as they are to be made."""
        is_on = self._margin > 0
        left = left_this_hour(self._world.movers.balanced, self._per_hour, now)
        most = min(left, self._limits.at_once) if is_on else _SHOWN
        aim = Aim(self._margin or DEFAULT_MARGIN, most)
        planned = even_out(snapshot, self._world.vms_on, moving, aim, now)
        begun = self._begin(planned, departures) if is_on else []
        return Rebalance(margin=aim.margin, is_on=is_on, left_this_hour=left, moves=planned), begun

    def _begin(self, planned: Iterable[PlannedMove], departures: Departures) -> list[Move]:
        begun = []
        for move in planned:
            (vm,) = self._world.views([move.vm])
            if found := settled(vm):
                host, order, request = found
                result = departures.begin(Departure(vm, request, host, order, Cause.BALANCE, to=move.to))
                begun += [result] if isinstance(result, Move) else []
        return begun

    def tell(self, store: Store, guard: Compare, now_s: float) -> None:
        """Write down how things are, if that has changed and it is time."""
        if self._status != self._told and self._tell_s <= now_s:
            store.commit([guard], [Put(keys.STATUS_CLOUD, self._status.to_json())])
            self._told, self._tell_s = self._status, now_s + _TELL_S

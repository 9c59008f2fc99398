"""The loop of the scheduler: news, plan, commit; only while this instance is elected.

What a plan rests on is always younger than the election that its writes are fenced by: a new leader first lists the
placements again, so it knows every one that a former leader wrote, and that one can write none afterwards.
"""

import logging
import threading
from datetime import UTC, datetime

from prometheus_client import Counter, Gauge, Histogram

from common.errors import LeadershipLost, StoreError, Unavailable
from common.leader import Election
from common.metrics import Metrics
from common.store import Compare, Store
from ucloud_scheduler.commit import Outcome, commit
from ucloud_scheduler.plan import plan
from ucloud_scheduler.views import Snapshot
from ucloud_scheduler.world import Caches, World
from ucloud_scheduler.writes import Place, Plan

_log = logging.getLogger(__name__)
_VMS_PER_PLAN = 1000
_RETRY_S = 1.0


class Scheduler:
    """One instance of the scheduler, elected or standing by."""

    def __init__(self, store: Store, caches: Caches, election: Election, metrics: Metrics) -> None:
        self._store = store
        self._caches = caches
        self._election = election
        self._world = World(caches)
        self._term: Compare | None = None
        self._hints: set[str] = set()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._oddities: set[str] = set()
        self._problem: str | None = None
        self._pending = Gauge("ucloud_scheduler_pending_vms", "VMs that wait for room", registry=metrics.registry)
        self._placed = Counter("ucloud_scheduler_placements", "Placements written", registry=metrics.registry)
        self._conflicts = Counter("ucloud_scheduler_conflicts", "Writes dropped: outdated", registry=metrics.registry)
        self._plan_seconds = Histogram("ucloud_scheduler_plan_seconds", "Time of one plan", registry=metrics.registry)
        for cache in caches.all():
            cache.subscribe(self._hint)
        election.subscribe(self._news.set)

    def problem(self) -> str | None:
        """What keeps this instance from its work, for /healthz."""
        return self._problem

    def role(self) -> str:
        """Whether this instance is the elected one, for /healthz."""
        return "leading" if self._election.is_leader else "standby"

    def wake(self) -> None:
        """Have the loop look whether it is to stop."""
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """Schedule until `stop`; the body of a thread."""
        for cache in self._caches.all():
            while not cache.wait_synced(_RETRY_S):
                if stop.is_set():
                    return
        again_in_s: float | None = 0.0
        while not stop.is_set():
            self._news.wait(again_in_s)
            self._news.clear()
            self._world.absorb(self._take_hints())
            again_in_s = self._round()

    def _hint(self, key: str) -> None:
        with self._lock:
            self._hints.add(key)
        self._news.set()

    def _take_hints(self) -> set[str]:
        with self._lock:
            hints, self._hints = self._hints, set()
        return hints

    def _round(self) -> float | None:
        """Do what is due, if this instance leads; returns when to go on without news."""
        guard = self._election.guard()
        if guard is None:
            self._world.forget_due()
            self._pending.set(0)
            return None
        try:
            if guard != self._term:
                self._begin_term(guard)
            again_in_s = self._schedule(guard)
        except LeadershipLost:
            self._election.step_down(guard)
            return None
        except (Unavailable, StoreError) as error:
            self._problem = str(error)
            return _RETRY_S
        self._problem = None
        return again_in_s

    def _begin_term(self, guard: Compare) -> None:
        """Learn what the former leader wrote last, and of which requests."""
        self._caches.placements.refresh()
        self._caches.vms.refresh()
        self._world.absorb_all()
        self._term = guard

    def _schedule(self, guard: Compare) -> float | None:
        snapshot = self._world.take_due(_VMS_PER_PLAN)
        if not snapshot.vms:
            return 0.0 if self._world.has_due else None
        with self._plan_seconds.time():
            planned = plan(snapshot, datetime.now(UTC))
        self._tell_oddities(planned)
        outcome = Outcome()
        try:
            commit(self._store, guard, planned.writes, outcome)
        except LeadershipLost:
            raise
        except (Unavailable, StoreError) as error:
            # What was under way may still be carried out, so nothing may be decided anew under the same guard.
            self._election.resign(guard, str(error))
            raise
        finally:
            self._account(snapshot, planned, outcome)
        if self._world.has_due:
            return _RETRY_S if outcome.dropped else 0.0
        return None

    def _account(self, snapshot: Snapshot, planned: Plan, outcome: Outcome) -> None:
        """Enter what was written, so that the next plan counts it."""
        for key, (record, revision) in outcome.written.items():
            if cache := self._caches.of(key):
                cache.note(key, record, revision)
        self._world.absorb(outcome.written)
        for write in outcome.dropped:
            self._world.look_at(write.vm.uuid)
        self._world.set_waiting(snapshot.vms, planned.waiting)
        self._pending.set(self._world.waiting)
        self._conflicts.inc(len(outcome.dropped))
        self._tell_placements(planned, outcome)

    def _tell_placements(self, planned: Plan, outcome: Outcome) -> None:
        dropped = {id(write) for write in outcome.dropped}
        for write in planned.writes:
            if isinstance(write, Place) and id(write) not in dropped:
                self._placed.inc()
                _log.info("VM %s placed on %s, epoch %d", write.vm.uuid, write.host, write.placement.epoch)

    def _tell_oddities(self, planned: Plan) -> None:
        for oddity in planned.oddities:
            if oddity not in self._oddities:
                self._oddities.add(oddity)
                _log.error("%s", oddity)

"""The loop of the scheduler: news, plan, commit; only while this instance is elected.

What a plan rests on is always younger than the election that its writes are fenced by: a new leader first waits until
it has heard of everything up to its election, so it knows every placement that a former leader wrote, and that one can
write none afterwards.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from common.errors import LeadershipLost, StoreError, Unavailable
from common.events import EventLog
from common.leader import Election
from common.settings import SchedulerSettings
from common.store import Compare, Store
from ucloud_scheduler.announcer import Announcer
from ucloud_scheduler.commit import Outcome, commit
from ucloud_scheduler.metrics import SchedulerMetrics
from ucloud_scheduler.mover import Mover
from ucloud_scheduler.plan import plan
from ucloud_scheduler.spare import Spare
from ucloud_scheduler.world import Caches, World
from ucloud_scheduler.writes import Evacuate, Move, Place, Plan, Write

_log = logging.getLogger(__name__)
_MAX_VMS_PER_PLAN = 2000
_MIN_VMS_PER_PLAN = 20
_ROUND_S = 0.2
"""What a round may take: as long a new VM may wait for its turn, however many others are due."""
_RETRY_S = 1.0
_CATCH_UP_S = 1.0
_TOLD_SINGLY = 10


class Scheduler:
    """One instance of the scheduler, elected or standing by."""

    def __init__(
        self,
        store: Store,
        caches: Caches,
        election: Election,
        metrics: SchedulerMetrics,
        settings: SchedulerSettings,
        events: EventLog,
    ) -> None:
        self._store = store
        self._caches = caches
        self._election = election
        self._metrics = metrics
        self._world = World(caches, keeps_spare=settings.n_plus_one == "refuse")
        self._mover = Mover(self._world, settings)
        self._announcer = Announcer(store, events)
        self._term: Compare | None = None
        self._vms_per_plan = _MIN_VMS_PER_PLAN
        self._dropped: dict[str, float] = {}
        self._hints: deque[str] = deque()
        self._news = threading.Event()
        self._oddities: set[str] = set()
        self._problem: str | None = None
        for cache in caches.all():
            cache.subscribe(self._hint)
        election.subscribe(self._news.set)

    @property
    def world(self) -> World:
        """What this instance knows of the cloud."""
        return self._world

    def problem(self) -> str | None:
        """What keeps this instance from its work, for /healthz."""
        return self._problem

    def role(self) -> str:
        """Whether this instance is the elected one, for /healthz."""
        return "leading" if self._election.is_leader else "standby"

    def spare(self) -> str:
        """Whether the loss of any host could be made good, for /healthz."""
        return "; ".join(Spare(dict(self._world.inventory.hosts).values()).shortages()) or "ok"

    def wake(self) -> None:
        """Have the loop look whether it is to stop."""
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """Schedule until `stop`; the body of a thread."""
        for cache in self._caches.all():
            while not cache.wait_synced(_RETRY_S):
                if stop.is_set():
                    return
        self._world.absorb_all()
        again_in_s: float | None = 0.0
        while not stop.is_set():
            self._news.wait(again_in_s)
            self._news.clear()
            self._absorb_hints()
            again_in_s = self._round()

    def _hint(self, key: str) -> None:
        self._hints.append(key)
        if not self._news.is_set():
            self._news.set()

    def _absorb_hints(self) -> None:
        self._world.absorb({self._hints.popleft() for _ in range(len(self._hints))})

    def _round(self) -> float | None:
        """Do what is due, if this instance leads; returns when to go on without news."""
        guard = self._election.guard()
        if guard is None:
            self._world.forget_due()
            return None
        try:
            if guard != self._term:
                self._begin_term(guard)
            self._schedule(guard)
            self._begin_moves(guard)
            if self._announcer.has_news and not self._world.has_due:
                self._announcer.tell(guard)
        except LeadershipLost:
            self._election.step_down(guard)
            return None
        except (Unavailable, StoreError) as error:
            self._problem = str(error)
            return _RETRY_S
        self._problem = None
        return self._pause()

    def _begin_term(self, guard: Compare) -> None:
        """Learn what the former leader wrote last, and of which requests: it can write nothing since the election."""
        for cache in (self._caches.placements, self._caches.vms, self._caches.statuses):
            if not cache.wait_revision(guard.revision, _CATCH_UP_S):
                cache.refresh()
        self._absorb_hints()
        self._world.look_at_all()
        self._dropped.clear()
        self._mover.begin_term()
        self._term = guard

    def _pause(self) -> float | None:
        """For how long there is nothing to do without news; None: for ever."""
        if self._world.has_due or self._world.has_moves_changed or self._announcer.has_news:
            return 0.0
        now_s = time.monotonic()
        pauses = [max(0.0, min(self._dropped.values()) - now_s)] if self._dropped else []
        pause_s = self._mover.next_s(now_s)
        return min(pauses + ([] if pause_s is None else [pause_s]), default=None)

    def _schedule(self, guard: Compare) -> None:
        began = time.monotonic()
        self._look_at_dropped(began)
        snapshot = self._world.take_due(self._vms_per_plan)
        if not snapshot.vms:
            return
        with self._metrics.plan_seconds.time():
            planned = plan(snapshot, datetime.now(UTC))
        self._tell_oddities(planned)
        self._write(guard, planned.writes)
        self._world.set_waiting(snapshot.vms, planned.waiting)
        # As many in the next plan as suit the time; a short one says nothing about that.
        fitting = int(len(snapshot.vms) * _ROUND_S / max(time.monotonic() - began, 0.001))
        if fitting < self._vms_per_plan or len(snapshot.vms) == self._vms_per_plan:
            self._vms_per_plan = max(_MIN_VMS_PER_PLAN, min(fitting, 2 * self._vms_per_plan, _MAX_VMS_PER_PLAN))

    def _begin_moves(self, guard: Compare) -> None:
        now_s = time.monotonic()
        if writes := self._mover.plan(now_s, datetime.now(UTC)):
            self._write(guard, writes)
        self._mover.tell(self._store, guard, now_s)

    def _write(self, guard: Compare, writes: Sequence[Write]) -> None:
        """Carry out writes, and enter what became of them."""
        try:
            for outcome in commit(self._store, guard, writes, self._caches.expect):
                self._account(outcome)
        except LeadershipLost:
            raise
        except (Unavailable, StoreError) as error:
            # What was under way may still be carried out, so nothing may be decided anew under the same guard.
            self._election.resign(guard, str(error))
            raise
        finally:
            self._caches.expect_nothing()

    def _look_at_dropped(self, now_s: float) -> None:
        """What was dropped is looked at again when the news comes of what was changed; or else after a while."""
        for vm_uuid in [vm_uuid for vm_uuid, due_s in self._dropped.items() if due_s <= now_s]:
            del self._dropped[vm_uuid]
            self._world.look_at(vm_uuid)

    def _account(self, outcome: Outcome) -> None:
        """Enter what was written, so that the next plan counts it."""
        for key, (record, revision) in outcome.written.items():
            if cache := self._caches.of(key):
                cache.note(key, record, revision)
        self._world.absorb_own(outcome.written)
        self._announcer.note(outcome.done)
        again_s = time.monotonic() + _RETRY_S
        self._dropped.update({write.vm.uuid: again_s for write in outcome.dropped})
        self._metrics.dropped.inc(len(outcome.dropped))
        evacuated = [write for write in outcome.done if isinstance(write, Evacuate)]
        self._metrics.evacuated.inc(len(evacuated))
        for evacuation in evacuated:
            lost = ", ".join(sorted(evacuation.dead))
            _log.warning("VM %s goes on on %s: %s is dead", evacuation.vm.uuid, evacuation.host, lost)
        for write in outcome.done:
            if isinstance(write, Move):
                self._world.look_at(write.vm.uuid)  # the next step may be possible at once
                if write.what:
                    _log.info("VM %s %s", write.vm.uuid, write.what)
        placed = [write for write in outcome.done if isinstance(write, Place)]
        self._metrics.count(placed, datetime.now(UTC))
        if len(placed) > _TOLD_SINGLY:
            _log.info("%d VMs placed, the first is %s on %s", len(placed), placed[0].vm.uuid, placed[0].host)
            return
        for write in placed:
            _log.info("VM %s placed on %s, epoch %d", write.vm.uuid, write.host, write.placement.epoch)

    def _tell_oddities(self, planned: Plan) -> None:
        for oddity in planned.oddities:
            if oddity not in self._oddities:
                self._oddities.add(oddity)
                _log.error("%s", oddity)

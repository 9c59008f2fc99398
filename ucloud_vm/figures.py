"""What an operator wants to know of the VMs on this host, for Prometheus; all names begin with ucloud_vm_.

They are taken from what is reported, never from what is about to be: a report that etcd did not take is none.
"""

import threading
from collections import Counter as Tally
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.cache import Cache
from common.schemas.vm import Actual, Placement, Requested, VmStatus

_FACT = {
    Requested.RUNNING: Actual.RUNNING,
    Requested.SUSPENDED: Actual.SUSPENDED,
    Requested.STOPPED: Actual.STOPPED,
    Requested.DELETED: Actual.DELETED,
}


def libvirt_call_seconds(registry: CollectorRegistry) -> Histogram:
    """How long libvirt takes for a call, by what it is for."""
    return Histogram(
        "ucloud_vm_libvirt_call_seconds",
        "Time that libvirt took for a call",
        ["call"],
        registry=registry,
        buckets=(0.001, 0.01, 0.1, 0.5, 1, 5, 30),
    )


@dataclass(frozen=True)
class _Seen:
    """What was last seen of a VM."""

    epoch: int
    generation: int
    is_fact: bool
    last_event_at: datetime | None


class VmFigures(Collector):
    """The figures of the VMs whose `placements` and `statuses` are these; made before the caches start."""

    def __init__(
        self,
        registry: CollectorRegistry,
        placements: Cache[Placement],
        statuses: Cache[VmStatus],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._placements = placements
        self._statuses = statuses
        self._now = now
        self._begun_at = now()
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._killed = Counter("ucloud_vm_killed", "Guests that died without being asked to", registry=registry)
        self._fact_seconds = Histogram(
            "ucloud_vm_request_to_fact_seconds",
            "Time from a request to the state that was requested",
            ["requested"],
            registry=registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600),
        )
        registry.register(self)
        statuses.subscribe(self._look)

    def describe(self) -> Iterable[Metric]:
        """See Collector; what there is does not depend on what is in the caches."""
        return [self._vms({})]

    def collect(self) -> Iterable[Metric]:
        """See Collector: the VMs here by their actual state, at this moment."""
        return [self._vms(Tally(cached.record.actual for cached in self._statuses.records().values()))]

    def _vms(self, tally: dict[Actual, int]) -> Metric:
        gauge = GaugeMetricFamily("ucloud_vm_vms", "VMs on this host by their actual state", labels=["actual"])
        for actual in Actual:
            gauge.add_metric([actual], tally.get(actual, 0))
        return gauge

    def _look(self, status_key: str) -> None:
        """A status may be new. Several may have come at once, so deaths are counted by the events."""
        with self._lock:
            self._compare(status_key)

    def _compare(self, status_key: str) -> None:
        cached = self._statuses.get(status_key)
        before = self._seen.pop(status_key, None)
        if cached is None:
            return
        status = cached.record
        since = before.last_event_at if before else None
        news = [event for event in status.events if event.at > (since or self._begun_at)]
        self._killed.inc(sum(event.what.startswith(Actual.KILLED) for event in news))

        name = status_key.removeprefix(self._statuses.prefix)
        placement = self._placements.get(self._placements.prefix + name)
        answers = placement is not None and _is_fact(placement.record, status)
        same = before is not None and (before.epoch, before.generation) == (status.epoch, status.generation)
        was_fact = same and before is not None and before.is_fact
        # What was so before this daemon came is nothing that it has achieved.
        is_news = before is not None or status.since >= self._begun_at
        if placement is not None and answers and not was_fact and is_news:
            self._note_fact(placement.record)
        last_event_at = max([event.at for event in status.events], default=since)
        self._seen[status_key] = _Seen(status.epoch, status.generation, was_fact or answers, last_event_at)

    def _note_fact(self, placement: Placement) -> None:
        """What is requested is so. For a VM that has come from another host it was before, and so it is no news."""
        request = placement.request
        asked_at = request.changed_at or request.created_at
        if placement.epoch == 1 or asked_at > placement.placed_at:
            waited = self._now() - asked_at
            self._fact_seconds.labels(request.requested).observe(max(0.0, waited.total_seconds()))


def _is_fact(placement: Placement, status: VmStatus) -> bool:
    request = placement.request
    is_answer = (status.epoch, status.generation) == (placement.epoch, placement.generation)
    return is_answer and status.actual is _FACT[request.requested] and status.reboots >= request.reboots

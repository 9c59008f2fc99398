"""What Prometheus is told of the VMs on a host, from a real etcd in which the test writes both sides."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from common import keys
from common.cache import Cache
from common.metrics import Metrics
from common.schemas.record import Record
from common.schemas.vm import Actual, Event, Placement, Requested, Specs, VmRequest, VmStatus
from common.store import Delete, Put, Store, unchanged
from devcloud.waiting import wait_for
from ucloud_vm.figures import VmFigures

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
BEGUN = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT = "ucloud_vm_request_to_fact_seconds_count"


class Host:
    """The caches and figures of one host, at a time that the test sets."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.metrics = Metrics()
        self.now = BEGUN
        self.placements = Cache(store, keys.placements("h1"), Placement, self.metrics)
        self.statuses = Cache(store, keys.vm_statuses("h1"), VmStatus, self.metrics)
        VmFigures(self.metrics.registry, self.placements, self.statuses, lambda: self.now)

    def order(
        self,
        requested: Requested,
        generation: int,
        asked_s: float,
        reboots: int = 0,
        placed_s: float = 0,
        epoch: int = 1,
    ) -> None:
        request = VmRequest(
            uuid=VM,
            owner="admin",
            name="web",
            image=VM,
            specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=1),
            requested=requested,
            reboots=reboots,
            generation=generation,
            created_at=BEGUN,
            changed_at=BEGUN + timedelta(seconds=asked_s),
        )
        placed_at = BEGUN + timedelta(seconds=placed_s)
        placement = Placement(epoch=epoch, generation=generation, request=request, placed_at=placed_at)
        self._write(self.placements, keys.placement("h1", VM), placement)

    def report(
        self, actual: Actual, generation: int, at_s: float, *events: Event, reboots: int = 0, epoch: int = 1
    ) -> None:
        self.now = BEGUN + timedelta(seconds=at_s)
        status = VmStatus(
            epoch=epoch, generation=generation, actual=actual, since=self.now, events=events, reboots=reboots
        )
        self._write(self.statuses, keys.vm_status("h1", VM), status)

    def forget(self) -> None:
        key = keys.vm_status("h1", VM)
        entry = self.store.get(key)
        assert entry is not None
        revision = self.store.commit([unchanged(key, entry.mod_revision)], [Delete(key)])
        assert self.statuses.wait_revision(revision, 5)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0

    def vms(self) -> dict[str, float]:
        """The states that VMs are in, each with how many."""
        states = {actual: self.value("ucloud_vm_vms", actual=actual) for actual in Actual}
        return {actual: count for actual, count in states.items() if count}

    def _write(self, cache: "Cache[Placement] | Cache[VmStatus]", key: str, record: Record) -> None:
        entry = self.store.get(key)
        revision = self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, record.to_json())])
        assert cache.wait_revision(revision, 5)


@pytest.fixture
def host(store: Store) -> Iterator[Host]:
    made, stop = Host(store), threading.Event()
    threads = [threading.Thread(target=cache.run, args=(stop,)) for cache in (made.placements, made.statuses)]
    for thread in threads:
        thread.start()
    wait_for("caches", lambda: made.placements.wait_synced(0.1) and made.statuses.wait_synced(0.1), 30)
    yield made
    stop.set()
    for thread in threads:
        thread.join(10)


def test_a_vm_that_comes_from_another_host_is_no_news(host: Host) -> None:
    host.order(Requested.RUNNING, 1, 1, placed_s=500, epoch=2)
    host.report(Actual.MIGRATING, 1, 501, epoch=2)
    host.report(Actual.RUNNING, 1, 505, epoch=2)
    assert host.value(COUNT, requested="RUNNING") == 0
    host.order(Requested.STOPPED, 2, 600, placed_s=500, epoch=2)
    host.report(Actual.STOPPED, 2, 603, epoch=2)
    assert host.value("ucloud_vm_request_to_fact_seconds_sum", requested="STOPPED") == pytest.approx(3)


def test_vms_are_counted_by_their_actual_state(host: Host) -> None:
    assert host.vms() == {}
    host.order(Requested.RUNNING, 1, 0)
    host.report(Actual.STARTING, 1, 1)
    assert host.vms() == {"STARTING": 1}
    host.report(Actual.RUNNING, 1, 2)
    assert host.vms() == {"RUNNING": 1}
    host.forget()
    assert host.vms() == {}


def test_the_time_from_a_request_to_its_fact_is_taken_once(host: Host) -> None:
    host.order(Requested.RUNNING, 1, 1)
    host.report(Actual.DEPLOYING, 1, 2)
    assert host.value(COUNT, requested="RUNNING") == 0
    host.report(Actual.RUNNING, 1, 4)
    host.report(Actual.KILLED, 1, 5)
    host.report(Actual.RUNNING, 1, 6)
    assert host.value(COUNT, requested="RUNNING") == 1
    assert host.value("ucloud_vm_request_to_fact_seconds_sum", requested="RUNNING") == pytest.approx(3)

    host.order(Requested.RUNNING, 2, 10, reboots=1)
    host.report(Actual.RUNNING, 2, 11)
    assert host.value(COUNT, requested="RUNNING") == 1, "it has not been rebooted yet"
    host.report(Actual.RUNNING, 2, 15, reboots=1)
    assert host.value("ucloud_vm_request_to_fact_seconds_sum", requested="RUNNING") == pytest.approx(8)

    host.order(Requested.STOPPED, 3, 20)
    host.report(Actual.STOPPED, 3, 21)
    assert host.value(COUNT, requested="STOPPED") == 1


def test_what_was_so_before_the_daemon_came_is_not_counted(host: Host) -> None:
    host.order(Requested.RUNNING, 1, -900)
    host.report(Actual.RUNNING, 1, -800, Event(at=BEGUN - timedelta(seconds=850), what="KILLED: it died"))
    assert host.value(COUNT, requested="RUNNING") == 0
    assert host.value("ucloud_vm_killed_total") == 0


def test_each_death_is_counted_once_though_it_is_seen_late(host: Host) -> None:
    host.order(Requested.RUNNING, 1, 0)
    deaths = [Event(at=BEGUN + timedelta(seconds=at), what="KILLED: it died") for at in (2, 4, 6)]
    host.report(Actual.RUNNING, 1, 1)
    host.report(Actual.RUNNING, 1, 5, *deaths[:2])
    host.report(Actual.RUNNING, 1, 7, *deaths, Event(at=BEGUN + timedelta(seconds=7), what="RUNNING"))
    assert host.value("ucloud_vm_killed_total") == 3

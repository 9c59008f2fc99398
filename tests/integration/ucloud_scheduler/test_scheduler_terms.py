"""A new leader, or one that does not know what became of its writes, decides nothing on old knowledge."""

import threading
from collections.abc import Callable, Iterator

import pytest

from common import keys
from common.cache import Cache
from common.errors import LeadershipLost
from common.events import EventLog
from common.leader import Election
from common.metrics import Metrics
from common.schemas.host import Alive, HostRequest, HostStatus
from common.schemas.verdict import Verdict
from common.schemas.vm import Placement, VmRequest
from common.settings import SchedulerSettings
from common.store import EtcdOptions, Put, Store, absent
from devcloud.etcd import EtcdCluster
from tests.integration.ucloud_scheduler.cloud import DEADLINE_S, SMALL, Cloud
from ucloud_scheduler.metrics import SchedulerMetrics
from ucloud_scheduler.scheduler import Scheduler
from ucloud_scheduler.views import BriefStatus
from ucloud_scheduler.world import Caches

Run = Callable[[Callable[[threading.Event], None]], threading.Event]


@pytest.fixture
def own_store(etcd: EtcdCluster) -> Iterator[Store]:
    store = Store(EtcdOptions(etcd.endpoints))
    yield store
    store.close()


@pytest.fixture
def run(own_store: Store) -> Iterator[Run]:
    """Runs `body(stop)` in a thread; returns its stop event. All end with the test."""
    running: list[tuple[threading.Thread, threading.Event]] = []

    def start(body: Callable[[threading.Event], None]) -> threading.Event:
        stop = threading.Event()
        thread = threading.Thread(target=body, args=(stop,))
        thread.start()
        running.append((thread, stop))
        return stop

    yield start
    for _, stop in running:
        stop.set()
    for thread, _ in running:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_a_new_leader_knows_the_last_placement_of_the_former(cloud: Cloud, own_store: Store, run: Run) -> None:
    """Its cache of placements has fallen behind; the former leader's last write is in etcd only."""
    metrics = Metrics()
    caches = Caches(
        vms=Cache(own_store, keys.VM, VmRequest, metrics),
        placements=Cache(own_store, keys.PLACEMENT, Placement, metrics),
        statuses=Cache(own_store, keys.STATUS_VM, BriefStatus, metrics),
        hosts=Cache(own_store, keys.HOST, HostRequest, metrics),
        host_statuses=Cache(own_store, keys.STATUS_HOST, HostStatus, metrics),
        alive=Cache(own_store, keys.ALIVE, Alive, metrics),
        verdicts=Cache(own_store, keys.VERDICT, Verdict, metrics),
    )
    stops = {cache.prefix: run(cache.run) for cache in caches.all()}
    for cache in caches.all():
        assert cache.wait_synced(DEADLINE_S)
    stops[keys.PLACEMENT].set()
    cloud.add_host("h1", ram_mib=1024)
    cloud.add_host("h2")
    request = cloud.add_vm()
    theirs = Placement(epoch=1, generation=1, request=request, placed_at=request.created_at)
    cloud.put(keys.placement("h2", request.uuid), theirs.to_json())

    election = Election(own_store, "scheduler", "new", metrics)
    events = EventLog(own_store, keys.SCHEDULER_REPORTER, 3600)
    scheduler = Scheduler(own_store, caches, election, SchedulerMetrics(metrics.registry), SchedulerSettings(), events)
    stop = run(scheduler.run)
    run(election.run)
    later = cloud.add_vm(SMALL)
    cloud.placement(later.uuid)
    assert cloud.placement(request.uuid) == ("h2", theirs)
    stop.set()
    scheduler.wake()


def test_after_a_resignation_no_earlier_write_is_accepted(cloud: Cloud, own_store: Store, run: Run) -> None:
    election = Election(own_store, "scheduler", "only", Metrics())
    changed = threading.Condition()

    def tell() -> None:
        with changed:
            changed.notify_all()

    election.subscribe(tell)
    run(election.run)
    with changed:
        assert changed.wait_for(lambda: election.is_leader, DEADLINE_S)
        before = election.guard()
        assert before is not None
        election.resign(before, "nobody knows what became of a write")
        assert not election.is_leader
        assert changed.wait_for(lambda: election.is_leader, DEADLINE_S)
    assert election.guard() not in (None, before)
    with pytest.raises(LeadershipLost):
        cloud.store.commit([before, absent("/late")], [Put("/late", b"")])
    # It speaks of the earlier term: the present one goes on.
    election.resign(before, "late news")
    assert election.is_leader


def test_a_refresh_beside_a_watch_that_lags_brings_nothing_back(cloud: Cloud, own_store: Store, run: Run) -> None:
    cache = Cache(own_store, keys.HOST, HostRequest, Metrics())
    go_on, stuck = threading.Event(), threading.Event()
    seen: list[tuple[str, bool]] = []
    watcher: list[threading.Thread] = []
    told = threading.Condition()

    def follow(stop: threading.Event) -> None:
        watcher.append(threading.current_thread())
        cache.run(stop)

    def listen(key: str) -> None:
        if threading.current_thread() in watcher:
            stuck.set()
            assert go_on.wait(DEADLINE_S)
            with told:
                seen.append((key, cache.get(keys.host("removed")) is not None))
                told.notify_all()

    cache.subscribe(listen)
    run(follow)
    assert cache.wait_synced(DEADLINE_S)
    for name in ("first", "removed", "last"):
        cloud.put(keys.host(name), HostRequest(name=name).to_json())
    assert stuck.wait(DEADLINE_S)
    cloud.remove(keys.host("removed"))
    cache.refresh()
    assert set(cache.records()) == {keys.host("first"), keys.host("last")}
    go_on.set()
    cloud.put(keys.host("end"), HostRequest(name="end").to_json())
    with told:
        assert told.wait_for(lambda: any(key == keys.host("end") for key, _ in seen), DEADLINE_S)
    assert not any(is_back for _, is_back in seen)

"""How many VMs a second get a durable placement, beside what etcd can write at all, measured in the same run.

A real etcd of one member, a real scheduler with its caches, its election and its commits. The raw number is that of
the same placements written by one client in transactions of the same size, with nothing decided and one compare each.
"""

import tempfile
import threading
import time
import timeit
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from rich.console import Console
from rich.table import Table

from common import keys
from common.cache import Cache
from common.leader import Election
from common.metrics import Metrics
from common.schemas.host import Alive, HostRequest, HostStatus, StoreCapacity
from common.schemas.record import Record
from common.schemas.vm import Placement, Specs, VmRequest, VmStatus
from common.store import EtcdOptions, Put, Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from ucloud_scheduler.plan import plan
from ucloud_scheduler.scheduler import Scheduler
from ucloud_scheduler.views import Disk, Host, Snapshot, Vm
from ucloud_scheduler.world import Caches

HOSTS = 1000
VMS = 10_000
MANY_HOSTS = 10_000
PER_TRANSACTION = 63  # as many placements as fit beside the leader's compare: two compares each, 128 at most
DEADLINE_S = 60.0


def main() -> None:
    """Measure and print. On /var/tmp, which is a disk where /tmp is memory."""
    requests = [_request(number) for number in range(VMS)]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory, EtcdCluster(Path(directory)) as etcd:
        store = Store(EtcdOptions(etcd.endpoints))
        placements = [_placement(request) for request in requests]
        raw_s = _write(store, [(f"/raw/{each.request.uuid}", each) for each in placements])
        _write(store, [(keys.vm(request.uuid), request) for request in requests])
        _write(store, [pair for number in range(HOSTS) for pair in _host(f"h{number:04}")])
        scheduled_s = _schedule(store)
        assert len(store.list(keys.PLACEMENT).entries) == VMS
        store.close()
    one_s, thousand_s = _plan(requests[:1]), _plan(requests[:1000])
    table = Table(title=f"{VMS} placements of {len(placements[0].to_json())} bytes over {HOSTS} hosts")
    for heading in ("", "seconds", "per second", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row(f"raw puts, {PER_TRANSACTION} a transaction", f"{raw_s:.2f}", f"{VMS / raw_s:,.0f}", "1.00")
    table.add_row(
        "scheduled: elected, listed, planned, committed",
        f"{scheduled_s:.2f}",
        f"{VMS / scheduled_s:,.0f}",
        f"{raw_s / scheduled_s:.2f}",
    )
    table.add_row(f"a plan alone: 1 VM over {MANY_HOSTS} hosts", f"{one_s:.4f}", f"{1 / one_s:,.0f}", "")
    table.add_row(
        f"a plan alone: 1000 VMs over {MANY_HOSTS} hosts", f"{thousand_s:.4f}", f"{1000 / thousand_s:,.0f}", ""
    )
    Console().print(table)


def _request(number: int) -> VmRequest:
    return VmRequest(
        uuid=str(UUID(int=number)),
        owner="admin",
        name=f"vm-{number}",
        specs=Specs(cpu=1, ram_mib=1024, ssd_mib=10240),
        image=str(UUID(int=0)),
        created_at=datetime.now(UTC),
    )


def _placement(request: VmRequest) -> Placement:
    return Placement(epoch=1, generation=1, request=request, placed_at=datetime.now(UTC))


def _host(name: str) -> list[tuple[str, Record]]:
    ssd = StoreCapacity(store_id=name, total_mib=10**6)
    status = HostStatus(name=name, cpu=16, ram_mib=65536, ssd=ssd)
    return [(keys.host_status(name), status), (keys.alive(name), Alive(name=name, boot_id="1"))]


def _write(store: Store, records: Sequence[tuple[str, Record]]) -> float:
    """Write records in transactions of the usual size; returns the seconds it took, their JSON included."""
    began = time.perf_counter()
    for start in range(0, len(records), PER_TRANSACTION):
        batch = records[start : start + PER_TRANSACTION]
        store.commit([absent("/never")], [Put(key, record.to_json()) for key, record in batch])
    return time.perf_counter() - began


def _schedule(store: Store) -> float:
    """Run a scheduler until every VM is placed; returns the seconds from its candidacy to its last placement."""
    metrics = Metrics()
    caches = Caches(
        vms=Cache(store, keys.VM, VmRequest, metrics),
        placements=Cache(store, keys.PLACEMENT, Placement, metrics),
        statuses=Cache(store, keys.STATUS_VM, VmStatus, metrics),
        hosts=Cache(store, keys.HOST, HostRequest, metrics),
        host_statuses=Cache(store, keys.STATUS_HOST, HostStatus, metrics),
        alive=Cache(store, keys.ALIVE, Alive, metrics),
    )
    election = Election(store, "scheduler", "bench", metrics)
    scheduler = Scheduler(store, caches, election, metrics)
    stop = threading.Event()
    bodies = [*(cache.run for cache in caches.all()), scheduler.run]
    threads = [threading.Thread(target=body, args=(stop,)) for body in bodies]
    for thread in threads:
        thread.start()
    for cache in caches.all():
        cache.wait_synced(DEADLINE_S)
    began = time.perf_counter()
    elected = threading.Thread(target=election.run, args=(stop,))
    elected.start()
    placed = "ucloud_scheduler_placements_total"
    wait_for("all placed", lambda: metrics.registry.get_sample_value(placed) == VMS, DEADLINE_S, interval_s=0.01)
    took_s = time.perf_counter() - began
    stop.set()
    scheduler.wake()
    for thread in (*threads, elected):
        thread.join(DEADLINE_S)
    return took_s


def _plan(requests: Sequence[VmRequest]) -> float:
    """Seconds that one plan takes, without etcd; the best of five."""
    hosts = {
        name: Host(name, is_alive=True, is_registered=True, cpu=64, ram_mib=65536, ssd=Disk(name, 10**6))
        for name in (f"h{number:05}" for number in range(MANY_HOSTS))
    }
    snapshot = Snapshot(tuple(Vm(request.uuid, request, 1) for request in requests), hosts, {})
    timer = timeit.Timer(lambda: plan(snapshot, datetime.now(UTC)))
    return min(timer.repeat(5, number=1))


if __name__ == "__main__":
    main()

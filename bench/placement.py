"""How many VMs a second get a durable placement, beside what etcd can write at all, measured in the same run.

The program ucloud-scheduler stands by, its caches filled with all hosts and all VMs, until the leader before it
resigns; the seconds until the last placement is in etcd are counted. The raw number is that of the same placements
written by one client in transactions of the same size, with nothing decided and one compare each.
"""

import argparse
import base64
import tempfile
import time
import timeit
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import requests

from bench import records
from bench.process import running
from bench.report import Row, show, spread
from common import keys
from common.schemas.host import Alive, HostStatus, StoreCapacity
from common.schemas.record import Record
from common.schemas.vm import Placement, VmRequest
from common.store import Delete, EtcdOptions, Put, Store, absent, present
from common.store.transaction import prefix_end
from devcloud.errors import DeadlineExceeded
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from ucloud_scheduler.inventory import Inventory
from ucloud_scheduler.plan import plan
from ucloud_scheduler.views import Disk, Host, Vm

OWNERS = 100
PER_TRANSACTION = 63  # as many placements as fit beside the leader's compare: two compares each, 128 at most
READY_S = 120.0
AIMS = {1: "10,000, or 0.70", 3: "6,000, or 0.70"}


def main() -> None:
    """Measure and print. On /var/tmp, which is a disk where /tmp is memory."""
    arguments = _arguments()
    rows, notes, latencies_s = [], [], []
    for members in arguments.members:
        raw, scheduled = [], []
        for _ in range(arguments.rounds):
            raw_s, placed_s, late_s = _round(arguments, members)
            raw.append(arguments.vms / raw_s)
            scheduled.append(placed_s)
            latencies_s.append(late_s)
        etcd = f"etcd of {members}"
        rows.append(Row(f"{etcd}: raw puts, {PER_TRANSACTION} a transaction", raw))
        rows.append(Row(f"{etcd}: elected, planned, committed", scheduled, raw, AIMS.get(members, "")))
    one, thousand = _plan(arguments.hosts, 1), _plan(arguments.hosts, 1000)
    notes.append(f"a VM of another owner, requested meanwhile: planned after {spread(latencies_s, '.2f')} s")
    notes.append(f"a plan alone, of one VM: {1000 * one:.1f} ms; of 1,000 VMs: {1000 * thousand:.1f} ms")
    size = len(_placement(records.request(1, "owner-1")).to_json())
    show(f"{arguments.vms:,} placements of {size} bytes over {arguments.hosts:,} hosts", "a second", rows, notes=notes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--vms", type=int, default=100_000)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 3], help="sizes of the etcd cluster")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="give up placing after so long")
    return parser.parse_args()


def _round(arguments: argparse.Namespace, members: int) -> tuple[float, float, float]:
    """Seconds of the raw puts; placements a second of the scheduler; seconds that one VM waited meanwhile."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        etcd = stack.enter_context(EtcdCluster(directory, members))
        store = Store(EtcdOptions(etcd.endpoints))
        stack.callback(store.close)
        placements = [_placement(request) for request in _requests(arguments.vms)]
        raw_s = _write(store, ((f"/raw/h/{each.request.uuid}", each) for each in placements))
        _write(store, (pair for number in range(arguments.hosts) for pair in _host(f"h{number:05}")))
        _write(store, ((keys.vm(request.uuid), request) for request in _requests(arguments.vms)))
        store.commit([absent(keys.leader("scheduler"))], [Put(keys.leader("scheduler"), b"")])
        port, log = free_port(), directory / "scheduler.log"
        environment = {"UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints), "UCLOUD_HEALTH_PORT": str(port)}
        stack.enter_context(running("ucloud_scheduler", log=log, environment=environment))
        wait_for(f"a standby, see {log}", lambda: _stands_by(port), READY_S)
        return raw_s, *_schedule(store, etcd, arguments)


def _stands_by(port: int) -> bool:
    try:
        report = requests.get(f"http://[::1]:{port}/healthz", timeout=5).json()
    except requests.RequestException:
        return False
    return (report["status"], report.get("role")) == ("ok", "standby")


def _schedule(store: Store, etcd: EtcdCluster, arguments: argparse.Namespace) -> tuple[float, float]:
    """Placements a second from the former leader's resignation on, as far as it came within the limit.

    And the seconds that a VM waited which somebody else requested as soon as the first were placed.
    """
    began = time.monotonic()
    store.commit([present(keys.leader("scheduler"))], [Delete(keys.leader("scheduler"))])
    wait_for("the first", lambda: _count(etcd, keys.PLACEMENT), arguments.limit, interval_s=0.1)
    late = records.request(arguments.vms, "another").model_copy(update={"created_at": datetime.now(UTC)})
    _write(store, [(keys.vm(late.uuid), late)])
    with suppress(DeadlineExceeded):
        wait_for("all", lambda: _count(etcd, keys.PLACEMENT) > arguments.vms, arguments.limit, interval_s=0.5)
    placed_s = _count(etcd, keys.PLACEMENT) / (time.monotonic() - began)
    placed = next(entry for entry in store.list(keys.PLACEMENT).entries if entry.key.endswith(late.uuid))
    late_for = Placement.read(placed.key, placed.value).placed_at - late.created_at
    return placed_s, late_for.total_seconds()


def _count(etcd: EtcdCluster, prefix: str) -> int:
    """How many keys start with `prefix`, by etcd's HTTP gateway. It costs etcd as much as a thousand writes."""
    key, end = (base64.b64encode(raw).decode() for raw in (prefix.encode(), prefix_end(prefix)))
    request = {"key": key, "range_end": end, "count_only": True}
    answer = requests.post(f"{etcd.members[0].client_url}/v3/kv/range", json=request, timeout=10).json()
    return int(answer.get("count", 0))


def _requests(count: int) -> Iterator[VmRequest]:
    return (records.request(number, f"owner-{number % OWNERS}") for number in range(count))


def _placement(request: VmRequest) -> Placement:
    return Placement(epoch=1, generation=1, request=request, placed_at=datetime.now(UTC))


def _host(name: str) -> list[tuple[str, Record]]:
    ssd = StoreCapacity(store_id=name, total_mib=10**6)
    status = HostStatus(name=name, cpu=16, ram_mib=65536, ssd=ssd)
    return [(keys.host_status(name), status), (keys.alive(name), Alive(name=name, boot_id="1"))]


def _write(store: Store, written: Iterable[tuple[str, Record]]) -> float:
    """Write records in transactions of the usual size; returns the seconds it took, their JSON included."""
    rest = iter(written)
    began = time.perf_counter()
    while batch := list(islice(rest, PER_TRANSACTION)):
        store.commit([absent("/never")], [Put(key, record.to_json()) for key, record in batch])
    return time.perf_counter() - began


def _plan(hosts: int, vms: int) -> float:
    """Seconds that one plan takes, without etcd; the best of five."""
    inventory = Inventory()
    for name in (f"h{number:05}" for number in range(hosts)):
        inventory.set(Host(name, is_alive=True, is_registered=True, cpu=64, ram_mib=65536, ssd=Disk(name, 10**6)))
    snapshot = inventory.snapshot(tuple(Vm(request.uuid, request, 1) for request in _requests(vms)))
    timer = timeit.Timer(lambda: plan(snapshot, datetime.now(UTC)))
    return min(timer.repeat(5, number=1))


if __name__ == "__main__":
    main()

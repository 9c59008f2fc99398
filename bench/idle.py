"""What a cloud of 100 hosts and 5,000 VMs costs while nothing happens, beside the same cloud without VMs.

etcd's operations a second by its own count, and the memory of each daemon. The daemons of the control plane are real,
and those of a few hosts, with VMs of libvirt's test driver; the other hosts are the same classes, many in a process.
`python -m bench.idle [REAL-HOSTS]`.
"""

import statistics
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.table import Table

from bench import etcd_metrics, memory, records
from bench.client import Client, import_image
from bench.process import end_cleanly, running
from bench.report import Row, machine, print_table, show
from common import keys
from common.schemas.host import HostRequest, Overcommit
from common.store import EtcdOptions, Store
from devcloud.cloud import Cloud, Shape
from devcloud.waiting import wait_for

HOSTS = 100
REAL_HOSTS = 8
VMS = 5000
OWNERS = 50
ROUNDS = 2
ROUND_S = 60.0  # as long as the slowest look at the machine takes to come round
AIM_OPERATIONS = 1.0
AIM_MB = 150
_SIMULATING_PROCESSES = 2
_SETTLE_S = 10.0
_DEADLINE_S = 300.0


@dataclass(frozen=True)
class Look:
    """The cloud at rest: what etcd was asked for a second, by kind, in each round; what each process took."""

    operations: Sequence[Mapping[str, float]]
    usages: Mapping[str, memory.Usage]


def main() -> None:
    """Measure and print."""
    end_cleanly()
    real = int(sys.argv[1]) if len(sys.argv) > 1 else REAL_HOSTS
    cloud = Cloud("bench-idle", Shape(hosts=real, hypervisor="test"))
    try:
        cloud.up()
        with ExitStack() as stack:
            store = Store(EtcdOptions(cloud.etcd_endpoints))
            stack.callback(store.close)
            _simulate(stack, cloud, HOSTS - real)
            _wait(store, keys.ALIVE, HOSTS)
            _wait(store, keys.STATUS_HOST, HOSTS)
            image = _import_image(cloud)
            empty = _look(cloud)
            _order_vms(store, real, image)
            _wait(store, keys.STATUS_VM, VMS)
            wait_for("all running", lambda: _running(store) == VMS, _DEADLINE_S, interval_s=1)
            full = _look(cloud)
            on_real = sum(len(store.list(keys.placements(host.name)).entries) for host in cloud.hosts)
    finally:
        cloud.down()
    _show_operations(empty, full)
    _show_memory(empty, full)
    print(
        f"Real: etcd, all daemons of the control plane, the three daemons of {real} hosts with {on_real} VMs of"
        f" libvirt's test driver. Simulated in {_SIMULATING_PROCESSES} processes: {HOSTS - real} hosts,"
        f" {VMS - on_real} VMs."
    )


def _simulate(stack: ExitStack, cloud: Cloud, hosts: int) -> None:
    for part in range(_SIMULATING_PROCESSES):
        first, end = hosts * part // _SIMULATING_PROCESSES, hosts * (part + 1) // _SIMULATING_PROCESSES
        log = cloud.services.log_directory / f"simulated{part}.log"
        arguments = (cloud.etcd_endpoints[0], str(first), str(end - 1))
        stack.enter_context(running("bench.simulated_hosts", *arguments, log=log, environment={}))


def _import_image(cloud: Cloud) -> str:
    file = cloud.data / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "1M"], check=True)
    return import_image(cloud, Client(cloud), file)


def _order_vms(store: Store, real: int, image: str) -> None:
    """Write what the API writes when VMs are created; the scheduler and the hosts do the rest."""
    # Room for a share of the VMs on this machine, as often as it is there.
    overcommit = Overcommit(cpu=64, ram=4, disk=16)
    names = [f"h{number}" for number in range(1, real + 1)]
    records.write(
        store, [records.pair(keys.host(name), HostRequest(name=name, overcommit=overcommit)) for name in names]
    )
    users = [f"user-{number}" for number in range(OWNERS)]
    records.write(store, [each for user in users for each in records.user(user)[1]])
    records.write(
        store,
        [
            each
            for number in range(VMS)
            for each in records.wish(records.request(number, users[number % OWNERS], image))
        ],
    )


def _wait(store: Store, prefix: str, count: int) -> None:
    wait_for(
        f"{count} keys below {prefix}", lambda: len(store.list(prefix).entries) >= count, _DEADLINE_S, interval_s=1
    )


def _running(store: Store) -> int:
    return sum(b'"actual":"RUNNING"' in entry.value for entry in store.list(keys.STATUS_VM).entries)


def _look(cloud: Cloud) -> Look:
    """Let the cloud come to rest, and watch it doing nothing."""
    clock = threading.Event()
    clock.wait(_SETTLE_S)
    url = f"http://{cloud.etcd_endpoints[0]}"
    before = etcd_metrics.read(url)
    started = _usages(cloud)
    rounds = []
    for _ in range(ROUNDS):
        clock.wait(ROUND_S)
        now = etcd_metrics.read(url)
        rounds.append({kind: (now[kind] - before[kind]) / ROUND_S for kind in now})
        before = now
    usages = {
        name: memory.Usage(usage.pss_mb, usage.rss_mb, (usage.cpu_s - started[name].cpu_s) / (ROUNDS * ROUND_S))
        for name, usage in _usages(cloud).items()
    }
    return Look(rounds, usages)


def _usages(cloud: Cloud) -> dict[str, memory.Usage]:
    """What the processes of each program take; of those that run on each host, the largest."""
    found: dict[str, memory.Usage] = {}
    for program in cloud.programs():
        pid = cloud.pid(program)
        for process in (pid, *memory.children(pid)):
            kind = program.partition("@")[0] + ("" if process == pid else " (worker)")
            usage = memory.usage(process)
            if kind not in found or usage.pss_mb > found[kind].pss_mb:
                found[kind] = usage
    return found


def _show_operations(empty: Look, full: Look) -> None:
    def rates(look: Look, *kinds: str) -> list[float]:
        return [sum(each[kind] for kind in kinds) for each in look.operations]

    per_host = [
        [rate / HOSTS for rate in rates(look, etcd_metrics.READS, etcd_metrics.WRITES)] for look in (empty, full)
    ]
    kinds = (etcd_metrics.READS, etcd_metrics.WRITES, etcd_metrics.LEASES, etcd_metrics.PROGRESS)
    show(
        f"What etcd is asked for while nothing happens, {HOSTS} hosts",
        "a second",
        [
            *(
                row
                for kind in kinds
                for row in (
                    Row(f"{kind}, no VMs", rates(empty, kind)),
                    Row(f"{kind}, {VMS:,} VMs", rates(full, kind)),
                )
            ),
            Row("a host, beside its lease and watches, no VMs", per_host[0]),
            Row(f"a host, beside its lease and watches, {VMS:,} VMs", per_host[1], aim=f"< {AIM_OPERATIONS:g}"),
        ],
        form=",.2f",
        notes=[f"{ROUNDS} rounds of {ROUND_S:g} s; what the control plane asks is counted with the hosts"],
    )
    if statistics.median(per_host[1]) >= AIM_OPERATIONS:
        print("MISSED: docs/benchmarks.md says what asks so much")


def _show_memory(empty: Look, full: Look) -> None:
    title = f"What the largest process of each program takes, {VMS:,} VMs and (before) none"
    table = Table(title=title, title_justify="left", caption=machine(), caption_justify="left")
    table.add_column("")
    for heading in ("PSS MB", "before", "ratio", "RSS MB", "before", "CPU %", "before", "aim"):
        table.add_column(heading, justify="right")
    for name, usage in sorted(full.usages.items()):
        before = empty.usages[name]
        table.add_row(
            name,
            f"{usage.pss_mb:.0f}",
            f"{before.pss_mb:.0f}",
            f"{usage.pss_mb / before.pss_mb:.2f}",
            f"{usage.rss_mb:.0f}",
            f"{before.rss_mb:.0f}",
            f"{100 * usage.cpu_s:.1f}",
            f"{100 * before.cpu_s:.1f}",
            f"RSS < {AIM_MB}" if name.startswith("ucloud") else "",
        )
    print_table(table)
    too_large = [name for name, each in full.usages.items() if name.startswith("ucloud") and each.rss_mb >= AIM_MB]
    if too_large:
        print(f"MISSED: {', '.join(too_large)}; docs/benchmarks.md says why")


if __name__ == "__main__":
    main()

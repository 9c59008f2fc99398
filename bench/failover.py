"""How long a VM is away when its host loses power: from the cut to the first serial byte of its guest elsewhere.

`python -m bench.failover [--rounds 20]`. Three hosts in namespaces of one machine, with real guests on the store that
they share. Each round all processes of one host end at once; its power comes back when its VMs run elsewhere. Beside
that stands what a new VM takes to start just before, in the same cloud: a boot is nothing that ucloud can hasten.
"""

import argparse
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench import records
from bench.client import Client, import_image
from bench.process import end_cleanly
from bench.report import machine, print_table
from common import keys
from common.schemas.verdict import Sentence, Verdict
from common.store import Change, EtcdOptions, Store
from devcloud import first_vm, power
from devcloud.cloud import Cloud, Shape
from devcloud.waiting import wait_for

VMS = 3
AIM_S = 10.0
DETECT, FENCE, PLACE, START, ALL, NEW, REST = (
    "detect: until its sign of life is gone",
    "fence: until it is found DEAD",
    "place: until the VM is placed elsewhere",
    "start: until its guest's first serial byte",
    "all of it",
    "a new VM: from its placement to its guest's first serial byte",
    "all of it, less what a new VM takes to start",
)
_LIKE_ALL = {"image": records.IMAGE_NAME, "specs": {"cpu": 1, "ram": "96MiB", "ssd": 1}}
_DEADLINE_S = 180.0
_LOOK_S = 0.005


@dataclass(frozen=True)
class Timeline:
    """What became known of a host's death, and when (seconds of the epoch)."""

    silent_at: float
    dead_at: float
    placed_at: Mapping[str, float]
    """By VM."""


class Watcher:
    """Follows all keys of etcd, until it is closed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._changes: list[tuple[float, Change]] = []
        revision = store.list(keys.ALIVE).revision + 1
        self._thread = threading.Thread(target=self._follow, args=(revision,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch."""
        self._stop.set()
        self._thread.join(10)

    def forget(self) -> None:
        """Begin anew."""
        self._changes = []

    def first_placed_at(self, vm: str) -> tuple[str, float] | None:
        """The host that a new VM was placed on, and when."""
        placements = ((at, change.key) for at, change in list(self._changes) if change.key.startswith(keys.PLACEMENT))
        return next(((keys.host_and_vm(key)[0], at) for at, key in placements if keys.last_part(key) == vm), None)

    def timeline(self, host: str, vms: Sequence[str]) -> Timeline | None:
        """What became of `host` and the `vms` that were on it; None as long as any of them is not placed anew."""
        silent_at = dead_at = 0.0
        placed_at: dict[str, float] = {}
        for at, change in list(self._changes):
            if change.key == keys.alive(host) and change.value is None:
                silent_at = silent_at or at
            elif change.key == keys.verdict(host) and change.value is not None:
                verdict = Verdict.read(change.key, change.value)
                dead_at = dead_at or (at if verdict.sentence is Sentence.DEAD else 0.0)
            elif change.key.startswith(keys.PLACEMENT) and change.value is not None:
                other, vm = keys.host_and_vm(change.key)
                if vm in vms and other != host:
                    placed_at.setdefault(vm, at)
        return Timeline(silent_at, dead_at, placed_at) if len(placed_at) == len(vms) else None

    def _follow(self, revision: int) -> None:
        for news in self._store.watch(keys.ROOT, revision, self._stop):
            now = time.time()
            self._changes += [(now, change) for change in news.changes]


def main() -> None:
    """Measure and print."""
    end_cleanly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    cloud = Cloud("bench-failover", Shape(hosts=3))
    try:
        cloud.up()
        store = Store(EtcdOptions(cloud.etcd_endpoints))
        vms = create_vms(cloud, VMS)
        watcher = Watcher(store)
        found = [away for _ in range(rounds) for away in lose_a_host(cloud, store, watcher, vms)]
        watcher.close()
        store.close()
    finally:
        cloud.down()
    show(found, rounds)


def create_vms(cloud: Cloud, count: int) -> list[str]:
    """VMs that run, spread over the hosts; returns their uuids."""
    client = Client(cloud)
    import_image(cloud, client, first_vm.build_image())
    vms = [client.create(keys.VM, {**_LIKE_ALL, "name": f"failover-{number}"}) for number in range(count)]
    for vm in vms:
        client.wait(keys.vm(vm), "RUNNING")
    return vms


def hosts_of(store: Store, vms: Sequence[str]) -> dict[str, str]:
    """Where each VM is placed."""
    placed = (keys.host_and_vm(entry.key) for entry in store.list(keys.PLACEMENT).entries)
    return {vm: host for host, vm in placed if vm in vms}


def start_a_vm(cloud: Cloud, watcher: Watcher) -> float:
    """Have a new VM, for a moment; returns the seconds from its placement to its guest's first serial byte."""
    client = Client(cloud)
    vm = client.create(keys.VM, {**_LIKE_ALL, "name": "new"})
    byte_at = first_bytes({vm: {host.data / f"log/{vm}.log": 0 for host in cloud.hosts}})[vm]
    _, placed_at = wait_for("its placement", lambda: watcher.first_placed_at(vm), _DEADLINE_S)
    client.delete(keys.vm(vm))
    return byte_at - placed_at


def lose_a_host(cloud: Cloud, store: Store, watcher: Watcher, vms: Sequence[str]) -> list[dict[str, float]]:
    """Cut the power of a host that has VMs; returns the seconds of each phase, for each of its VMs."""
    placed = hosts_of(store, vms)
    victim = max(sorted(set(placed.values())), key=list(placed.values()).count)
    lost = [vm for vm, host in placed.items() if host == victim]
    others = [host for host in cloud.hosts if host.name != victim]
    logs = {vm: [host.data / f"log/{vm}.log" for host in others] for vm in lost}
    sizes = {vm: {log: _size(log) for log in each} for vm, each in logs.items()}
    new_s = start_a_vm(cloud, watcher)
    watcher.forget()
    cut_at = time.time()
    with power.cut(cloud, victim):
        byte_at = first_bytes(sizes)
        timeline = wait_for("the whole story", lambda: watcher.timeline(victim, lost), _DEADLINE_S)
    phases = [
        {
            DETECT: timeline.silent_at - cut_at,
            FENCE: timeline.dead_at - timeline.silent_at,
            PLACE: timeline.placed_at[vm] - timeline.dead_at,
            START: byte_at[vm] - timeline.placed_at[vm],
            ALL: byte_at[vm] - cut_at,
            NEW: new_s,
            REST: byte_at[vm] - cut_at - new_s,
        }
        for vm in lost
    ]
    print(f"{victim} with {len(lost)} VMs: {max(each[ALL] for each in phases):.1f} s", flush=True)
    recover(cloud, store, vms)
    return phases


def first_bytes(logs: Mapping[str, Mapping[Path, int]]) -> dict[str, float]:
    """Wait until each VM has written to one of its serial logs, of which the sizes before are given; returns when."""
    byte_at: dict[str, float] = {}

    def look() -> bool:
        for vm, sizes in logs.items():
            if vm not in byte_at and any(_size(log) > size for log, size in sizes.items()):
                byte_at[vm] = time.time()
        return len(byte_at) == len(logs)

    wait_for("a first byte of each VM", look, _DEADLINE_S, _LOOK_S)
    return byte_at


def recover(cloud: Cloud, store: Store, vms: Sequence[str]) -> None:
    """Wait until all hosts are back, and all VMs run."""
    cloud.wait_ready()
    wait_for("all hosts alive", lambda: len(store.list(keys.ALIVE).entries) == len(cloud.hosts), _DEADLINE_S)
    wait_for("no verdict", lambda: not store.list(keys.VERDICT).entries, _DEADLINE_S)
    client = Client(cloud)
    for vm in vms:
        client.wait(keys.vm(vm), "RUNNING")


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def show(found: Sequence[Mapping[str, float]], rounds: int) -> None:
    """Print each phase with its median and the value that 95 of 100 stay below."""
    title = f"A host loses power, {rounds} times: seconds until its VMs are back ({len(found)} VMs in all)"
    table = Table(title=title, title_justify="left", caption=machine(), caption_justify="left")
    for heading in ("", "p50", "p95", "lowest", "highest", "aim"):
        table.add_column(heading, justify="right" if heading else "left")
    for phase in (DETECT, FENCE, PLACE, START, ALL, NEW, REST):
        values = sorted(each[phase] for each in found)
        p95 = statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
        figures = (statistics.median(values), p95, values[0], values[-1])
        table.add_row(phase, *(f"{value:.2f}" for value in figures), f"p95 < {AIM_S:g}" if phase == REST else "")
    print_table(table)


if __name__ == "__main__":
    main()

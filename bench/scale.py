"""How a cloud behaves as it grows tenfold and more: its memory, its start-up, and what one event costs.

`python -m bench.scale [--hosts 1000] [--vms 100000]`. etcd, scheduler and API are the real programs, the hosts are
simulated (bench/simulated_hosts.py). Costs are processor time, less what the program takes at rest, so they hold on a
machine that does something else as well; each is compared with that of the smallest cloud of the same run. At last some
hosts die at once, and what their VMs take to run elsewhere is counted from the verdicts on.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from bench.follower import Follower
from bench.process import end_cleanly
from bench.report import machine, print_table
from bench.scale_cloud import API, DEADLINE_S, ETCD, SCHEDULER, ScaledCloud, Size
from common import keys
from common.errors import Conflict, Refused
from common.schemas.verdict import Sentence, Verdict
from common.store import Delete, Put, absent, present
from devcloud.waiting import wait_for

_CREATIONS = 200
_DEATHS = 400
_MOST_ROUNDS = 10
_SILENT_HOSTS = 20
_SILENCES = 10
_DOOMED = 20
_ON_DOOMED = 50
_LOOK_S = 5.0
_MOST_LOOKS = 40
_REST_S = 15.0
_PROGRAMS = (ETCD, SCHEDULER, API)


@dataclass
class Figures:
    """What was measured of a cloud, by name: "etcd, MB"."""

    size: Size
    values: dict[str, float] = field(default_factory=dict)


class Meter:
    """Tells what the programs of a cloud took, beyond what they take while nothing happens."""

    def __init__(self, cloud: ScaledCloud) -> None:
        self._cloud = cloud
        self._settle()
        self.at_rest = self._rates(_REST_S)

    def _settle(self) -> None:
        """Wait until the programs do not get quieter any more."""
        quietest = float("inf")
        for _ in range(_MOST_LOOKS):
            busy = sum(self._rates(_LOOK_S).values())
            if busy >= quietest:
                return
            quietest = busy

    def _rates(self, seconds: float) -> Mapping[str, float]:
        before, began = self._cloud.cpu_s(), time.monotonic()
        threading.Event().wait(seconds)
        now, took_s = self._cloud.cpu_s(), time.monotonic() - began
        return {name: (now[name] - before[name]) / took_s for name in now}

    def cost_ms(self, events: int, act: Callable[[], None]) -> Mapping[str, float]:
        """Milliseconds of processor time for each of the `events` that `act` makes, and waits for."""
        before, began = self._cloud.cpu_s(), time.monotonic()
        act()
        threading.Event().wait(1.0)  # whoever was told by a watch may be at it still
        now, took_s = self._cloud.cpu_s(), time.monotonic() - began
        return {name: 1000 * (now[name] - before[name] - self.at_rest[name] * took_s) / events for name in now}


def main() -> None:
    """Measure and print."""
    end_cleanly()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--vms", type=int, default=100_000)
    parser.add_argument("--alive-ttl", type=int, default=3, metavar="SECONDS", help="of the hosts' signs of life")
    options = parser.parse_args()
    hosts, vms = options.hosts, options.vms
    sizes = [
        Size(hosts // 10, vms // 100),
        Size(hosts // 10, vms // 10),
        Size(hosts, vms // 10),
        Size(hosts, vms, min(_DOOMED, hosts // 5), min(_ON_DOOMED, vms // hosts)),
    ]
    show([measure(size, options.alive_ttl) for size in sizes])


def measure(size: Size, alive_ttl_s: int) -> Figures:
    """Make a cloud of this size and measure it. On /var/tmp, which is a disk where /tmp is memory."""
    figures = Figures(size)
    values = figures.values
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        cloud = ScaledCloud(stack, directory, size)
        say(f"{size}: filling")
        cloud.fill()
        say(f"{size}: starting")
        cloud.start(alive_ttl_s)
        values.update({f"{name}: start-up, s": cloud.started_s[name] for name in _PROGRAMS})
        meter = Meter(cloud)
        values.update({f"{name}: memory, MB": each for name, each in cloud.memory_mb().items()})
        values["etcd: its database, MB"] = cloud.database_mb()
        values.update({f"{name}: at rest, % of a core": 100 * each for name, each in meter.at_rest.items()})
        follower = Follower(cloud.store)
        stack.callback(follower.close)
        say(f"{size}: events")
        create(cloud, meter, follower, values)
        kill_guests(cloud, meter, follower, values)
        silence_hosts(cloud, meter, values)
        if size.doomed:
            say(f"{size}: {size.doomed} hosts die")
            bury_hosts(cloud, follower, values)
    return figures


def create(cloud: ScaledCloud, meter: Meter, follower: Follower, values: dict[str, float]) -> None:
    """VMs are asked for over HTTP, a few at a time, until all of them run."""
    asked_at: dict[str, float] = {}

    def ask(number: int) -> None:
        began = time.monotonic()
        asked_at[cloud.create(number, f"new-{number}")] = began

    def act() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(_CREATIONS)))
        follower.wait_running(asked_at, 0.0, DEADLINE_S)

    _enter(values, "creating a VM", meter.cost_ms(_CREATIONS, act))
    waited = [follower.running_at[vm] - at for vm, at in asked_at.items()]
    values["creating a VM: until it runs (median), ms"] = 1000 * statistics.median(waited)


def kill_guests(cloud: ScaledCloud, meter: Meter, follower: Follower, values: dict[str, float]) -> None:
    """A guest dies on each host, which says so, and starts it again; several times over where there are few hosts."""
    rounds = min(_MOST_ROUNDS, -(-_DEATHS // cloud.size.hosts))

    def act() -> None:
        for _ in range(rounds):
            follower.killed_at.clear()
            since = time.monotonic()
            cloud.kill_a_guest_on_each_host()
            wait_for("the deaths", lambda: len(follower.killed_at) >= cloud.size.hosts, DEADLINE_S)
            follower.wait_running(list(follower.killed_at), since, DEADLINE_S)

    _enter(values, "a guest's death and restart", meter.cost_ms(rounds * cloud.size.hosts, act))


def silence_hosts(cloud: ScaledCloud, meter: Meter, values: dict[str, float]) -> None:
    """Signs of life go, and come back, again and again; but for those that a busy machine has lost meanwhile."""
    hosts = cloud.store.list(keys.ALIVE).entries[-_SILENT_HOSTS:]

    def act() -> None:
        for _ in range(_SILENCES):
            for host in hosts:
                with suppress(Conflict):
                    cloud.store.commit([present(host.key)], [Delete(host.key)])
            for host in hosts:
                with suppress(Conflict, Refused):
                    cloud.store.commit([absent(host.key)], [Put(host.key, host.value, host.lease)])

    _enter(values, "a host's silence and return", meter.cost_ms(_SILENCES * len(hosts), act))


def bury_hosts(cloud: ScaledCloud, follower: Follower, values: dict[str, float]) -> None:
    """Hosts die together, are found DEAD, and their VMs are placed and started elsewhere."""
    doomed = [f"s{number}" for number in range(cloud.size.doomed)]
    vms = [keys.last_part(entry.key) for host in doomed for entry in cloud.store.list(keys.placements(host)).entries]
    cloud.kill_doomed_hosts()
    now = datetime.now(UTC)
    verdicts = [
        Verdict(host=host, sentence=Sentence.DEAD, since=now, judged_at=now, fenced_by="bench") for host in doomed
    ]
    began = time.monotonic()
    cloud.store.commit([absent(keys.verdict(doomed[0]))], [Put(keys.verdict(v.host), v.to_json()) for v in verdicts])
    last_s = follower.wait_running(vms, began, DEADLINE_S) - began
    placed = sorted(follower.placed_at[vm] - began for vm in vms)
    left = f"{len(vms):,} VMs of {len(doomed)} dead hosts"
    values[f"{left}: the first placed, s"] = placed[0]
    values[f"{left}: the last placed, s"] = placed[-1]
    values[f"{left}: the last runs, s"] = last_s


def _enter(values: dict[str, float], event: str, cost_ms: Mapping[str, float]) -> None:
    values.update({f"{event}: {name}, ms": each for name, each in cost_ms.items()})


def say(what: str) -> None:
    """Tell whoever waits how far it is."""
    print(f"{datetime.now(UTC):%H:%M:%S} {what}", flush=True)


def show(clouds: Sequence[Figures]) -> None:
    """Print a column for each cloud, with the ratio to the smallest one."""
    table = Table(title="As the cloud grows", title_justify="left", caption=machine(), caption_justify="left")
    table.add_column("")
    for figures in clouds:
        table.add_column(f"{figures.size.hosts:,} hosts\n{figures.size.vms:,} VMs", justify="right")
        if figures is not clouds[0]:
            table.add_column("ratio", justify="right")
    for name in dict.fromkeys(name for figures in clouds for name in figures.values):
        base = clouds[0].values.get(name)
        cells = []
        for figures in clouds:
            value = figures.values.get(name)
            cells.append("" if value is None else f"{value:,.1f}")
            if figures is not clouds[0]:
                cells.append(f"{value / base:.1f}" if value is not None and base and base > 0 else "")
        table.add_row(name, *cells)
    print_table(table)


if __name__ == "__main__":
    main()

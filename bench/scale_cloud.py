"""A cloud of any size on one machine: a real etcd, the real scheduler and API, and simulated hosts."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import requests

from bench import memory, records
from bench.process import running, wait_answering
from common import keys
from common.store import EtcdOptions, Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for

ETCD, SCHEDULER, API = "etcd", "ucloud-scheduler", "ucloud-api, a worker"
VMS_PER_OWNER = 100
DEADLINE_S = 1200.0
_HOSTS_PER_PROCESS = 125
_API_WORKERS = 2
_CREATORS = 8


@dataclass(frozen=True)
class Size:
    """How large a cloud is. Its first `doomed` hosts, which are to die together, have `on_doomed` VMs each."""

    hosts: int
    vms: int
    doomed: int = 0
    on_doomed: int = 0

    def __str__(self) -> str:
        return f"{self.hosts:,} hosts, {self.vms:,} VMs"

    def host_of(self, number: int) -> str:
        """The host of a VM: the doomed ones get their share, the others the rest, evenly."""
        if number < (on_doomed := self.doomed * self.on_doomed):
            return f"s{number % self.doomed}"
        return f"s{self.doomed + (number - on_doomed) % (self.hosts - self.doomed)}"


class ScaledCloud:
    """The cloud of a size, all of whose VMs run. `stack` ends what is started; `started_s` says how long each took."""

    def __init__(self, stack: ExitStack, directory: Path, size: Size) -> None:
        self.size = size
        self.started_s: dict[str, float] = {}
        self.creators: list[str] = []
        self._stack = stack
        self._directory = directory
        self.etcd = stack.enter_context(EtcdCluster(directory))
        self.store = Store(EtcdOptions(self.etcd.endpoints))
        stack.callback(self.store.close)
        self._pids: dict[str, list[int]] = {}
        self._simulators: list[int] = []

    def fill(self) -> None:
        """Write all VMs and their owners; then see how long etcd takes to come back with them."""
        records.write(self.store, self._everything())
        self._time(ETCD, lambda: self.etcd.restart(0))
        self._pids[ETCD] = [self.etcd.pid(0)]

    def start(self, alive_ttl_s: int) -> None:
        """Start the hosts, the scheduler and the API, one after the other."""
        size = self.size
        first = [0] if size.doomed else []
        for start in [*first, *range(size.doomed, size.hosts, _HOSTS_PER_PROCESS)]:
            end = size.doomed if start < size.doomed else min(start + _HOSTS_PER_PROCESS, size.hosts)
            arguments = (self._endpoint, start, end - 1)
            ttl_s = str(alive_ttl_s)
            pid = self._run(f"simulated{start}", "bench.simulated_hosts", *arguments, UCLOUD_HOST_ALIVE_TTL_S=ttl_s)
            self._simulators.append(pid)
        wait_for("all hosts alive", lambda: self.count(keys.ALIVE) == size.hosts, DEADLINE_S, 0.5)
        wait_for("all hosts registered", lambda: self.count(keys.STATUS_HOST) == size.hosts, DEADLINE_S, 0.5)
        self._time(SCHEDULER, self._start_scheduler)
        self._time(API, self._start_api)

    # --- what happens to it -------------------------------------------------------------------------------------------

    def kill_a_guest_on_each_host(self) -> None:
        """Guests die all at once, one on each host that has any."""
        for pid in self._simulators:
            os.kill(pid, signal.SIGUSR1)

    def kill_doomed_hosts(self) -> None:
        """The doomed hosts are gone, as by a power cut."""
        os.kill(self._simulators.pop(0), signal.SIGKILL)
        wait_for("the silence", lambda: self.count(keys.ALIVE) == self.size.hosts - self.size.doomed, DEADLINE_S, 0.1)

    def create(self, creator: int, name: str) -> str:
        """Ask the API for a VM like the others; returns its uuid."""
        body = {"name": name, "image": records.IMAGE_NAME, "specs": {"cpu": 1, "ram": "128MiB", "ssd": "1MiB"}}
        headers = {"Authorization": f"Bearer {self.creators[creator % _CREATORS]}"}
        answer = requests.post(f"{self._api}{keys.VM.rstrip('/')}", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["uuid"])

    # --- what it takes ------------------------------------------------------------------------------------------------

    def cpu_s(self) -> Mapping[str, float]:
        """The processor time that each program took so far; of the API's workers, the mean."""
        return {name: sum(map(memory.cpu_s, pids)) / len(pids) for name, pids in self._pids.items()}

    def memory_mb(self) -> Mapping[str, float]:
        """The resident memory of each program; of the API's workers, the larger."""
        return {name: max(memory.usage(pid).rss_mb for pid in pids) for name, pids in self._pids.items()}

    def database_mb(self) -> float:
        """The size of etcd's file."""
        return (self.etcd.members[0].directory / "member/snap/db").stat().st_size / 1e6

    def count(self, prefix: str) -> int:
        """How many keys there are below a prefix."""
        return len(self.store.list(prefix).entries)

    # --- within -------------------------------------------------------------------------------------------------------

    @property
    def _endpoint(self) -> str:
        return self.etcd.endpoints[0]

    def _everything(self) -> Iterator[records.Pair]:
        yield from records.image("admin")
        for number in range(max(1, self.size.vms // VMS_PER_OWNER)):
            yield from records.user(f"user-{number}")[1]
        for number in range(_CREATORS):
            token, pairs = records.user(f"creator-{number}")
            self.creators.append(token)
            yield from pairs
        for number in range(self.size.vms):
            yield from records.vm(number, f"user-{number // VMS_PER_OWNER}", self.size.host_of(number))

    def _time(self, name: str, begin: Callable[[], None]) -> None:
        began = time.monotonic()
        begin()
        self.started_s[name] = time.monotonic() - began

    def _run(self, name: str, module: str, *arguments: object, **environment: str) -> int:
        log = self._directory / f"{name}.log"
        return self._stack.enter_context(running(module, *map(str, arguments), log=log, environment=environment))

    def _start_scheduler(self) -> None:
        port = str(free_port())
        pid = self._run(SCHEDULER, "ucloud_scheduler", UCLOUD_ETCD_ENDPOINTS=self._endpoint, UCLOUD_HEALTH_PORT=port)
        url = f"http://[::1]:{port}/healthz"
        wait_answering(url, self._directory / f"{SCHEDULER}.log", DEADLINE_S)
        wait_for("a leader", lambda: requests.get(url, timeout=60).json().get("role") == "leading", DEADLINE_S)
        self._pids[SCHEDULER] = [pid]

    def _start_api(self) -> None:
        port = str(free_port())
        self._api = f"http://[::1]:{port}"
        pid = self._run(
            "ucloud-api",
            "ucloud_api",
            UCLOUD_ETCD_ENDPOINTS=self._endpoint,
            UCLOUD_API_PORT=port,
            TMPDIR=str(self._directory),
        )
        log = self._directory / "ucloud-api.log"
        for _ in range(4 * _API_WORKERS):  # whichever worker answers
            wait_answering(f"{self._api}/healthz", log, DEADLINE_S)
        self._pids[API] = memory.children(pid)

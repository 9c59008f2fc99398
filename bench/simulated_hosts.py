"""Hosts of no substance: the classes of the daemons of a VM host, many hosts in one process, on machines made up.

`python -m bench.simulated_hosts ENDPOINT FIRST LAST` is hosts s<FIRST> to s<LAST>, until a signal; SIGUSR1 kills one
guest on each host. Of the settings, host.alive_ttl_s counts. For its VMs a host has what ucloud-vm has: two caches with
a watch each, the control loop and the plan. All hosts of a process share its connections to etcd, and their signs of
life are renewed over one stream (signs_of_life.py). What is made up is the machine: guests that are on as soon as they
are started, and disks without blocks in a store that all of these hosts share.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable

from grpc import _common as grpc_common

from bench.signs_of_life import SignsOfLife, insist
from bench.simulated_machine import Machine
from common import keys, settings
from common.cache import Cache
from common.controller import Controller
from common.events import EventLog, StatusEvents
from common.metrics import Metrics
from common.schemas.host import HostStatus, StoreCapacity
from common.schemas.vm import Placement, VmStatus
from common.settings import EventSettings, VmSettings
from common.store import EtcdOptions, Store
from ucloud_host.register import Registration
from ucloud_vm.planning.plan import Planner
from ucloud_vm.planning.report import news
from ucloud_vm.planning.steps import Action, Observation

Body = Callable[[threading.Event], None]
STORE_ID = "simulated"
_BOOT_ID = "1"
_LOOK_S = 0.1
_PAUSE_S = 0.1
"""Between two hosts, which are not switched on at once either."""
_SWITCH_INTERVAL_S = 0.1
"""Each thread that waits for the interpreter asks for it this often: with hundreds, 5 ms is all they do."""
_GRPC_WAKES_S = 10.0
"""gRPC has each thread that waits for a stream wake ten times a second to look for signals: with two thousand streams
on two cores, that is all they do. These threads need none (https://github.com/grpc/grpc/issues/19464)."""


class SimulatedHost:
    """What ucloud-vm holds on one host; `bodies` are its threads."""

    def __init__(self, name: str, store: Store) -> None:
        self._name = name
        self._machine = Machine(f"http://[fd00::1]:9703/{name}")
        self._store, metrics = store, Metrics()
        self._placements = Cache(self._store, keys.placements(name), Placement, metrics)
        self._statuses = Cache(self._store, keys.vm_statuses(name), VmStatus, metrics)
        planner = Planner(VmSettings().stop_timeout_s, VmSettings().orphan_grace_s)
        self._controller: Controller[Placement, VmStatus, Observation, Action] = Controller(
            self._store, self._placements, self._statuses, planner, self._machine, metrics
        )
        self._events = EventLog(self._store, name, EventSettings().ttl_s)
        self._controller.tell_events(StatusEvents(self._events, "vm", news))

    def bodies(self) -> list[Body]:
        """What runs in threads of their own."""
        return [self._placements.run, self._statuses.run, self._work]

    def register(self) -> None:
        """Write what ucloud-host measures of a machine."""
        registration = Registration(self._store, self._measure, self._events)
        insist(lambda: registration.register(self._measure()))

    def kill_a_guest(self) -> None:
        """Have one guest die, if there is any."""
        if vm := self._machine.kill_one():
            self._controller.look(vm)

    def close(self) -> None:
        """Let the worker end."""
        self._controller.close()

    def _work(self, stop: threading.Event) -> None:
        """Take over the guests that are said to run here, as a daemon finds them that is started anew, and go on."""
        while not (self._statuses.wait_synced(1) and self._placements.wait_synced(1)):
            if stop.is_set():
                return
        for key, cached in self._statuses.records().items():
            self._machine.adopt(keys.last_part(key), cached.record)
        self._controller.look_at_all()
        self._controller.work(stop)

    def _measure(self) -> HostStatus:
        ssd = StoreCapacity(store_id=STORE_ID, total_mib=10**9)
        return HostStatus(
            name=self._name,
            cpu=256,
            ram_mib=2**20,
            ssd=ssd,
            addresses=("fd00::1",),
            hypervisor="simulated",
            boot_id=_BOOT_ID,
        )


def main() -> None:
    """Be the hosts until a signal."""
    options = EtcdOptions((sys.argv[1],))
    alive_ttl_s = settings.load(os.environ).host.alive_ttl_s
    stop, deaths = threading.Event(), threading.Semaphore(0)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGUSR1, lambda *_: deaths.release())
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    grpc_common.MAXIMUM_WAIT_TIMEOUT = _GRPC_WAKES_S
    store = Store(options)
    signs = SignsOfLife(sys.argv[1], store, alive_ttl_s, _BOOT_ID)
    hosts: list[SimulatedHost] = []
    start(signs.run, stop)
    for number in range(int(sys.argv[2]), int(sys.argv[3]) + 1):
        name = f"s{number}"
        host = SimulatedHost(name, store)
        host.register()
        signs.add(name)
        for body in host.bodies():
            start(body, stop)
        hosts.append(host)
        stop.wait(_PAUSE_S)
    gc.freeze()
    while not stop.wait(_LOOK_S):
        while deaths.acquire(blocking=False):
            for host in hosts:
                host.kill_a_guest()
    for host in hosts:
        host.close()
    print(f"{signs.losses} signs of life were lost")


def start(body: Body, stop: threading.Event) -> None:
    """Run `body` in a thread of its own."""
    threading.Thread(target=body, args=(stop,), daemon=True).start()


if __name__ == "__main__":
    main()

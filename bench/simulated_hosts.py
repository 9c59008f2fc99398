"""Hosts without a machine: the classes of the daemons of a VM host, many hosts in one process, and VMs of no substance.

`python -m bench.simulated_hosts ENDPOINT FIRST LAST` is hosts s<FIRST> to s<LAST>, until a signal. Each has the three
connections to etcd that its three daemons would have: its sign of life, its registration, and its VMs.
"""

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from common import keys
from common.cache import Cache
from common.controller import Controller
from common.decision import Decision, Failure
from common.metrics import Metrics
from common.schemas.host import Alive, HostStatus, StoreCapacity
from common.schemas.vm import Actual, Event, Placement, VmStatus
from common.settings import HostSettings
from common.store import EtcdOptions, Store
from ucloud_host.alive import SignOfLife
from ucloud_host.register import Registration

Body = Callable[[threading.Event], None]


@dataclass(frozen=True)
class _Nothing:
    """There is no machine to look at, and no step to take."""

    def observe(self, name: str) -> None:
        """Nothing is here."""

    def apply(self, name: str, action: None) -> None:
        """Nothing is done."""

    def known(self) -> tuple[str, ...]:
        """Nothing is known."""
        return ()


def plan(
    request: Placement | None, observed: None, previous: VmStatus | None, failure: Failure | None, now: datetime
) -> Decision[VmStatus, None]:
    """Every VM that is ordered here runs, and says so once."""
    if request is None:
        return Decision(None)
    if previous and (previous.epoch, previous.generation) == (request.epoch, request.generation):
        return Decision(previous)
    events = (Event(at=now, what="DEPLOYING"), Event(at=now, what="STARTING"), Event(at=now, what="RUNNING"))
    return Decision(
        VmStatus(
            epoch=request.epoch,
            generation=request.generation,
            actual=Actual.RUNNING,
            specs=request.request.specs,
            since=now,
            events=events,
        )
    )


def measure(name: str) -> HostStatus:
    """A host with room for its share of VMs, on a store of its own."""
    ssd = StoreCapacity(store_id=f"store-of-{name}", total_mib=10**6)
    return HostStatus(name=name, cpu=64, ram_mib=2**18, ssd=ssd, addresses=("fd00::1",), hypervisor="simulated")


def bodies(name: str, options: EtcdOptions) -> list[Body]:
    """What runs in the threads of the three daemons of one host."""
    sign = SignOfLife(Store(options), Alive(name=name, boot_id="1"), HostSettings().alive_ttl_s)
    registration = Registration(Store(options), lambda: measure(name))
    store, metrics = Store(options), Metrics()
    placements = Cache(store, keys.placements(name), Placement, metrics)
    statuses = Cache(store, keys.vm_statuses(name), VmStatus, metrics)
    controller = Controller(store, placements, statuses, plan, _Nothing(), metrics)
    return [
        sign.run,
        registration.run,
        placements.run,
        statuses.run,
        controller.look_through,
        lambda stop: _close(controller.close, stop),
        controller.work,
    ]


def _close(close: Callable[[], None], stop: threading.Event) -> None:
    stop.wait()
    close()


def main() -> None:
    """Be the hosts until a signal."""
    options = EtcdOptions((sys.argv[1],))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for number in range(int(sys.argv[2]), int(sys.argv[3]) + 1):
        for body in bodies(f"s{number}", options):
            threading.Thread(target=body, args=(stop,), daemon=True).start()
    stop.wait()


if __name__ == "__main__":
    main()

"""What an operator reads of the scheduler: counts of its work, and the state of the cloud as the elected one sees it.

The state is summed up when it is asked for, from a copy: placing VMs costs nothing for it.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from common.schemas.vm import Actual, Requested
from ucloud_scheduler.capacity import Resource
from ucloud_scheduler.filters import Why
from ucloud_scheduler.spare import Spare
from ucloud_scheduler.views import Host, Vm
from ucloud_scheduler.world import World
from ucloud_scheduler.writes import Place

_PLACED_AFTER_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


class SchedulerMetrics:
    """Counts of the scheduler's work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.placed = Counter("ucloud_scheduler_placements", "Placements written", registry=registry)
        self.evacuated = Counter(
            "ucloud_scheduler_evacuations", "VMs of dead hosts that were placed elsewhere", registry=registry
        )
        self.dropped = Counter(
            "ucloud_scheduler_conflicts", "Writes dropped: what they rest on had changed", registry=registry
        )
        self.plan_seconds = Histogram("ucloud_scheduler_plan_seconds", "Time of one plan", registry=registry)
        self.placed_after_seconds = Histogram(
            "ucloud_scheduler_placed_after_seconds",
            "Time from a VM's creation to its placement",
            registry=registry,
            buckets=_PLACED_AFTER_S,
        )

    def count(self, placed: Sequence[Place], now: datetime) -> None:
        """These placements were written by `now`."""
        self.placed.inc(len(placed))
        for write in placed:
            age_s = (now - write.placement.request.created_at).total_seconds()
            self.placed_after_seconds.observe(max(0.0, age_s))


class CloudCollector(Collector):
    """VMs by state, VMs that wait by what they wait for, and each host's capacity; of the elected instance alone."""

    def __init__(self, world: World, is_leader: Callable[[], bool]) -> None:
        self._world = world
        self._is_leader = is_leader

    def describe(self) -> list[GaugeMetricFamily]:
        """The families, empty: nothing is summed up for a registration."""
        return list(_families().values())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families with their samples now."""
        families = _families()
        if self._is_leader():
            hosts = dict(self._world.inventory.hosts)
            waiting = self._world.waiting
            for why in Why:
                families["pending"].add_metric([why.value], waiting[why])
            for (requested, actual), count in sorted(_states(self._world, hosts).items()):
                families["vms"].add_metric([requested, actual], count)
            self._add_hosts(families, hosts)
            for store_id, (cpu, ram_mib) in sorted(Spare(hosts.values()).left().items()):
                families["spare"].add_metric([store_id, "cpu"], cpu)
                families["spare"].add_metric([store_id, "ram"], ram_mib)
        yield from families.values()

    def _add_hosts(self, families: dict[str, GaugeMetricFamily], hosts: dict[str, Host]) -> None:
        ledger = self._world.inventory.ledger
        for name, host in hosts.items():
            capacities = {
                Resource.CPU: host.cpu,
                Resource.RAM: host.ram_mib,
                Resource.SSD: host.ssd.total_mib if host.ssd else 0,
                Resource.HDD: host.hdd.total_mib if host.hdd else 0,
            }
            used = ledger.used(name)
            for resource, capacity in capacities.items():
                if capacity or resource.of(used):
                    labels = [name, resource.value.lower()]
                    families["capacity"].add_metric(labels, capacity)
                    families["promised"].add_metric(labels, resource.of(used))


def _families() -> dict[str, GaugeMetricFamily]:
    per_host = ["host", "resource"]
    return {
        "vms": GaugeMetricFamily("ucloud_vms", "VMs by requested and actual state", labels=["requested", "actual"]),
        "pending": GaugeMetricFamily(
            "ucloud_scheduler_pending_vms", "VMs that wait, by what they wait for", labels=["reason"]
        ),
        "capacity": GaugeMetricFamily(
            "ucloud_host_capacity", "What may be promised: processors or MiB, overcommit included", labels=per_host
        ),
        "spare": GaugeMetricFamily(
            "ucloud_scheduler_spare",
            "What would be left after the loss of the fullest host: processors or MiB; below 0: VMs find no room",
            labels=["store", "resource"],
        ),
        "promised": GaugeMetricFamily(
            "ucloud_host_promised", "What the host's VMs were promised: processors or MiB", labels=per_host
        ),
    }


def _states(world: World, hosts: dict[str, Host]) -> Counts[tuple[str, str]]:
    states: Counts[tuple[str, str]] = Counts()
    for vm in world.vms:
        if vm.request:
            states[vm.request.requested.value, _actual(vm, hosts).value] += 1
    return states


def _actual(vm: Vm, hosts: dict[str, Host]) -> Actual:
    """The state that the API shows."""
    placed = next(((host, each.record) for host, each in vm.placements.items() if each.record), None)
    if placed is None:
        is_deleted = vm.request is not None and vm.request.requested is Requested.DELETED
        return Actual.DELETING if is_deleted else Actual.PENDING
    name, placement = placed
    host, reported = hosts.get(name), vm.statuses.get(name)
    if host is None or not host.is_alive:
        return Actual.UNKNOWN
    if reported is None or reported.record is None or reported.record.epoch != placement.epoch:
        return Actual.DEPLOYING
    return reported.record.actual

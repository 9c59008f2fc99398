"""ucloud-scheduler: wiring only."""

import os

from common import daemon, keys
from common.events import EventLog
from common.leader import Election
from common.schemas.host import Alive, HostRequest, HostStatus
from common.schemas.verdict import Verdict
from common.schemas.vm import Placement, VmRequest
from ucloud_scheduler.metrics import CloudCollector, SchedulerMetrics
from ucloud_scheduler.scheduler import Scheduler
from ucloud_scheduler.views import BriefStatus
from ucloud_scheduler.world import Caches

DEFAULT_PORT = 9701


def wire(host: daemon.Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    caches = Caches(
        vms=host.cache(keys.VM, VmRequest),
        placements=host.cache(keys.PLACEMENT, Placement),
        statuses=host.cache(keys.STATUS_VM, BriefStatus),
        hosts=host.cache(keys.HOST, HostRequest),
        host_statuses=host.cache(keys.STATUS_HOST, HostStatus),
        alive=host.cache(keys.ALIVE, Alive),
        verdicts=host.cache(keys.VERDICT, Verdict),
    )
    election = Election(host.store, "scheduler", f"{host.settings.host.name}:{os.getpid()}", host.metrics)
    metrics = SchedulerMetrics(host.metrics.registry)
    events = EventLog(host.store, keys.SCHEDULER_REPORTER, host.settings.event.ttl_s)
    scheduler = Scheduler(host.store, caches, election, metrics, host.settings.scheduler, events)
    host.metrics.registry.register(CloudCollector(scheduler.world, lambda: election.is_leader))
    host.health.add_check("scheduling", scheduler.problem)
    host.health.add_fact("role", scheduler.role)
    if host.settings.scheduler.n_plus_one != "off":
        host.health.add_fact("n_plus_one", scheduler.spare)
    host.at_stop(scheduler.wake)
    for cache in caches.all():
        host.start(f"cache {cache.prefix}", cache.run)
    host.start("scheduler", scheduler.run)
    host.start("election", election.run)


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-scheduler", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()

"""ucloud-host: wiring only."""

import os
from collections.abc import Callable

from common import daemon, keys
from common.deadlines import settle_s
from common.events import EventLog
from common.leader import Election
from common.storage import Store
from common.storage.choice import open_store
from ucloud_host.fences import Fence
from ucloud_host.fences.manual import ManualFence
from ucloud_host.fences.methods import MANUAL, POWER, SELF, STORAGE, parse
from ucloud_host.fences.power import power_fence
from ucloud_host.fences.self_fence import SelfFence
from ucloud_host.fences.storage import StorageFence
from ucloud_host.judge import Judge
from ucloud_host.measure import measure
from ucloud_host.metrics import JudgeMetrics
from ucloud_host.register import Registration
from ucloud_host.sentence import Rules

DEFAULT_PORT = 9702


def wire(host: daemon.Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    settings = host.settings
    disks = open_store(settings.storage)
    registration = Registration(
        host.store,
        lambda: measure(settings.host, disks, image_store=settings.storage.name, moves_live=settings.vm.moves_live),
        EventLog(host.store, settings.host.name, settings.event.ttl_s),
    )
    host.health.add_check("registration", lambda: registration.problem)
    host.start("registration", registration.run)

    election = Election(host.store, "host", f"{host.settings.host.name}:{os.getpid()}", host.metrics)
    judge = _judge(host, election, disks)
    host.health.add_check("judge", judge.problem)
    host.health.add_fact("role", judge.role)
    host.health.add_malformed(judge.malformed)
    host.at_stop(judge.wake)
    host.start("judge", judge.run)
    host.start("election", election.run)


def _judge(host: daemon.Daemon, election: Election, disks: Store) -> Judge:
    settings = host.settings.fence
    makers: dict[str, Callable[[], Fence]] = {
        SELF: SelfFence,
        MANUAL: ManualFence,
        STORAGE: lambda: StorageFence(host.store, disks),
        POWER: lambda: power_fence(settings),
    }
    methods = parse(settings.methods)
    fences = {name: makers[name]() for alternative in methods for name in alternative}
    rules = Rules(methods, settings.max_dead_share, settle_s(host.settings.host.alive_ttl_s), settings.timeout_s)
    events = EventLog(host.store, keys.JUDGE_REPORTER, host.settings.event.ttl_s)
    return Judge(host.store, election, rules, fences, JudgeMetrics(host.metrics), events)


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-host", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()

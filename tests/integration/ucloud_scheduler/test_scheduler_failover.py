"""Two schedulers as real processes: the leader dies, freezes, wakes up late; no VM is ever placed twice."""

import threading

from common import keys
from common.schemas.host import HostState
from common.schemas.vm import Actual, Requested
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.proxy import Proxy
from tests.integration.ucloud_scheduler.cloud import DEADLINE_S, SMALL, Cloud
from tests.integration.ucloud_scheduler.conftest import StartScheduler

LARGER = SMALL.model_copy(update={"cpu": 2})


def _leader(schedulers: list[DaemonProcess]) -> DaemonProcess | None:
    return next((each for each in schedulers if (each.health() or {}).get("role") == "leading"), None)


def _was_refused(scheduler: DaemonProcess) -> bool:
    """Whether it was told so; or had been frozen for so long that it gave up without waiting for the answer."""
    log = scheduler.log.read_text()
    refused = "a write was refused: another instance leads" in log
    # Counted before it is logged.
    assert not refused or scheduler.metric("ucloud_refused_writes_total") >= 1
    return refused or "resigning" in log


def test_the_standby_takes_over_from_a_killed_leader(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    cloud.add_host("h1")
    first = start_scheduler()
    first.wait_role("leading")
    second = start_scheduler()
    second.wait_role("standby")
    placed = cloud.add_vm()
    cloud.placement(placed.uuid)
    first.kill()
    request = cloud.add_vm()
    assert cloud.placement(request.uuid)[0] == "h1"
    second.wait_role("leading")
    assert len(cloud.placements()) == 2


def test_a_clean_end_hands_over_at_once(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    cloud.add_host("h1")
    first = start_scheduler()
    first.wait_role("leading")
    second = start_scheduler()
    assert first.end() == 0
    wait_for(
        "the second leads before a lease would have run out",
        lambda: (second.health() or {}).get("role") == "leading",
        2.0,
    )


def test_vms_that_are_requested_while_leaders_die_are_placed_once(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    for number in range(5):
        cloud.add_host(f"h{number}", ram_mib=60 * 1024, cpu=20)
    schedulers = [start_scheduler(), start_scheduler()]
    wished: list[str] = []

    def wish() -> None:
        pace = threading.Event()
        for _ in range(200):
            wished.append(cloud.add_vm().uuid)
            pace.wait(0.03)

    thread = threading.Thread(target=wish)
    thread.start()
    for round_ in range(3):
        cloud.wait_placed(20 * (round_ + 1))
        leader = wait_for("a leader", lambda: _leader(schedulers), DEADLINE_S)
        leader.kill()
        leader.start()
    thread.join(60)
    assert not thread.is_alive()
    cloud.wait_placed(200, timeout_s=30)
    assert sorted(vm for _, vm in cloud.placements()) == sorted(wished)
    assert all(sums["ram_mib"] <= 60 * 1024 and sums["cpu"] <= 80 for sums in cloud.used().values())


def test_the_late_write_of_a_former_leader_is_refused(
    cloud: Cloud, start_scheduler: StartScheduler, etcd: EtcdCluster
) -> None:
    """Its transaction is on the way while it freezes; the standby places the VM elsewhere; then the first arrives."""
    cloud.add_host("h1")
    with Proxy(etcd.endpoints[0]) as proxy:
        former = start_scheduler(endpoints=(proxy.endpoint,))
        former.wait_role("leading")
        cloud.placement(cloud.add_vm().uuid)
        standby = start_scheduler()
        standby.wait_role("standby")

        proxy.hold()
        request = cloud.add_vm()
        late_key = keys.placement("h1", request.uuid)
        proxy.wait_held(late_key.encode(), DEADLINE_S)
        former.pause()
        # Another host than the late write names: only the leadership stands in that one's way.
        cloud.set_host("h1", HostState.DRAINING)
        cloud.add_host("h2")
        standby.wait_role("leading")
        assert cloud.placement(request.uuid)[0] == "h2"
        placed = cloud.store.get(keys.placement("h2", request.uuid))

        answered = proxy.release()
        proxy.wait_answered(answered, DEADLINE_S)
        former.resume()
        former.wait_role("standby")
        wait_for("its insight", lambda: _was_refused(former), DEADLINE_S)
        assert cloud.store.get(late_key) is None
        assert cloud.store.get(keys.placement("h2", request.uuid)) == placed
        assert standby.metric("ucloud_refused_writes_total") == 0
        # Both still do their part.
        standby.kill()
        former.wait_role("leading")
        assert cloud.placement(cloud.add_vm().uuid)[0] == "h2"


def test_a_lone_scheduler_that_is_killed_again_and_again_goes_on_at_once(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    cloud.add_host("h1")
    scheduler = start_scheduler()
    for _ in range(5):
        scheduler.wait_role("leading")
        grown = cloud.add_vm()
        scheduler.kill()
        removed = cloud.add_vm()
        scheduler.start()
        _, placement = cloud.placement(removed.uuid)
        cloud.change_vm(removed, requested=Requested.DELETED)
        cloud.report("h1", removed.uuid, placement, Actual.DELETED)
        cloud.placement(grown.uuid)
        cloud.change_vm(grown, specs=LARGER)
        scheduler.kill()
        scheduler.start()
        cloud.wait_gone(keys.vm(removed.uuid))
        cloud.wait_specs(grown.uuid, LARGER)
    assert len(cloud.placements()) == 5
    # Ten leases of three seconds were not waited for.
    assert "is dead" in scheduler.log.read_text()

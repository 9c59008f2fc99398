"""A VM's life as the scheduler sees it, with a real scheduler and a real etcd."""

import time

from common import keys
from common.schemas.event import EventRecord
from common.schemas.host import HostState
from common.schemas.vm import Actual, Requested, Specs
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_scheduler.cloud import DEADLINE_S, SMALL, Cloud
from tests.integration.ucloud_scheduler.conftest import StartScheduler


def test_a_vm_is_placed_updated_and_released(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.wait_role("leading")
    cloud.add_host("h1")
    request = cloud.add_vm()
    host, placement = cloud.placement(request.uuid)
    assert (host, placement.epoch, placement.generation, placement.request) == ("h1", 1, 1, request)

    stopped = cloud.change_vm(request, requested=Requested.STOPPED)
    wait_for("generation 2", lambda: cloud.placement(request.uuid)[1].generation == 2, DEADLINE_S)
    host, updated = cloud.placement(request.uuid)
    assert updated == placement.model_copy(update={"generation": 2, "request": stopped})

    cloud.report("h1", request.uuid, updated, Actual.STOPPED)
    cloud.change_vm(stopped, requested=Requested.DELETED)
    wait_for("generation 3", lambda: cloud.placement(request.uuid)[1].generation == 3, DEADLINE_S)
    cloud.report("h1", request.uuid, cloud.placement(request.uuid)[1], Actual.DELETED)
    cloud.wait_gone(keys.vm(request.uuid))
    assert cloud.store.get(keys.placement("h1", request.uuid)) is None
    assert cloud.store.get(keys.name("admin", "vm", request.name)) is None
    assert cloud.store.get(keys.image_use(cloud.image, request.uuid)) is None
    wait_for("its events", lambda: _events(cloud, request.uuid)[-2:] == ["placed on h1", "gone"], DEADLINE_S)
    assert scheduler.end() == 0


def test_what_finds_no_room_says_why_and_is_placed_when_there_is_some(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    scheduler = start_scheduler()
    large = cloud.add_vm(Specs.of(cpu=1, ram_mib=65536, ssd_mib=1024))
    cloud.wait_reason(large.uuid, "there is no host yet")
    cloud.add_host("small")
    cloud.set_host("draining", HostState.DRAINING)
    cloud.add_host("draining", ram_mib=65536)
    cloud.put(keys.host_status("silent"), b'{"version":1,"name":"silent","cpu":1,"ram_mib":65536}')
    cloud.wait_reason(large.uuid, "no host has 64 GiB RAM free: 1 too small, 1 draining, 1 silent")
    # It is in nobody's way.
    small = cloud.add_vm()
    assert cloud.placement(small.uuid)[0] == "small"
    wait_for("the count", lambda: _waiting(scheduler, "no_room") == 1, DEADLINE_S)
    cloud.set_host("draining", HostState.ENABLED)
    assert cloud.placement(large.uuid)[0] == "draining"
    cloud.wait_gone(keys.vm_status("-", large.uuid))


def _events(cloud: Cloud, vm_uuid: str) -> list[str]:
    entries = cloud.store.list(keys.events(keys.SCHEDULER_REPORTER, "vm", vm_uuid)).entries
    assert all(entry.lease for entry in entries)
    return [EventRecord.read(entry.key, entry.value).what for entry in entries]


def _waiting(scheduler: DaemonProcess, reason: str) -> float:
    return scheduler.metric("ucloud_scheduler_pending_vms", reason=reason)


def test_deleting_a_vm_makes_room_for_another(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    start_scheduler()
    cloud.add_host("h1", ram_mib=1024)
    first = cloud.add_vm()
    _, placement = cloud.placement(first.uuid)
    second = cloud.add_vm()
    cloud.wait_reason(second.uuid, "no host has 1 GiB RAM free: 1 full")
    cloud.change_vm(first, requested=Requested.DELETED)
    cloud.report("h1", first.uuid, placement, Actual.DELETED)
    assert cloud.placement(second.uuid)[0] == "h1"


def test_growth_waits_for_room_without_being_in_the_way_of_other_wishes(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    scheduler = start_scheduler()
    cloud.add_host("h1", ram_mib=3072)
    first, second = cloud.add_vm(), cloud.add_vm()
    placements = [cloud.placement(request.uuid)[1] for request in (first, second)]
    large = SMALL.model_copy(update={"ram_mib": 3072})
    grown = cloud.change_vm(first, specs=large)
    cloud.wait_reason(first.uuid, "host h1 has not another 2 GiB RAM free")
    wait_for("the count", lambda: _waiting(scheduler, "no_room_to_grow") == 1, DEADLINE_S)

    stopped = cloud.change_vm(grown, requested=Requested.STOPPED)
    wait_for("generation 3", lambda: cloud.placement(first.uuid)[1].generation == 3, DEADLINE_S)
    ordered = stopped.model_copy(update={"specs": SMALL})
    assert cloud.placement(first.uuid)[1] == placements[0].model_copy(update={"generation": 3, "request": ordered})

    # The other shrinks, which frees too little, and goes, which is enough.
    smaller = cloud.change_vm(second, specs=SMALL.model_copy(update={"ram_mib": 512}))
    wait_for("the smaller one", lambda: cloud.placement(second.uuid)[1].generation == 2, DEADLINE_S)
    deleted = cloud.change_vm(smaller, requested=Requested.DELETED)
    cloud.report("h1", deleted.uuid, placements[1], Actual.DELETED)
    wait_for("the larger one", lambda: cloud.placement(first.uuid)[1].request == stopped, DEADLINE_S)
    assert cloud.placement(first.uuid)[1].generation == 3
    cloud.wait_gone(keys.vm_status("-", first.uuid))
    assert cloud.used()["h1"]["ram_mib"] == 3072


def test_shrinking_makes_room_for_another(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    start_scheduler()
    cloud.add_host("h1", ram_mib=1536)
    first = cloud.add_vm()
    cloud.placement(first.uuid)
    second = cloud.add_vm()
    cloud.wait_reason(second.uuid, "no host has 1 GiB RAM free: 1 full")
    cloud.change_vm(first, specs=SMALL.model_copy(update={"ram_mib": 512}))
    assert cloud.placement(second.uuid)[0] == "h1"


def test_a_waiting_vm_that_is_deleted_leaves_nothing(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    start_scheduler()
    request = cloud.add_vm()
    cloud.wait_reason(request.uuid, "there is no host yet")
    cloud.change_vm(request, requested=Requested.DELETED)
    cloud.wait_gone(keys.vm(request.uuid))
    assert cloud.store.get(keys.vm_status("-", request.uuid)) is None
    assert cloud.store.list(keys.image_uses(cloud.image)).entries == ()


def test_malformed_records_are_left_alone(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    cloud.add_host("h1")
    malformed = cloud.request()
    cloud.put(keys.vm(malformed.uuid), b"{")
    doubtful = cloud.request()
    cloud.put(keys.placement("h9", doubtful.uuid), b"{}")
    cloud.put(keys.vm(doubtful.uuid), doubtful.to_json())
    scheduler = start_scheduler()
    good = cloud.add_vm()
    wait_for("the good one", lambda: cloud.store.get(keys.placement("h1", good.uuid)), DEADLINE_S)
    assert {key.key for key in cloud.store.list(keys.PLACEMENT).entries} == {
        keys.placement("h1", good.uuid),
        keys.placement("h9", doubtful.uuid),
    }
    report = scheduler.health()
    assert report is not None
    assert report["status"] == "ok"
    assert report["malformed_records"] == {
        keys.vm(malformed.uuid): "not JSON",
        keys.placement("h9", doubtful.uuid): "version: a positive integer is required",
    }


def test_a_placement_without_a_request_stays(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    cloud.add_host("h1")
    request = cloud.add_vm()
    cloud.placement(request.uuid)
    cloud.remove(keys.vm(request.uuid))
    cloud.report("h1", request.uuid, cloud.placement(request.uuid)[1], Actual.DELETED)
    cloud.placement(cloud.add_vm().uuid)
    assert cloud.placement(request.uuid)[0] == "h1"
    assert scheduler.log.read_text().count("has no request but is placed on h1") == 1


def test_500_vms_over_20_hosts(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    for number in range(20):
        cloud.add_host(f"h{number:02}", cpu=8, ram_mib=30 * 1024, store_id=f"shared-{number % 5}", ssd_mib=2_000_000)
    start_scheduler()
    start_scheduler()
    requests = [cloud.add_vm() for _ in range(500)]
    cloud.wait_placed(500, timeout_s=30)
    placed = [vm for _, vm in cloud.placements()]
    assert sorted(placed) == sorted(request.uuid for request in requests)
    for sums in cloud.used().values():
        assert sums["ram_mib"] <= 30 * 1024
        assert sums["cpu"] <= 8 * 4
        # Spread: 25 VMs each, if nobody is preferred.
        assert 24 * SMALL.ram_mib <= sums["ram_mib"] <= 26 * SMALL.ram_mib


def test_an_operator_sees_the_state_of_the_cloud_of_the_elected_instance_alone(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    scheduler = start_scheduler()
    scheduler.wait_role("leading")
    standby = start_scheduler()
    cloud.add_host("h1", cpu=4, ram_mib=4096)
    deploying, running, stopped = cloud.add_vm(), cloud.add_vm(), cloud.add_vm(requested=Requested.STOPPED)
    for request, actual in ((running, Actual.RUNNING), (stopped, Actual.STOPPED)):
        cloud.report("h1", request.uuid, cloud.placement(request.uuid)[1], actual)
    cloud.placement(deploying.uuid)
    large = cloud.add_vm(Specs.of(cpu=1, ram_mib=65536, ssd_mib=1024))
    cloud.wait_reason(large.uuid, "no host has 64 GiB RAM free: 1 too small")

    def count(requested: str, actual: str) -> float:
        return scheduler.metric("ucloud_vms", requested=requested, actual=actual)

    wait_for("STOPPED", lambda: count("STOPPED", "STOPPED") == 1, DEADLINE_S)
    assert count("RUNNING", "DEPLOYING") == 1
    assert count("RUNNING", "RUNNING") == 1
    assert count("RUNNING", "PENDING") == 1
    assert _waiting(scheduler, "no_room") == 1
    assert _waiting(scheduler, "no_host") == 0
    # Four times as many processors are promised as there are.
    assert scheduler.metric("ucloud_host_capacity", host="h1", resource="cpu") == 16
    assert scheduler.metric("ucloud_host_promised", host="h1", resource="cpu") == 3
    assert scheduler.metric("ucloud_host_capacity", host="h1", resource="ram") == 4096
    assert scheduler.metric("ucloud_host_promised", host="h1", resource="ssd") == 3 * SMALL.ssd_mib
    assert scheduler.metric("ucloud_scheduler_placed_after_seconds_count") == 3
    assert standby.metric("ucloud_vms") == 0
    cloud.remove(keys.alive("h1"))
    wait_for("UNKNOWN", lambda: count("STOPPED", "UNKNOWN") == 1, DEADLINE_S)


def test_a_new_vm_does_not_wait_for_all_those_that_wait(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    cloud.add_host("h1")
    cloud.add_host("h2")
    for _ in range(300):
        waiting = cloud.add_vm(Specs.of(cpu=1, ram_mib=65536, ssd_mib=1024))
    start_scheduler()
    cloud.wait_reason(waiting.uuid, "no host has 64 GiB RAM free: 2 too small")
    # Each time the hosts change, all of them are looked at again.
    for turn in range(10):
        cloud.set_host("h2", HostState.DRAINING if turn % 2 else HostState.ENABLED)
        began = time.monotonic()
        cloud.placement(cloud.add_vm().uuid)
        assert time.monotonic() - began < 5

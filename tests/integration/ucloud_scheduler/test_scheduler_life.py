"""A VM's life as the scheduler sees it, with a real scheduler and a real etcd."""

from common import keys
from common.schemas.host import HostState
from common.schemas.vm import Actual, Requested, Specs
from devcloud.waiting import wait_for
from tests.integration.ucloud_scheduler.cloud import DEADLINE_S, SMALL, Cloud
from tests.integration.ucloud_scheduler.conftest import StartScheduler


def test_a_vm_is_placed_updated_and_released(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.wait_role("leading")
    cloud.add_host("h1")
    request = cloud.add_vm()
    host, placement = cloud.placement(request.uuid)
    assert (host, placement.epoch, placement.generation, placement.request) == ("h1", 1, 1, request)

    stopped = cloud.change_vm(request, Requested.STOPPED)
    wait_for("generation 2", lambda: cloud.placement(request.uuid)[1].generation == 2, DEADLINE_S)
    host, updated = cloud.placement(request.uuid)
    assert updated == placement.model_copy(update={"generation": 2, "request": stopped})

    cloud.report("h1", request.uuid, updated, Actual.STOPPED)
    cloud.change_vm(stopped, Requested.DELETED)
    wait_for("generation 3", lambda: cloud.placement(request.uuid)[1].generation == 3, DEADLINE_S)
    cloud.report("h1", request.uuid, cloud.placement(request.uuid)[1], Actual.DELETED)
    cloud.wait_gone(keys.vm(request.uuid))
    assert cloud.store.get(keys.placement("h1", request.uuid)) is None
    assert cloud.store.get(keys.name("admin", "vm", request.name)) is None
    assert cloud.store.get(keys.image_use(cloud.image, request.uuid)) is None
    assert scheduler.end() == 0


def test_what_finds_no_room_says_why_and_is_placed_when_there_is_some(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    scheduler = start_scheduler()
    large = cloud.add_vm(Specs(cpu=1, ram_mib=65536, ssd_mib=1024))
    cloud.wait_reason(large.uuid, "there is no host yet")
    cloud.add_host("small")
    cloud.set_host("draining", HostState.DRAINING)
    cloud.add_host("draining", ram_mib=65536)
    cloud.put(keys.host_status("silent"), b'{"version":1,"name":"silent","cpu":1,"ram_mib":65536}')
    cloud.wait_reason(large.uuid, "no host has 64 GiB RAM free: 1 too small, 1 draining, 1 silent")
    # It is in nobody's way.
    small = cloud.add_vm()
    assert cloud.placement(small.uuid)[0] == "small"
    assert scheduler.metric("ucloud_scheduler_pending_vms") == 1
    cloud.set_host("draining", HostState.ENABLED)
    assert cloud.placement(large.uuid)[0] == "draining"
    cloud.wait_gone(keys.vm_status("-", large.uuid))


def test_deleting_a_vm_makes_room_for_another(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    start_scheduler()
    cloud.add_host("h1", ram_mib=1024)
    first = cloud.add_vm()
    _, placement = cloud.placement(first.uuid)
    second = cloud.add_vm()
    cloud.wait_reason(second.uuid, "no host has 1 GiB RAM free: 1 full")
    cloud.change_vm(first, Requested.DELETED)
    cloud.report("h1", first.uuid, placement, Actual.DELETED)
    assert cloud.placement(second.uuid)[0] == "h1"


def test_a_waiting_vm_that_is_deleted_leaves_nothing(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    start_scheduler()
    request = cloud.add_vm()
    cloud.wait_reason(request.uuid, "there is no host yet")
    cloud.change_vm(request, Requested.DELETED)
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

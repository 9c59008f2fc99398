"""Verdicts, as the judge writes them, and what the program ucloud-scheduler makes of them."""

from collections import Counter
from datetime import UTC, datetime

from common import keys
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual, Cause, Placement, Requested
from devcloud.waiting import wait_for
from tests.integration.ucloud_scheduler.cloud import DEADLINE_S, SMALL, Cloud
from tests.integration.ucloud_scheduler.conftest import StartScheduler

STORE = "shared"
MANY = 40


def _judge(cloud: Cloud, host: str, sentence: Sentence) -> None:
    cloud.put(keys.verdict(host), Verdict(host=host, sentence=sentence, since=datetime.now(UTC)).to_json())


def _die(cloud: Cloud, host: str) -> None:
    """The host's sign of life ends, and the judge is sure."""
    cloud.remove(keys.alive(host))
    _judge(cloud, host, Sentence.DEAD)


def _placed(cloud: Cloud) -> dict[str, tuple[str, Placement]]:
    """Host and placement of each VM; no VM has two."""
    placed: dict[str, tuple[str, Placement]] = {}
    for (host, vm_uuid), placement in cloud.placements().items():
        assert vm_uuid not in placed
        placed[vm_uuid] = (host, placement)
    return placed


def _wait_left(cloud: Cloud, host: str, count: int) -> None:
    wait_for(f"{count} VMs on {host}", lambda: Counter(on for on, _ in cloud.placements())[host] == count, DEADLINE_S)


def test_all_ha_vms_of_a_dead_host_go_on_elsewhere(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    cloud.add_host("h1", ram_mib=MANY * 1024, cpu=MANY, store_id=STORE)
    vms = [cloud.add_vm() for _ in range(MANY)]
    bound = cloud.add_vm(ha=False)
    cloud.put(keys.host("h1"), b'{"version":1,"name":"h1","overcommit":{"ram":2}}')
    cloud.wait_placed(MANY + 1)
    for vm_uuid, (host, placement) in _placed(cloud).items():
        cloud.report(host, vm_uuid, placement, Actual.RUNNING)
    for name in ("h2", "h3"):
        cloud.add_host(name, ram_mib=MANY * 1024, cpu=MANY, store_id=STORE)
    cloud.add_host("h4", ram_mib=1024 * 1024, cpu=256)

    cloud.remove(keys.alive("h1"))
    _judge(cloud, "h1", Sentence.SILENT)
    cloud.placement(cloud.add_vm().uuid)
    assert Counter(host for host, _ in cloud.placements())["h1"] == MANY + 1
    _judge(cloud, "h1", Sentence.DEAD)
    _wait_left(cloud, "h1", 1)
    placed = _placed(cloud)
    assert placed[bound.uuid][0] == "h1"
    for vm in vms:
        host, placement = placed[vm.uuid]
        assert host in ("h2", "h3")
        assert placement.epoch == 2
        assert placement.choice
        assert placement.choice.cause is Cause.DEAD
        assert placement.choice.refused["without its disk"] == 1
        assert cloud.store.get(keys.vm_status("h1", vm.uuid)) is None
    assert scheduler.metric("ucloud_scheduler_evacuations_total") == MANY


def test_who_finds_no_room_is_told_and_goes_on_before_new_vms_when_there_is_some(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    start_scheduler()
    cloud.add_host("h1", store_id=STORE)
    lost = cloud.add_vm()
    cloud.placement(lost.uuid)
    doomed = cloud.add_vm()
    cloud.placement(doomed.uuid)
    _die(cloud, "h1")
    cloud.wait_reason(lost.uuid, "its host h1 is dead, and no other host has its disk")
    new = cloud.add_vm()
    cloud.wait_reason(new.uuid, "no host takes new VMs: 1 dead")
    cloud.change_vm(doomed, requested=Requested.DELETED)
    cloud.add_host("h2", ram_mib=1024, store_id=STORE)
    wait_for("the lost one on h2", lambda: _placed(cloud)[lost.uuid][0] == "h2", DEADLINE_S)
    cloud.wait_gone(keys.vm_status("-", lost.uuid))
    cloud.wait_reason(new.uuid, "no host has 1 GiB RAM free: 1 full, 1 dead")
    # What is to be deleted is deleted where its disk is.
    wait_for("the doomed one on h2", lambda: _placed(cloud)[doomed.uuid][0] == "h2", DEADLINE_S)
    cloud.report("h2", doomed.uuid, _placed(cloud)[doomed.uuid][1], Actual.DELETED)
    cloud.wait_gone(keys.vm(doomed.uuid))


def test_a_host_that_is_back_keeps_what_was_not_taken_yet(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    cloud.add_host("h1", store_id=STORE)
    first = start_scheduler()
    vm = cloud.add_vm()
    cloud.placement(vm.uuid)
    first.end()
    _die(cloud, "h1")
    cloud.add_host("h2", store_id=STORE)
    # It takes up its sign of life, and its verdict goes, before anybody acts on that.
    cloud.add_host("h1", store_id=STORE)
    cloud.remove(keys.verdict("h1"))
    start_scheduler()
    cloud.placement(cloud.add_vm().uuid)
    assert _placed(cloud)[vm.uuid][0] == "h1"


def test_schedulers_that_die_in_the_midst_place_every_vm_once(cloud: Cloud, start_scheduler: StartScheduler) -> None:
    cloud.add_host("h1", ram_mib=200 * 1024, cpu=200, ssd_mib=10**7, store_id=STORE)
    first = start_scheduler()
    first.wait_role("leading")
    vms = [cloud.add_vm() for _ in range(200)]
    cloud.wait_placed(200)
    for name in ("h2", "h3"):
        cloud.add_host(name, ram_mib=100 * 1024, cpu=100, ssd_mib=10**7, store_id=STORE)
    second = start_scheduler()
    _die(cloud, "h1")
    first.kill()
    second.wait_role("leading")
    _wait_left(cloud, "h1", 0)
    assert sorted(_placed(cloud)) == sorted(vm.uuid for vm in vms)
    assert all(placement.epoch == 2 for _, placement in _placed(cloud).values())
    used = cloud.used()
    assert [used[name]["ram_mib"] for name in ("h2", "h3")] == [100 * SMALL.ram_mib] * 2

"""What becomes of the VMs of a dead host."""

import pytest

from common.schemas.host import HostState
from common.schemas.verdict import Sentence
from common.schemas.vm import Actual, Cause, Choice, Placement, Requested, Role, Specs
from tests.unit.ucloud_scheduler.snapshots import (
    EARLIER,
    NOW,
    SMALL,
    make_dead,
    make_host,
    make_placement,
    make_request,
    make_snapshot,
    make_status,
    make_vm,
)
from ucloud_scheduler.filters import Why
from ucloud_scheduler.plan import plan
from ucloud_scheduler.views import BriefStatus, Disk, Host, Judged, Vm
from ucloud_scheduler.writes import Clear, Evacuate, Place, Release, Report, Update, Write

SHARED = Disk("shared", 100_000)
OTHER = Disk("other", 100_000)
DEAD = make_dead("h1", ssd=SHARED)
HEIR = make_host("h2", ssd=SHARED)
SILENT = make_host("h1", ssd=SHARED, is_alive=False, verdict=Judged(Sentence.SILENT, 40))
BACK = make_host("h1", ssd=SHARED, verdict=Judged(Sentence.DEAD, 40))
REQUEST = make_request()
RUNS = make_status(1, Actual.RUNNING)


def _on(request=REQUEST, reported: BriefStatus | None = RUNS, **changes: object) -> Vm:  # type: ignore[no-untyped-def]
    placement = make_placement(request).model_copy(update=changes)
    return make_vm(request, {"h1": placement}, {"h1": reported} if reported else {})


def _writes(vm: Vm, *hosts: Host, used_mib: dict[str, int] | None = None) -> tuple[Write, ...]:
    return plan(make_snapshot([vm], list(hosts), used_mib), NOW).writes


def _reason(vm: Vm, *hosts: Host) -> str:
    (write,) = _writes(vm, *hosts)
    assert isinstance(write, Report)
    return write.status.reason


@pytest.mark.parametrize("requested", [Requested.RUNNING, Requested.STOPPED, Requested.SUSPENDED, Requested.DELETED])
def test_a_vm_of_a_dead_host_goes_on_where_its_disk_is(requested: Requested) -> None:
    request = make_request(requested=requested)
    vm = _on(request, moved=3)
    elsewhere = make_host("h3", ssd=OTHER)
    (write,) = _writes(vm, DEAD, HEIR, elsewhere, used_mib={"shared": 100_000})
    score = 0.0 if requested is Requested.DELETED else 0.125
    choice = Choice(cause=Cause.DEAD, hosts=3, refused={"dead": 1} | ({"without its disk": 1}), scores=(("h2", score),))
    expected = Placement(epoch=2, generation=1, request=request, placed_at=NOW, choice=choice, moved=3)
    assert write == Evacuate(vm, "h2", expected, {"h1": Judged(Sentence.DEAD, 40)})


@pytest.mark.parametrize("host", [SILENT, BACK, make_host("h1", ssd=SHARED, is_alive=False)])
def test_nothing_is_taken_from_a_host_that_may_live(host: Host) -> None:
    assert _writes(_on(), host, HEIR) == ()


def test_without_ha_it_stays() -> None:
    assert _writes(_on(make_request(ha=False)), DEAD, HEIR) == ()
    # It was made an HA VM when nobody on its host could hear that.
    late = make_vm(make_request(generation=2), {"h1": make_placement(make_request(ha=False))}, {"h1": RUNS})
    (update,) = _writes(late, DEAD, HEIR)
    assert isinstance(update, Update)
    assert update.placement.ha_since == 2
    assert _writes(make_vm(late.request, {"h1": update.placement}, {"h1": RUNS}), DEAD, HEIR) == ()
    heard = make_status(1, Actual.RUNNING, generation=2)
    (write,) = _writes(make_vm(late.request, {"h1": update.placement}, {"h1": heard}), DEAD, HEIR)
    assert isinstance(write, Evacuate)
    assert write.placement.ha_since == 0


def test_what_is_to_be_deleted_does_not_wait_for_a_dead_host_whether_ha_or_not() -> None:
    doomed = make_request(requested=Requested.DELETED, ha=False)
    full = make_host("h2", ssd=SHARED, used_cpu=99, used_ram_mib=99999)
    (write,) = _writes(_on(doomed), DEAD, full)
    assert isinstance(write, Evacuate)
    gone = make_status(1, Actual.DELETED)
    assert [type(write) for write in _writes(_on(doomed, gone), DEAD, full)] == [Release]


@pytest.mark.parametrize(
    ("hosts", "reason"),
    [
        ([make_host("h2", ssd=OTHER)], "its host h1 is dead, and no other host has its disk"),
        ([], "its host h1 is dead, and no other host has its disk"),
        (
            [make_host("h2", ssd=SHARED, used_ram_mib=8000), make_host("h3", ssd=OTHER)],
            "its host h1 is dead, and no host has 1 GiB RAM free: 1 full, 1 without its disk, 1 dead",
        ),
        (
            [make_host("h2", ssd=SHARED, state=HostState.DRAINING)],
            "its host h1 is dead, and no host takes new VMs: 1 dead, 1 draining",
        ),
        (
            [make_host("h2", ssd=SHARED, verdict=Judged(Sentence.SILENT, 41), is_alive=False)],
            "its host h1 is dead, and no host takes new VMs: 1 dead, 1 silent",
        ),
        (
            [make_host("h2", ssd=SHARED, tenants=frozenset({"alice"}))],
            "its host h1 is dead, and no host will do: 1 for other tenants, 1 dead",
        ),
    ],
)
def test_the_reason_why_it_waits(hosts: list[Host], reason: str) -> None:
    assert _reason(_on(), DEAD, *hosts) == reason


def test_the_second_disk_must_be_there_too() -> None:
    request = make_request(specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=1, hdd_mib=1))
    dead = make_dead("h1", ssd=SHARED, hdd=OTHER)
    assert _reason(_on(request), dead, HEIR) == "its host h1 is dead, and no other host has its disk"
    (write,) = _writes(_on(request), dead, HEIR, make_host("h3", ssd=SHARED, hdd=OTHER))
    assert isinstance(write, Evacuate)
    assert write.host == "h3"
    forgetful = make_dead("h1", ssd=SHARED)
    assert "no other host has its disk" in _reason(_on(request), forgetful, HEIR)


def test_it_goes_on_as_it_was_where_it_can_not_grow() -> None:
    larger = make_request(specs=Specs.of(cpu=1, ram_mib=4096, ssd_mib=1024), generation=2)
    vm = make_vm(larger, {"h1": make_placement(REQUEST)}, {"h1": RUNS})
    narrow = make_host("h2", ssd=SHARED, used_ram_mib=6000)
    planned = plan(make_snapshot([vm], [DEAD, narrow]), NOW)
    (write,) = planned.writes
    assert isinstance(write, Evacuate)
    assert write.placement.request.specs == SMALL
    assert planned.waiting == {vm.uuid: Why.NO_ROOM_TO_GROW}
    (write,) = _writes(vm, DEAD, HEIR)
    assert isinstance(write, Evacuate)
    assert write.placement.request == larger


def test_a_dead_hosts_word_holds_nothing_back() -> None:
    stray = make_vm(REQUEST, {}, {"h1": RUNS})
    (write,) = _writes(stray, DEAD, HEIR)
    assert isinstance(write, Evacuate)
    assert (write.host, write.placement.epoch, list(write.dead)) == ("h2", 2, ["h1"])
    assert _reason(stray, SILENT, HEIR) == "waiting until it is gone from host h1"
    bound = make_vm(make_request(ha=False), {}, {"h1": RUNS})
    assert _reason(bound, DEAD, HEIR) == "waiting until it is gone from host h1"
    # The word of a living one does.
    both = make_vm(REQUEST, {"h1": make_placement(REQUEST)}, {"h1": RUNS, "h3": RUNS})
    assert _reason(both, DEAD, HEIR, make_host("h3", ssd=SHARED)) == "waiting until it is gone from host h3"


def test_what_moves_or_can_not_be_read_is_not_evacuated() -> None:
    assert _writes(make_vm(REQUEST, {"h1": None}, {"h1": RUNS}), DEAD, HEIR) == ()
    left = make_placement(REQUEST).model_copy(update={"role": Role.LEFT})
    for write in _writes(make_vm(REQUEST, {"h1": left, "h3": make_placement(REQUEST, 2)}), DEAD, HEIR):
        assert not isinstance(write, Evacuate | Place)


def test_the_report_is_cleared_when_the_host_is_back() -> None:
    vm = make_vm(REQUEST, {"h1": make_placement(REQUEST)}, {"h1": RUNS}, reason="its host h1 is dead, and ...")
    assert _writes(vm, make_host("h1", ssd=SHARED), HEIR) == (Clear(vm),)


def test_who_is_served_first_where_room_is_short() -> None:
    """VMs of dead hosts, then those of a higher priority, then the older ones."""
    narrow = make_host("h2", ssd=SHARED, ram_mib=2048)
    new = [make_vm(make_request(n, priority=priority)) for n, priority in ((1, 50), (2, 60), (3, 60), (4, 10))]
    lost = _on(make_request(9, priority=0))
    snapshot = make_snapshot([*new, lost], [DEAD, narrow])
    placed = [write.vm.uuid[-1] for write in plan(snapshot, NOW).writes if isinstance(write, Evacuate | Place)]
    assert placed == ["9", "2"]
    assert lost.request
    assert lost.request.created_at > EARLIER

"""What is written for a VM: a table over its request, placements, statuses and the hosts."""

import pytest

from common.schemas.host import HostState
from common.schemas.vm import Actual, Cause, Choice, Event, Placement, Requested, Specs, VmStatus
from tests.unit.ucloud_scheduler.snapshots import (
    EARLIER,
    NOW,
    SMALL,
    make_host,
    make_placement,
    make_request,
    make_snapshot,
    make_status,
    make_vm,
)
from ucloud_scheduler.filters import Why
from ucloud_scheduler.plan import plan
from ucloud_scheduler.views import BriefStatus, Disk, Host, Vm
from ucloud_scheduler.writes import Clear, Place, Release, Report, Update, Write

REQUEST = make_request()
DELETED = make_request(requested=Requested.DELETED, generation=2)
NEWER = make_request(requested=Requested.STOPPED, generation=2)
GONE = make_status(1, Actual.DELETED)
HERE = make_status(1, Actual.RUNNING)


def _writes(vm: Vm, *hosts: Host) -> tuple[Write, ...]:
    return plan(make_snapshot([vm], list(hosts)), NOW).writes


def _reason(vm: Vm, *hosts: Host) -> str:
    (write,) = _writes(vm, *hosts)
    assert isinstance(write, Report)
    return write.status.reason


@pytest.mark.parametrize("requested", [Requested.RUNNING, Requested.STOPPED, Requested.SUSPENDED])
def test_a_new_vm_is_placed(requested: Requested) -> None:
    request = make_request(requested=requested)
    vm = make_vm(request)
    choice = Choice(cause=Cause.NEW, hosts=2, refused={"silent": 1}, scores=(("h1", 0.125),))
    expected = Placement(epoch=1, generation=1, request=request, placed_at=NOW, choice=choice)
    assert _writes(vm, make_host(), make_host("h2", is_alive=False)) == (Place(vm, "h1", expected),)


@pytest.mark.parametrize(("reported", "epoch"), [({"h1": GONE}, 2), ({"h1": make_status(7, Actual.DELETED)}, 8)])
def test_the_epoch_is_younger_than_any_seen(reported: dict[str, BriefStatus | None], epoch: int) -> None:
    (write,) = _writes(make_vm(REQUEST, reported=reported), make_host())
    assert isinstance(write, Place)
    assert write.placement.epoch == epoch


@pytest.mark.parametrize("status", [HERE, make_status(1, Actual.ERROR), None])
@pytest.mark.parametrize("request_", [REQUEST, DELETED])
def test_a_vm_that_a_host_still_reports_is_neither_placed_nor_released(status: BriefStatus | None, request_) -> None:  # type: ignore[no-untyped-def]
    vm = make_vm(request_, reported={"h9": status})
    assert _reason(vm, make_host()) == "waiting until it is gone from host h9"


@pytest.mark.parametrize(
    ("placed", "reported"),
    [
        ({"h1": make_placement(REQUEST)}, {"h1": HERE}),
        ({"h9": make_placement(REQUEST)}, {}),
        ({"h9": None}, {}),
        ({"h9": make_placement(REQUEST)}, {"h9": GONE}),
        ({"h1": make_placement(REQUEST), "h9": make_placement(REQUEST)}, {}),
    ],
    ids=["runs", "host unknown", "malformed", "gone unasked", "twice"],
)
def test_a_placed_vm_is_never_placed_again(
    placed: dict[str, Placement | None], reported: dict[str, BriefStatus | None]
) -> None:
    assert _writes(make_vm(REQUEST, placed, reported), make_host(), make_host("h2")) == ()


def test_two_placements_are_told() -> None:
    vm = make_vm(REQUEST, {"h1": make_placement(REQUEST), "h2": make_placement(REQUEST)})
    assert plan(make_snapshot([vm], []), NOW).oddities == (
        f"VM {vm.uuid} is placed more than once, on h1, h2: left alone",
    )


@pytest.mark.parametrize("newer", [NEWER, DELETED])
def test_a_newer_request_is_passed_on_with_the_same_epoch(newer) -> None:  # type: ignore[no-untyped-def]
    vm = make_vm(newer, {"h1": make_placement(REQUEST, epoch=3)}, {"h1": make_status(3, Actual.RUNNING)})
    expected = Placement(epoch=3, generation=2, request=newer, placed_at=EARLIER)
    assert _writes(vm) == (Update(vm, "h1", expected),)


def test_growth_needs_room_and_shrinking_does_not() -> None:
    placed: dict[str, Placement | None] = {
        "h1": make_placement(make_request(specs=Specs.of(cpu=2, ram_mib=4096, ssd_mib=9)))
    }
    full = make_host(used_cpu=8, used_ram_mib=9000)
    larger = make_vm(make_request(specs=Specs.of(cpu=2, ram_mib=4097, ssd_mib=9), generation=2), placed)
    _, report = _writes(larger, full)
    assert isinstance(report, Report)
    assert report.status.reason == "host h1 has not another 1 MiB RAM free"
    smaller = make_vm(make_request(specs=Specs.of(cpu=1, ram_mib=512, ssd_mib=9), generation=2), placed)
    assert [type(write) for write in _writes(smaller, full)] == [Update]
    assert [type(write) for write in _writes(larger, make_host(used_ram_mib=8191))] == [Update]
    both = [make_vm(make_request(n, Specs.of(cpu=2, ram_mib=4097, ssd_mib=9), generation=2), placed) for n in (1, 2)]
    writes = plan(make_snapshot(both, [make_host(used_ram_mib=8191)]), NOW).writes
    assert [type(write) for write in writes] == [Update, Update, Report]


HELD = Specs.of(cpu=2, ram_mib=4096, ssd_mib=9)
GROWN = Specs.of(cpu=1, ram_mib=5120, ssd_mib=9)


def test_growth_without_room_is_in_the_way_of_nothing_else() -> None:
    held = make_request(specs=HELD)
    wanted = make_request(specs=GROWN, requested=Requested.STOPPED, generation=2)
    vm = make_vm(wanted, {"h1": make_placement(held, epoch=3)})
    update, report = _writes(vm, make_host(used_ram_mib=8000))
    ordered = wanted.model_copy(update={"specs": HELD})
    expected = Placement(epoch=3, generation=2, request=ordered, placed_at=EARLIER)
    assert update == Update(vm, "h1", expected)
    assert isinstance(report, Report)
    assert (report.status.reason, report.status.generation) == ("host h1 has not another 1 GiB RAM free", 2)


def test_growth_that_waits_is_told_once_and_done_when_there_is_room() -> None:
    wanted = make_request(specs=GROWN, generation=2)
    kept = make_placement(wanted.model_copy(update={"specs": HELD}), epoch=3)
    full, roomy = make_host(used_ram_mib=8000), make_host(used_ram_mib=4096)
    waiting = make_vm(wanted, {"h1": kept})
    (report,) = _writes(waiting, full)
    assert isinstance(report, Report)
    told = waiting._replace(pending=report.status)
    planned = plan(make_snapshot([told], [full]), NOW)
    assert (planned.writes, planned.waiting) == ((), {told.uuid: Why.NO_ROOM_TO_GROW})
    expected = Placement(epoch=3, generation=2, request=wanted, placed_at=EARLIER)
    assert _writes(told, roomy) == (Update(told, "h1", expected), Clear(told))
    # Or the owner thinks better of it.
    less = make_request(specs=HELD, generation=3)
    resigned = told._replace(request=less)
    expected = Placement(epoch=3, generation=3, request=less, placed_at=EARLIER)
    assert _writes(resigned, full) == (Update(resigned, "h1", expected), Clear(resigned))


def test_a_host_that_nobody_knows_has_no_room_for_growth() -> None:
    vm = make_vm(make_request(specs=GROWN), {"h9": make_placement(make_request(specs=HELD))})
    assert _reason(vm) == "host h9 has not another 1 GiB RAM free"


def test_a_vm_that_is_to_be_deleted_grows_no_more() -> None:
    wanted = make_request(specs=GROWN, requested=Requested.DELETED, generation=2)
    vm = make_vm(wanted, {"h1": make_placement(make_request(specs=HELD))})
    (update,) = _writes(vm, make_host())
    assert isinstance(update, Update)
    assert update.placement.request == wanted.model_copy(update={"specs": HELD})
    after = make_vm(wanted, {"h1": update.placement})
    assert _writes(after, make_host()) == ()


def test_a_deleted_vm_is_released_when_its_host_says_so_of_this_epoch() -> None:
    placed: dict[str, Placement | None] = {"h1": make_placement(DELETED, epoch=2)}
    older = make_vm(DELETED, placed, {"h1": make_status(1, Actual.DELETED)})
    assert _writes(older) == ()
    assert _writes(make_vm(DELETED, placed, {"h1": None})) == ()
    assert _writes(make_vm(DELETED, placed)) == ()
    gone = make_vm(DELETED, placed, {"h1": make_status(2, Actual.DELETED)})
    assert _writes(gone) == (Release(gone, DELETED),)
    elsewhere = make_vm(DELETED, placed, {"h1": make_status(2, Actual.DELETED), "h2": HERE})
    assert _reason(elsewhere) == "waiting until it is gone from host h2"


def test_a_deleted_vm_that_was_never_placed_is_released_at_once() -> None:
    vm = make_vm(DELETED, reason="there is no host yet")
    assert _writes(vm, make_host()) == (Release(vm, DELETED),)


def test_what_is_malformed_is_left_alone() -> None:
    assert _writes(make_vm(REQUEST, is_malformed=True), make_host()) == ()
    assert _writes(make_vm(None, is_malformed=True, reason="x"), make_host()) == ()
    assert _writes(make_vm(NEWER, {"h1": None}), make_host()) == ()


def test_a_placement_without_a_request_is_left_alone_and_told() -> None:
    vm = make_vm(None, {"h1": make_placement(REQUEST)}, {"h1": GONE})
    planned = plan(make_snapshot([vm], [make_host()]), NOW)
    assert planned.writes == ()
    assert planned.oddities == (f"VM {vm.uuid} has no request but is placed on h1: left alone",)


def test_a_report_is_written_once_and_cleared_when_it_holds_no_more() -> None:
    assert _reason(make_vm(REQUEST)) == "there is no host yet"
    assert _writes(make_vm(REQUEST, reason="there is no host yet")) == ()
    (changed,) = _writes(make_vm(REQUEST, reason="something else"))
    assert isinstance(changed, Report)
    assert changed.status.since == EARLIER
    (again,) = _writes(make_vm(NEWER, reason="there is no host yet"))
    assert isinstance(again, Report)
    assert again.status.generation == 2
    for vm in (make_vm(REQUEST, {"h1": make_placement(REQUEST)}, reason="x"), make_vm(None, reason="x")):
        assert _writes(vm) == (Clear(vm),)


@pytest.mark.parametrize(
    ("specs", "hosts", "reason"),
    [
        (SMALL, [make_host(is_alive=False)], "no host takes new VMs: 1 silent"),
        (SMALL, [make_host(is_registered=False, is_alive=True)], "no host takes new VMs: 1 not registered yet"),
        (
            Specs.of(cpu=1, ram_mib=65536, ssd_mib=1),
            [make_host(f"s{number}") for number in range(12)]
            + [make_host(f"d{number}", ram_mib=99999, state=HostState.DRAINING) for number in range(3)]
            + [make_host("x", is_alive=False), make_host("y", state=HostState.DISABLED, is_alive=False)],
            "no host has 64 GiB RAM free: 12 too small, 1 disabled, 3 draining, 1 silent",
        ),
        (
            Specs.of(cpu=4, ram_mib=1024, ssd_mib=10 * 1024),
            [
                make_host("a", cpu=2),
                make_host("b", used_cpu=6),
                make_host("c", used_cpu=8),
                make_host("d", ssd=Disk("s", 1024)),
            ],
            "no host has 4 CPU and 10 GiB SSD free: 1 too small (CPU), 2 full (CPU), 1 too small (SSD)",
        ),
        (SMALL, [make_host(ssd=None)], "no host has 1 GiB SSD free: 1 too small"),
        (
            Specs.of(cpu=1, ram_mib=64, ssd_mib=1, hdd_mib=2048),
            [make_host(), make_host("h2", hdd=Disk("store-h2", 2048), ssd=Disk("store-h2", 2048))],
            "no host has 2 GiB HDD free: 2 too small",
        ),
    ],
)
def test_the_reason_counts_what_is_in_the_way(specs: Specs, hosts: list[Host], reason: str) -> None:
    assert _reason(make_vm(make_request(specs=specs)), *hosts) == reason


def test_a_store_that_hosts_share_is_counted_once() -> None:
    hosts = [make_host(name, ssd=Disk("shared", 4096)) for name in ("h1", "h2", "h3")]
    vms = [make_vm(make_request(number)) for number in range(1, 5)]
    writes = plan(make_snapshot(vms, hosts, {"shared": 1024}), NOW).writes
    assert [type(write) for write in writes] == [Place, Place, Place, Report]


def test_vms_spread_and_one_that_finds_no_room_is_in_nobodys_way() -> None:
    hosts = [make_host("h3"), make_host("h1"), make_host("h2", used_ram_mib=1024, used_cpu=1)]
    vms = [make_vm(make_request(number)) for number in range(2, 7)]
    vms.insert(0, make_vm(make_request(1, Specs.of(cpu=1, ram_mib=10**6, ssd_mib=1))))
    planned = plan(make_snapshot(vms[::-1], hosts), NOW)
    assert [write.host for write in planned.writes if isinstance(write, Place)] == ["h1", "h3", "h1", "h2", "h3"]
    assert planned.waiting == {vms[0].uuid: Why.NO_ROOM}


def test_what_is_reported_is_a_status_of_a_vm_that_others_can_read() -> None:
    (write,) = _writes(make_vm(REQUEST))
    assert isinstance(write, Report)
    read = VmStatus.read("/k", write.status.to_json())
    assert (read.actual, read.reason, read.since) == (Actual.PENDING, "there is no host yet", NOW)
    full = read.model_copy(update={"events": (Event(at=NOW, what="began"),), "addresses": ("fd00::1",)})
    assert BriefStatus.read("/k", full.to_json()) == write.status

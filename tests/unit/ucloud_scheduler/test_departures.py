"""How a VM begins to move: a table over what it does, what hosts have and can, and what is said."""

import pytest

from common.schemas.snapshot import Snapshot
from common.schemas.vm import Actual, Cause, Leaving, Placement, Role, Specs
from tests.unit.ucloud_scheduler.snapshots import (
    NOW,
    make_dead,
    make_host,
    make_placement,
    make_request,
    make_snapshot,
    make_status,
    make_vm,
)
from ucloud_scheduler.departures import HAS_SNAPSHOTS, Departure, Departures, Limits, Stuck, Traffic, Waits
from ucloud_scheduler.views import Disk, Host, Placed, Vm, specs_of
from ucloud_scheduler.writes import Move

REQUEST = make_request(host_labels={})
ORDER = make_placement(REQUEST)
LIMITS = Limits(per_host=2, at_once=3)
SHARED = Disk("shared", 100_000)


def _live(name: str, **changes: object) -> Host:
    return make_host(name, moves_live=True, ssd=SHARED, **changes)  # type: ignore[arg-type]


def _own(name: str, **changes: object) -> Host:
    return make_host(name, moves_live=True, **changes)  # type: ignore[arg-type]


def _cold(name: str) -> Host:
    return make_host(name, ssd=SHARED)


def _vm(actual: Actual | None = Actual.RUNNING) -> Vm:
    return make_vm(REQUEST, {"h1": ORDER}, {"h1": make_status(1, actual)} if actual else {})


def _begin(vm: Vm, hosts: list[Host], traffic: Traffic | None = None, **words: object) -> Move | Waits | Stuck:
    departures = Departures(make_snapshot([vm], hosts), traffic or Traffic(), LIMITS, NOW)
    return departures.begin(Departure(vm, REQUEST, "h1", ORDER, Cause.DRAIN, **words))  # type: ignore[arg-type]


def _leaving(result: Move | Waits | Stuck) -> Leaving:
    assert isinstance(result, Move), result
    source, target = result.placements["h1"], next(order for host, order in result.placements.items() if host != "h1")
    assert source
    assert source.leaving
    assert target
    assert target.epoch == source.leaving.epoch
    assert (target.role, target.coming_from, target.copies_disks) == (
        Role.INCOMING,
        "h1",
        source.leaving.copies_disks,
    )
    return source.leaving


@pytest.mark.parametrize("actual", [Actual.RUNNING, Actual.SUSPENDED])
def test_a_guest_that_is_on_moves_live_and_rather_where_its_disk_is(actual: Actual) -> None:
    emptier = _own("h2")
    fuller = _live("h3", used_ram_mib=4096)
    result = _leaving(_begin(_vm(actual), [_live("h1"), emptier, fuller]))
    assert result == Leaving(to="h3", epoch=2, live=True)
    result = _leaving(_begin(_vm(actual), [_own("h1"), emptier, fuller]))
    assert result == Leaving(to="h2", epoch=2, live=True, copies_disks=True)


def test_what_has_snapshots_is_copied_nowhere() -> None:
    disks = REQUEST.specs.disks
    snapshot = Snapshot(id="s", name="before", created_at=NOW, disks=disks)
    request = REQUEST.model_copy(update={"snapshots": (snapshot,)})
    vm = _vm()
    for hosts, to in (([_own("h1"), _own("h2")], None), ([_live("h1"), _own("h2"), _live("h3")], "h3")):
        departures = Departures(make_snapshot([vm], hosts), Traffic(), LIMITS, NOW)
        result = departures.begin(Departure(vm, request, "h1", ORDER, Cause.DRAIN))
        if to is None:
            assert result == Stuck(HAS_SNAPSHOTS)
        else:
            assert _leaving(result) == Leaving(to=to, epoch=2, live=True)


def test_a_snapshot_takes_as_much_of_a_store_as_its_disks() -> None:
    disks = Specs.of(1, 64, 100, 10).disks
    snapshots = tuple(Snapshot(id=name, name=name, created_at=NOW, disks=disks) for name in ("a", "b"))
    request = make_request(specs=Specs.of(1, 64, 200, 20), snapshots=snapshots)
    specs = specs_of(Placed(make_placement(request), 1), request)
    assert specs
    assert (specs.cpu, specs.ssd_mib, specs.hdd_mib) == (1, 400, 40)
    moving = Placed(make_placement(request).model_copy(update={"role": Role.INCOMING}), 1)
    specs = specs_of(moving, request)
    assert specs
    assert (specs.ssd_mib, specs.hdd_mib) == (0, 0)


def test_nothing_is_copied_into_a_store_that_it_comes_from() -> None:
    hdd = Disk("both", 1000)
    hosts = [_own("h1", hdd=hdd), _own("h2", hdd=hdd)]
    result = _begin(_vm(), hosts)
    assert result == Stuck("no host will do: 1 it is there, 1 with one of its stores")


@pytest.mark.parametrize("actual", [Actual.STOPPED, Actual.KILLED, Actual.ERROR])
def test_a_guest_that_is_off_moves_as_its_disk_where_that_is_shared(actual: Actual) -> None:
    assert _leaving(_begin(_vm(actual), [_cold("h1"), _cold("h2")])) == Leaving(to="h2", epoch=2, live=False)
    result = _begin(_vm(actual), [_own("h1"), _own("h2")])
    assert result == Stuck("it is off; no host will do: 1 it is there, 1 without its disk")


def test_a_guest_that_can_not_move_live_is_shut_down_only_where_somebody_said_so() -> None:
    hosts = [_cold("h1"), _cold("h2")]
    reason = "it runs, and host h1 can't send guests that run; it would have to be shut down for it"
    assert _begin(_vm(), hosts) == Stuck(reason)
    assert _leaving(_begin(_vm(), hosts, cold=True)) == Leaving(to="h2", epoch=2, live=False)
    both = [_live("h1"), _live("h2")]
    assert _leaving(_begin(_vm(), both, cold=True)).live
    assert not _leaving(_begin(_vm(), both, cold=True, only_cold=True)).live
    assert _begin(_vm(), [_live("h1"), _cold("h2")]) == Stuck(
        "no host will do: 1 it is there, 1 without live moves; it would have to be shut down for it"
    )


@pytest.mark.parametrize(
    ("vm", "reason"),
    [
        (_vm(Actual.DEPLOYING), "host h1 is busy with it"),
        (_vm(Actual.STOPPING), "host h1 is busy with it"),
        (_vm(None), "host h1 is busy with it"),
        (make_vm(REQUEST, {"h1": ORDER}, {"h1": make_status(7, Actual.RUNNING)}), "host h1 is busy with it"),
        (make_vm(REQUEST, {"h1": ORDER}, {"h1": make_status(1, Actual.RUNNING, 0)}), "host h1 is busy with it"),
        (
            make_vm(REQUEST, {"h1": ORDER}, {"h1": make_status(1, Actual.RUNNING), "h3": make_status(0, Actual.ERROR)}),
            "something of it is still on host h3",
        ),
    ],
)
def test_what_is_not_settled_is_waited_for(vm: Vm, reason: str) -> None:
    assert _begin(vm, [_live("h1"), _live("h2")]) == Waits(reason)


def test_no_more_move_at_a_time_than_may() -> None:
    hosts = [_live(f"h{number}") for number in range(1, 7)]
    traffic = Traffic()
    for to in ("h2", "h3"):
        traffic.add("h1", to)
    assert _begin(_vm(), hosts, traffic) == Waits("2 VMs at a time leave host h1")
    traffic = Traffic()
    for source in ("h4", "h5", "h6"):
        traffic.add(source, "h3")
    assert _begin(_vm(), hosts, traffic) == Waits("3 VMs at a time move")
    traffic = Traffic()
    for source in ("h3", "h4"):
        traffic.add(source, "h2")
    assert _begin(_vm(), hosts[:2], traffic) == Waits("the hosts that would do are busy with other moves")
    assert _leaving(_begin(_vm(), hosts[:3], traffic)).to == "h3"


def test_what_begins_counts() -> None:
    vms = [make_vm(make_request(n), {"h1": make_placement(make_request(n))}) for n in (1, 2, 3)]
    vms = [vm._replace(statuses=_vm().statuses) for vm in vms]
    hosts = [_live("h1"), _live("h2", ram_mib=1500), _live("h3", ram_mib=1500)]
    departures = Departures(make_snapshot(vms, hosts), Traffic(), LIMITS, NOW)
    results = []
    for vm in vms:
        assert vm.request
        order = vm.placements["h1"].record
        assert order
        results.append(departures.begin(Departure(vm, vm.request, "h1", order, Cause.DRAIN)))
    assert sorted(_leaving(result).to for result in results[:2]) == ["h2", "h3"]
    assert isinstance(results[2], Waits)


def test_the_disk_that_stays_takes_no_room_and_the_one_that_is_copied_does() -> None:
    full = Disk("shared", 1)
    assert _leaving(_begin(_vm(), [_live("h1")._replace(ssd=full), _live("h2")._replace(ssd=full)])).to == "h2"
    result = _begin(_vm(), [_own("h1"), _own("h2", ssd_mib=10)])
    assert result == Stuck("no host has 1 GiB SSD free: 1 too small, 1 it is there")


@pytest.mark.parametrize(
    ("source", "reason"),
    [(make_dead("h1"), "host h1 is dead"), (make_host("h1", is_alive=False), "host h1 is silent")],
)
def test_nobody_leaves_a_host_that_does_not_answer(source: Host, reason: str) -> None:
    assert _begin(_vm(), [source, _live("h2")]) == Stuck(reason)


def test_only_the_host_that_was_asked_for_will_do() -> None:
    hosts = [_live("h1"), _live("h2"), _live("h3", used_ram_mib=4000)]
    assert _leaving(_begin(_vm(), hosts, to="h3")).to == "h3"
    result = _begin(_vm(), [*hosts[:2], _live("h3", used_ram_mib=8000)], to="h3")
    assert result == Stuck("no host has 1 GiB RAM free: 1 full, 1 it is there, 1 not asked for")


def test_traffic_is_that_of_the_vms_that_have_not_left() -> None:
    leaving = Leaving(to="h2", epoch=2, live=True)
    on_its_way = ORDER.model_copy(update={"leaving": leaving})
    left: Placement = on_its_way.model_copy(update={"role": Role.LEFT})
    vms = [make_vm(REQUEST, {"h1": on_its_way}), make_vm(REQUEST, {"h1": left}), _vm()]
    traffic = Traffic.of(vms)
    assert (traffic.leaving, traffic.coming) == ({"h1": 1}, {"h2": 1})

"""Wishes are tried once; drained hosts are left by their largest VMs first; what failed waits longer and longer."""

from datetime import timedelta

from common.schemas.cloud import Drain
from common.schemas.host import HostState
from common.schemas.vm import Actual, Cause, Leaving, MoveWish, Placement, Requested, Specs, Tried
from tests.unit.ucloud_scheduler.snapshots import (
    NOW,
    make_host,
    make_placement,
    make_request,
    make_snapshot,
    make_status,
    make_vm,
)
from ucloud_scheduler.departures import Departures, Limits, Traffic
from ucloud_scheduler.draining import Departing, depart, grant, try_again_at, wants_to_move
from ucloud_scheduler.views import Disk, Host, Vm
from ucloud_scheduler.writes import Move

SHARED = Disk("shared", 100_000)
H1, H2 = (make_host(name, moves_live=True, ssd=SHARED) for name in ("h1", "h2"))
DRAINED = H1._replace(state=HostState.DRAINING)


def _vm(number: int = 1, wish: MoveWish | None = None, ram_mib: int = 1024, **order: object) -> Vm:
    specs = Specs.of(cpu=1, ram_mib=ram_mib, ssd_mib=1)
    request = make_request(number, specs, move=wish)
    placement = make_placement(request).model_copy(update=order)
    return make_vm(request, {"h1": placement}, {"h1": make_status(1, Actual.RUNNING)})


def _departures(vms: list[Vm], hosts: list[Host], per_host: int = 2) -> Departures:
    return Departures(make_snapshot(vms, hosts), Traffic(), Limits(per_host, 8), NOW)


def _granted(vm: Vm, *hosts: Host) -> Placement | None:
    writes = grant([vm], _departures([vm], list(hosts)), NOW)
    return writes[0].placements["h1"] if writes else None


def test_a_wish_is_one_until_it_was_dealt_with() -> None:
    assert not wants_to_move(_vm())
    assert wants_to_move(_vm(wish=MoveWish(number=1)))
    assert not wants_to_move(_vm(wish=MoveWish(number=1), moved=1))
    assert not wants_to_move(_vm(wish=MoveWish(number=1))._replace(is_malformed=True))


def test_a_wish_is_granted_or_its_failure_noted_once() -> None:
    begun = _granted(_vm(wish=MoveWish(number=3, to="h2")), H1, H2)
    assert begun
    assert begun.leaving
    assert (begun.leaving.to, begun.moved) == ("h2", 3)
    failed = _granted(_vm(wish=MoveWish(number=3, to="h2")), H1)
    assert failed
    assert failed.tried
    assert (failed.moved, failed.leaving, failed.tried.to) == (3, None, "h2")
    assert failed.tried.reason == "no host will do: 1 it is there"
    assert _granted(_vm(wish=MoveWish(number=3), moved=3), H1, H2) is None


def test_a_wish_to_stay_or_to_be_where_it_is_needs_no_move() -> None:
    for wish in (MoveWish(number=2, cancelled=True), MoveWish(number=2, to="h1")):
        stays = _granted(_vm(wish=wish), H1, H2)
        assert stays
        assert (stays.moved, stays.leaving, stays.tried) == (2, None, None)


def test_a_wish_waits_for_what_is_under_way() -> None:
    leaving = Leaving(to="h2", epoch=2, live=True)
    assert _granted(_vm(wish=MoveWish(number=2), leaving=leaving), H1, H2) is None
    vm = _vm(wish=MoveWish(number=2))
    assert _granted(vm._replace(statuses={}), H1, H2) is None


def _depart(vms: list[Vm], *hosts: Host, per_host: int = 2) -> Departing:
    return depart(hosts, {"h1": vms}, _departures(vms, list(hosts), per_host), NOW)


def test_the_largest_leave_first_and_no_more_than_may() -> None:
    vms = [_vm(number, ram_mib=100 * number) for number in (1, 3, 2)]
    departing = _depart(vms, DRAINED, H2)
    assert [write.vm.uuid for write in departing.writes] == [vms[1].uuid, vms[2].uuid]
    assert departing.drains == {"h1": Drain(left=3, moving=2)}
    assert departing.again_at is None


def test_an_enabled_host_keeps_its_vms() -> None:
    assert _depart([_vm()], H1, H2) == Departing((), {}, None)
    assert _depart([_vm()], H1._replace(state=HostState.DISABLED), H2).writes == ()


def test_what_can_not_leave_is_named() -> None:
    vm = _vm()
    departing = _depart([vm], DRAINED)
    assert departing.writes == ()
    assert departing.drains == {"h1": Drain(left=1, moving=0, stuck={vm.uuid: "no host takes new VMs: 1 draining"})}


def test_a_cold_drain_shuts_guests_down() -> None:
    source, target = (host._replace(moves_live=False) for host in (DRAINED, H2))
    assert _depart([_vm()], source, target).writes == ()
    (write,) = _depart([_vm()], source._replace(drain_cold=True), target).writes
    assert isinstance(write, Move)
    assert write.placements["h1"]
    assert write.placements["h1"].leaving
    assert not write.placements["h1"].leaving.live


def test_what_failed_is_tried_again_after_growing_pauses() -> None:
    def tried(times: int, ago_s: float) -> Tried:
        return Tried(at=NOW - timedelta(seconds=ago_s), cause=Cause.DRAIN, to="h2", reason="broke", times=times)

    pauses = []
    for times in (1, 2, 3, 7, 50):
        at = try_again_at(make_placement(make_request()).model_copy(update={"tried": tried(times, 0)}))
        assert at
        pauses.append((at - NOW).total_seconds())
    assert pauses == [10, 20, 40, 600, 600]
    early = _vm(tried=tried(2, 15))
    departing = _depart([early], DRAINED, H2)
    assert departing.writes == ()
    assert departing.again_at == NOW + timedelta(seconds=5)
    assert departing.drains["h1"].stuck == {early.uuid: "broke; it is tried again"}
    assert len(_depart([_vm(tried=tried(2, 21))], DRAINED, H2).writes) == 1


def test_what_is_to_be_deleted_leaves_that_way() -> None:
    vm = _vm()
    assert vm.request
    doomed = vm._replace(request=vm.request.model_copy(update={"requested": Requested.DELETED}))
    assert _depart([doomed], DRAINED, H2).writes == ()

"""Balance: it ends, it never goes in circles, it keeps to its margin and its budget, and to what a VM needs."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.schemas.cloud import PlannedMove
from common.schemas.vm import Actual, Affinity, Cause, Choice, Leaving, Placement, Role, Specs, Tried
from tests.unit.ucloud_scheduler.snapshots import (
    NOW,
    make_host,
    make_placement,
    make_request,
    make_snapshot,
    make_status,
    make_vm,
)
from ucloud_scheduler.balance import STAYS, Aim, even_out, left_this_hour, moved_at
from ucloud_scheduler.views import Disk, Host, Vm

SHARED = Disk("shared", 10**9)
RAM_MIB = 10_000
MANY = 10_000


def _vm(number: int, host: str, ram_mib: int, **order: object) -> Vm:
    request = make_request(number, Specs.of(cpu=1, ram_mib=ram_mib, ssd_mib=1))
    placement = make_placement(request).model_copy(update=order)
    return make_vm(request, {host: placement}, {host: make_status(1, Actual.RUNNING)})


def _hosts(vms: list[Vm], names: list[str], ram_mib: int = RAM_MIB, **changes: object) -> list[Host]:
    hosts = []
    for name in names:
        here = [placed.record.request.specs for vm in vms if (placed := vm.placements.get(name)) and placed.record]
        used = {"used_cpu": sum(each.cpu for each in here), "used_ram_mib": sum(each.ram_mib for each in here)}
        values = {"moves_live": True, "ssd": SHARED, **used, **changes}
        hosts.append(make_host(name, cpu=1000, ram_mib=ram_mib, **values))  # type: ignore[arg-type]
    return hosts


def _on(vms: list[Vm]) -> Callable[[str], list[Vm]]:
    return lambda host: [vm for vm in vms if host in vm.placements]


def _plan(vms: list[Vm], hosts: list[Host], margin: float = 0.1, most: int = MANY) -> tuple[PlannedMove, ...]:
    moving = [vm for vm in vms if any(each.record and each.record.leaving for each in vm.placements.values())]
    return even_out(make_snapshot(vms, hosts), _on(vms), moving, Aim(margin, most), NOW)


def _carried_out(vms: list[Vm], moves: tuple[PlannedMove, ...]) -> list[Vm]:
    """Each VM where it is planned to be, as if it had always been there."""
    to = {move.vm: move.to for move in moves}
    moved = []
    for vm in vms:
        ((host, placed),) = vm.placements.items()
        new = to.get(vm.uuid, host)
        moved.append(vm._replace(placements={new: placed}, statuses={new: vm.statuses[host]}))
    return moved


def _loads(hosts: list[Host]) -> list[float]:
    return sorted((host.load() for host in hosts), reverse=True)


SIZES = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([100, 500, 900, 2500])), max_size=25)


@settings(max_examples=60)
@given(SIZES, st.sampled_from([0.02, 0.1, 0.3]))
def test_each_move_lowers_the_fullest_and_there_is_an_end(sizes: list[tuple[int, int]], margin: float) -> None:
    names = [f"h{number}" for number in range(5)]
    vms = [_vm(number, names[host], ram_mib) for number, (host, ram_mib) in enumerate(sizes, 1)]
    moves = _plan(vms, _hosts(vms, names, RAM_MIB * 10), margin)
    assert len({move.vm for move in moves}) == len(moves), "no VM is planned to move twice"
    before = _loads(_hosts(vms, names, RAM_MIB * 10))
    for move in moves:
        source = next(host for host in _hosts(vms, names, RAM_MIB * 10) if host.name == move.source)
        vms = _carried_out(vms, (move,))
        after = _hosts(vms, names, RAM_MIB * 10)
        target = next(host for host in after if host.name == move.to)
        assert source.load() - target.load() > margin
        assert _loads(after) < before
        before = _loads(after)
    # Whatever is planned from there on, it ends.
    for _ in range(100):
        again = _plan(vms, _hosts(vms, names, RAM_MIB * 10), margin)
        if not again:
            return
        vms = _carried_out(vms, again)
        after_all = _loads(_hosts(vms, names, RAM_MIB * 10))
        assert after_all < before
        before = after_all
    pytest.fail("it does not end")


def test_a_lopsided_cloud_of_a_thousand_becomes_even_and_then_stands_still() -> None:
    names = [f"h{number}" for number in range(10)]
    vms = [_vm(number, f"h{number % 3}", 100) for number in range(1, 1001)]
    moves = _plan(vms, _hosts(vms, names, 100_000), 0.02)
    vms = _carried_out(vms, moves)
    loads = _loads(_hosts(vms, names, 100_000))
    assert loads[0] - loads[-1] <= 0.02 + 1e-9
    assert _plan(vms, _hosts(vms, names, 100_000), 0.02) == ()


def test_no_more_than_the_budget_is_planned() -> None:
    vms = [_vm(number, "h1", 100) for number in range(1, 51)]
    assert len(_plan(vms, _hosts(vms, ["h1", "h2"]), most=7)) == 7
    assert _plan(vms, _hosts(vms, ["h1", "h2"]), most=0) == ()


def test_the_budget_is_that_of_the_last_hour() -> None:
    times = {str(minutes): NOW - timedelta(minutes=minutes) for minutes in (1, 30, 59, 60, 200)}
    assert left_this_hour(times, 5, NOW) == 2
    assert left_this_hour(times, 2, NOW) == 0


@pytest.mark.parametrize(
    ("order", "at"),
    [
        ({}, None),
        ({"choice": Choice(cause=Cause.DRAIN, hosts=2)}, None),
        ({"choice": Choice(cause=Cause.BALANCE, hosts=2), "placed_at": NOW}, NOW),
        ({"choice": Choice(cause=Cause.BALANCE, hosts=2), "placed_at": NOW, "role": Role.LEFT}, None),
        ({"tried": Tried(at=NOW, cause=Cause.BALANCE, reason="x")}, NOW),
        ({"tried": Tried(at=NOW, cause=Cause.DRAIN, reason="x")}, None),
    ],
)
def test_when_a_vm_moved_for_balance_can_be_read_from_its_order(order: dict[str, object], at: object) -> None:
    placement: Placement = make_placement(make_request()).model_copy(update=order)
    assert moved_at(placement) == at


_RECENT = {"choice": Choice(cause=Cause.BALANCE, hosts=2), "placed_at": NOW - STAYS + timedelta(seconds=1)}
_LONG_AGO = {"choice": Choice(cause=Cause.BALANCE, hosts=2), "placed_at": NOW - STAYS}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1),
        (_LONG_AGO, 1),
        (_RECENT, 0),
        ({"tried": Tried(at=NOW, cause=Cause.DRAIN, reason="x")}, 0),
        ({"leaving": Leaving(to="h2", epoch=2, live=True)}, 0),
    ],
)
def test_who_moved_lately_or_moves_now_stays(changes: dict[str, object], count: int) -> None:
    vms = [_vm(1, "h1", 3000, **changes), _vm(2, "h1", 3000, **_RECENT)]
    assert len(_plan(vms, _hosts(vms, ["h1", "h2"]), 0.1)) == count


def test_what_is_on_its_way_counts_where_it_goes() -> None:
    vms = [_vm(1, "h1", 3000, leaving=Leaving(to="h2", epoch=2, live=True)), _vm(2, "h1", 3000)]
    h1, h2 = _hosts(vms, ["h1", "h2"])
    assert _plan(vms, [h1, h2._replace(used_ram_mib=3000)], 0.1) == ()


@pytest.mark.parametrize("actual", [Actual.STOPPED, Actual.DEPLOYING, Actual.KILLED])
def test_only_what_runs_moves(actual: Actual) -> None:
    vms = [_vm(1, "h1", 3000)._replace(statuses=make_vm(None, {}, {"h1": make_status(1, actual)}).statuses)]
    vms.append(_vm(2, "h1", 3000, **_RECENT))
    assert _plan(vms, _hosts(vms, ["h1", "h2"]), 0.1) == ()


def test_what_a_host_can_not_or_must_not_take_stays() -> None:
    vms = [_vm(1, "h1", 3000), _vm(2, "h1", 3000, **_RECENT)]
    h1, h2 = _hosts(vms, ["h1", "h2"])
    assert len(_plan(vms, [h1, h2])) == 1
    for other in (
        h2._replace(moves_live=False),
        h2._replace(is_alive=False),
        h2._replace(tenants=frozenset({"alice"})),
        h2._replace(hdd=SHARED, ssd=Disk("own", 10**6)),
        h2._replace(ssd=Disk("own", 0)),
    ):
        assert _plan(vms, [h1, other]) == ()
    assert len(_plan(vms, [h1, h2._replace(ssd=Disk("own", 10**6))])) == 1, "its disks go along"


def test_groups_that_are_apart_stay_apart() -> None:
    apart = (Affinity(group="web", hard=True),)
    vms = [_vm(1, "h1", 3000), _vm(2, "h1", 3000, **_RECENT), _vm(3, "h2", 100)]
    grouped = []
    for vm in (vms[0], vms[2]):
        assert vm.request
        request = vm.request.model_copy(update={"affinity": apart})
        placed = {
            host: each._replace(record=each.record and each.record.model_copy(update={"request": request}))
            for host, each in vm.placements.items()
        }
        grouped.append(vm._replace(request=request, placements=placed))
    together = [grouped[0], vms[1], grouped[1]]
    assert len(_plan(vms, _hosts(vms, ["h1", "h2"]))) == 1
    assert _plan(together, _hosts(together, ["h1", "h2"])) == ()
    (move,) = _plan(together, _hosts(together, ["h1", "h2", "h3"]))
    assert move.to == "h3"

"""What is written for a VM that moves: a table over both hosts' words, their lives, and what is wanted meanwhile."""

from datetime import timedelta

import pytest

from common.schemas.verdict import Sentence
from common.schemas.vm import (
    Actual,
    Cause,
    Choice,
    Leaving,
    MoveReport,
    MoveState,
    MoveWish,
    Placement,
    Requested,
    Role,
    VmRequest,
)
from tests.unit.ucloud_scheduler.snapshots import EARLIER, NOW, make_host, make_request, make_status, make_vm
from ucloud_scheduler import moves
from ucloud_scheduler.plan import plan
from ucloud_scheduler.views import BriefStatus, Host, Judged, Snapshot, Vm
from ucloud_scheduler.writes import Move

REQUEST = make_request()
DEAD = Judged(Sentence.DEAD, 77)
ALIVE = {name: make_host(name) for name in ("h1", "h2")}
URI = "qemu+tls://h2/system"


def _dead(*names: str) -> dict[str, Host]:
    return {**ALIVE, **{name: make_host(name, is_alive=False, verdict=DEAD) for name in names}}


def _source(uri: str = "", **changes: object) -> Placement:
    leaving = {"to": "h2", "epoch": 2, "live": True, "uri": uri, **changes}
    placement = Placement(epoch=1, generation=1, request=REQUEST, placed_at=EARLIER)
    return placement.model_copy(update={"leaving": Leaving.model_validate(leaving)})


def _incoming(**changes: object) -> Placement:
    values: dict[str, object] = {
        "epoch": 2,
        "role": Role.INCOMING,
        "generation": 1,
        "request": REQUEST,
        "placed_at": NOW,
        "coming_from": "h1",
        "choice": Choice(cause=Cause.DRAIN, hosts=2),
        **changes,
    }
    return Placement.model_validate(values)


def _says(epoch: int, state: MoveState | None, actual: Actual = Actual.MIGRATING, **words: object) -> BriefStatus:
    move = MoveReport.model_validate({"epoch": 2, "state": state, **words}) if state else None
    return make_status(epoch, actual).model_copy(update={"move": move})


def _vm(
    source: Placement | None,
    incoming: Placement | None,
    says: BriefStatus | None = None,
    answers: BriefStatus | None = None,
    request: VmRequest = REQUEST,
) -> Vm:
    placed = {"h1": source, "h2": incoming}
    said = {"h1": says or make_status(1, Actual.RUNNING), "h2": answers}
    return make_vm(
        request,
        {host: record for host, record in placed.items() if record},
        {host: status for host, status in said.items() if status},
    )


def _step(vm: Vm, hosts: dict[str, Host] = ALIVE) -> Move | None:
    assert vm.request
    return moves.step(vm, vm.request, hosts, NOW)


def _placements(vm: Vm, hosts: dict[str, Host] = ALIVE) -> dict[str, Placement | None]:
    move = _step(vm, hosts)
    return dict(move.placements) if move else {}


READY = _says(2, MoveState.READY, uri=URI)
ARRIVED = _says(2, MoveState.READY, uri=URI, has_guest=True)
RUNNING = _says(1, MoveState.RUNNING, percent=40)


def test_a_vm_that_stays_does_not_move() -> None:
    assert not moves.is_moving(make_vm(REQUEST, {"h1": _source().model_copy(update={"leaving": None})}))
    assert moves.is_moving(_vm(_source(), _incoming()))
    assert moves.is_moving(_vm(None, _incoming()))


def test_the_source_is_told_where_to_send_it_when_the_target_is_ready() -> None:
    assert _step(_vm(_source(), _incoming())) is None
    assert _step(_vm(_source(), _incoming(), answers=_says(1, MoveState.READY, uri=URI))) is None, "of another life"
    assert _placements(_vm(_source(), _incoming(), answers=READY)) == {"h1": _source(URI)}
    assert _placements(_vm(_source(live=False), _incoming(), answers=_says(2, MoveState.READY))) == {
        "h1": _source("cold", live=False)
    }
    assert _step(_vm(_source(URI), _incoming(), answers=READY)) is None
    assert _step(_vm(_source(URI), _incoming(), RUNNING, READY)) is None


@pytest.mark.parametrize(
    ("says", "answers"),
    [
        (_says(1, MoveState.DONE), READY),
        (_says(1, MoveState.DONE), ARRIVED),
        (_says(1, MoveState.DONE), None),
        (_says(1, MoveState.UNCERTAIN), ARRIVED),
    ],
)
def test_what_has_left_is_the_targets(says: BriefStatus, answers: BriefStatus | None) -> None:
    run = _incoming(role=Role.RUN, coming_from=None)
    for hosts in (ALIVE, _dead("h2")):
        move = _step(_vm(_source(URI), _incoming(), says, answers), hosts)
        assert move
        assert move.placements == {"h1": _source(URI).model_copy(update={"role": Role.LEFT}), "h2": run}
        assert move.what == "has moved from h1 to h2"


def test_an_old_hosts_order_goes_when_nothing_is_left_there() -> None:
    left, run = _source(URI).model_copy(update={"role": Role.LEFT}), _incoming(role=Role.RUN, coming_from=None)
    assert _step(_vm(left, run)) is None
    assert _step(_vm(left, run, make_status(2, Actual.DELETED))) is None, "it speaks of another life"
    assert _placements(_vm(left, run, make_status(1, Actual.DELETED))) == {"h1": None}
    move = _step(_vm(left, run), _dead("h1"))
    assert move
    assert (move.placements, move.dead) == ({"h1": None}, {"h1": 77})
    with_copies = _source(URI, copies_disks=True).model_copy(update={"role": Role.LEFT})
    assert _step(_vm(with_copies, run), _dead("h1")) is None, "it is to remove its disks when it is back"


FAILED = _says(1, MoveState.FAILED, reason="the wire broke")


@pytest.mark.parametrize(
    ("source", "says", "answers", "hosts", "why", "dead"),
    [
        (_source(URI), FAILED, READY, ALIVE, "the wire broke", {}),
        (_source(URI), _says(1, MoveState.FAILED), READY, ALIVE, "host h1 gave no reason", {}),
        (_source(URI), FAILED, None, _dead("h2"), "the wire broke", {}),
        (_source(), None, _says(2, MoveState.FAILED, reason="no disk"), ALIVE, "no disk", {}),
        (_source(), None, _says(2, MoveState.READY), ALIVE, "host h2 does not say where it takes guests that run", {}),
        (_source(), None, READY, _dead("h2"), "host h2 is dead", {"h2": 77}),
        (_source(URI), _says(1, MoveState.UNCERTAIN, reason="lost sight"), READY, ALIVE, "lost sight", {}),
        (_source(URI), _says(1, MoveState.UNCERTAIN), READY, _dead("h2"), "host h1 gave no reason", {"h2": 77}),
        (_source(copies_disks=True), None, READY, _dead("h1"), "host h1 is dead", {"h1": 77}),
        (_source(URI), RUNNING, READY, _dead("h1", "h2"), "host h1 is dead", {"h1": 77, "h2": 77}),
    ],
)
def test_backing_out_takes_the_target_out_first(
    source: Placement,
    says: BriefStatus | None,
    answers: BriefStatus | None,
    hosts: dict[str, Host],
    why: str,
    dead: dict[str, int],
) -> None:
    move = _step(_vm(source, _incoming(), says, answers), hosts)
    assert move
    assert move.dead == dead
    assert move.placements["h2"] is None
    stays = move.placements["h1"]
    assert stays
    assert stays.leaving
    assert stays.leaving.cancelled
    assert stays.tried
    assert (stays.tried.reason, stays.tried.times, stays.tried.cause, stays.tried.at) == (why, 1, Cause.DRAIN, NOW)


@pytest.mark.parametrize(
    ("says", "answers", "hosts"),
    [
        (FAILED, ARRIVED, ALIVE),
        (_says(1, MoveState.UNCERTAIN), None, ALIVE),
        (_says(1, MoveState.UNCERTAIN), READY, {**ALIVE, "h2": make_host("h2", is_alive=False)}),
        (RUNNING, READY, {**ALIVE, "h1": make_host("h1", is_alive=False)}),
        (RUNNING, READY, {**ALIVE, "h2": make_host("h2", is_alive=False)}),
    ],
    ids=["both say they have it", "no answer", "target silent", "source silent", "target silent, source at work"],
)
def test_who_can_not_tell_is_waited_for(says: BriefStatus, answers: BriefStatus | None, hosts: dict[str, Host]) -> None:
    assert _step(_vm(_source(URI), _incoming(), says, answers), hosts) is None


def test_a_source_that_fell_silent_after_its_guest_arrived_has_left() -> None:
    silent = {**ALIVE, "h1": make_host("h1", is_alive=False, verdict=Judged(Sentence.SILENT, 77))}
    for says in (None, RUNNING):
        changed = _placements(_vm(_source(URI), _incoming(), says, ARRIVED), silent)
        assert [(host, placement.role) for host, placement in changed.items() if placement] == [
            ("h2", Role.RUN),
            ("h1", Role.LEFT),
        ]
        assert _step(_vm(_source(URI), _incoming(), says, READY), silent) is None
        target_silent = {**silent, "h2": make_host("h2", is_alive=False)}
        assert _step(_vm(_source(URI), _incoming(), says, ARRIVED), target_silent) is None
    assert _step(_vm(_source(URI), _incoming(), FAILED, ARRIVED), silent) is None


def test_where_disks_are_copied_a_dead_target_may_have_the_newer_ones() -> None:
    uncertain = _says(1, MoveState.UNCERTAIN)
    assert _step(_vm(_source(URI, copies_disks=True), _incoming(), uncertain, READY), _dead("h2")) is None


def test_a_target_that_does_not_get_ready_is_given_up() -> None:
    late = _incoming(placed_at=NOW - moves.READY_WITHIN - timedelta(seconds=1))
    stays = _placements(_vm(_source(), late))
    assert stays["h2"] is None
    assert stays["h1"]
    assert stays["h1"].tried
    assert stays["h1"].tried.reason == "host h2 was not ready within 60 s"
    assert _step(_vm(_source(URI), late, RUNNING, READY)) is None, "sending may take as long as it takes"


def test_a_source_at_work_is_told_to_stop_and_has_the_last_word() -> None:
    for answers, hosts in ((_says(2, MoveState.FAILED, reason="no room"), ALIVE), (READY, _dead("h2"))):
        vm = _vm(_source(URI), _incoming(), RUNNING, answers)
        changed = _placements(vm, hosts)
        assert list(changed) == ["h1"]
        assert changed["h1"]
        assert changed["h1"].leaving
        assert changed["h1"].leaving.cancelled
        assert _step(_vm(changed["h1"], _incoming(), RUNNING, answers), hosts) is None
        assert _placements(_vm(changed["h1"], _incoming(), FAILED, answers), hosts)["h2"] is None


def test_the_source_goes_on_when_the_target_is_rid_of_it() -> None:
    cancelled = _source(URI, cancelled=True)
    assert _step(_vm(cancelled, None, FAILED, READY)) is None
    stays = _source().model_copy(update={"leaving": None})
    assert _placements(_vm(cancelled, None, FAILED)) == {"h1": stays}
    assert _placements(_vm(cancelled, None, FAILED, make_status(2, Actual.DELETED))) == {"h1": stays}
    move = _step(_vm(cancelled, None, FAILED, READY), _dead("h2"))
    assert move
    assert (move.placements, move.dead) == ({"h1": stays}, {"h2": 77})


def test_a_guest_that_arrived_after_all_is_not_lost() -> None:
    vm = _vm(_source(URI, cancelled=True), None, _says(1, MoveState.UNCERTAIN), ARRIVED)
    changed = _placements(vm)
    assert changed["h2"]
    assert (changed["h2"].role, changed["h2"].epoch, changed["h2"].leaving) == (Role.RUN, 2, None)
    assert changed["h1"]
    assert changed["h1"].role is Role.LEFT


@pytest.mark.parametrize("source", [_source(), _source(URI), _source("cold", live=False)])
def test_a_dead_sources_vm_is_the_targets(source: Placement) -> None:
    move = _step(_vm(source, _incoming(), answers=READY), _dead("h1"))
    assert move
    assert move.placements == {"h1": None, "h2": _incoming(role=Role.RUN, coming_from=None)}
    assert move.dead == {"h1": 77}


def test_a_dead_source_that_may_still_run_it_is_waited_for_unless_the_guest_has_arrived() -> None:
    request = REQUEST.model_copy(update={"ha": False})
    source = _source(URI).model_copy(update={"request": request})
    assert _step(_vm(source, _incoming(), answers=READY, request=request), _dead("h1")) is None
    changed = _placements(_vm(source, _incoming(), answers=ARRIVED, request=request), _dead("h1"))
    assert changed["h2"]
    assert changed["h2"].role is Role.RUN
    untold = _source().model_copy(update={"request": request})
    assert _placements(_vm(untold, _incoming(), answers=READY, request=request), _dead("h1"))["h2"] is None


def test_copied_disks_are_the_targets_only_with_the_guest() -> None:
    source = _source(URI, copies_disks=True)
    changed = _placements(_vm(source, _incoming(copies_disks=True), answers=ARRIVED), _dead("h1"))
    assert changed == {
        "h1": source.model_copy(update={"role": Role.LEFT}),
        "h2": _incoming(role=Role.RUN, coming_from=None),
    }
    assert _placements(_vm(source, _incoming(copies_disks=True), answers=READY), _dead("h1"))["h2"] is None
    assert _step(_vm(_source(URI, cancelled=True), None, answers=READY), _dead("h1")) is None


@pytest.mark.parametrize(
    ("requested", "live", "is_cancelled"),
    [
        (Requested.STOPPED, True, True),
        (Requested.SUSPENDED, True, True),
        (Requested.DELETED, True, True),
        (Requested.DELETED, False, True),
        (Requested.STOPPED, False, False),
    ],
)
def test_what_is_wanted_meanwhile_is_handed_on_and_may_end_the_move(
    requested: Requested, live: bool, is_cancelled: bool
) -> None:
    newer = make_request(requested=requested, generation=2)
    changed = _placements(_vm(_source(URI, live=live), _incoming(), RUNNING, READY, request=newer))
    assert changed["h1"]
    assert changed["h1"].leaving
    assert changed["h1"].leaving.cancelled is is_cancelled
    assert changed["h2"]
    assert [placed and (placed.generation, placed.request) for placed in changed.values()] == [(2, newer)] * 2


def test_another_size_waits_for_the_end_of_the_move() -> None:
    larger = make_request(specs=REQUEST.specs.model_copy(update={"cpu": 4}), generation=2)
    changed = _placements(_vm(_source(URI), _incoming(), RUNNING, READY, request=larger))
    assert [placed and placed.request.specs for placed in changed.values()] == [REQUEST.specs] * 2
    assert [placed and placed.generation for placed in changed.values()] == [2, 2]


def test_a_cancelling_wish_ends_the_move_that_is_under_way_and_no_later_one() -> None:
    wish = MoveWish(number=3, cancelled=True)
    request = REQUEST.model_copy(update={"move": wish, "generation": 2})
    changed = _placements(_vm(_source(), _incoming(), answers=READY, request=request))
    assert changed["h2"] is None
    assert changed["h1"]
    assert changed["h1"].moved == 3
    assert changed["h1"].tried
    assert changed["h1"].tried.reason == "it was cancelled"
    dealt_with = _source().model_copy(update={"moved": 3, "generation": 2, "request": request})
    later = _placements(_vm(dealt_with, _incoming(generation=2, moved=3), answers=READY, request=request))
    assert later["h1"]
    assert later["h1"].leaving
    assert later["h1"].leaving.uri == URI


def test_a_wish_that_comes_too_late_stays_dealt_with() -> None:
    source = _source(URI, cancelled=True).model_copy(update={"moved": 4})
    changed = _placements(_vm(source, _incoming(moved=3), _says(1, MoveState.DONE), ARRIVED))
    assert changed["h2"]
    assert changed["h2"].moved == 4


def test_an_incoming_order_without_a_source_goes() -> None:
    vm = make_vm(REQUEST, {"h2": _incoming()}, {"h2": READY})
    assert _placements(vm) == {"h2": None}
    assert _step(make_vm(REQUEST, {"h2": _incoming()}, {"h2": ARRIVED})) is None


def test_nothing_is_concluded_beside_what_can_not_be_read() -> None:
    vm = _vm(_source(URI), _incoming(), _says(1, MoveState.DONE), READY)
    assert (
        _step(vm._replace(placements={**vm.placements, "h3": make_vm(REQUEST, {"h3": None}).placements["h3"]})) is None
    )


def test_a_plan_takes_the_step() -> None:
    vm = _vm(_source(), _incoming(), answers=READY)
    writes = plan(Snapshot((vm,), ALIVE, {}, [], {}), NOW).writes
    assert writes == (Move(vm, {"h1": _source(URI)}, "begins to move to h2"),)

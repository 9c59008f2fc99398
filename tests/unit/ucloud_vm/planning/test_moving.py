"""A VM between two hosts, as the plan of either has it: a table of what is seen, and what must never be done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.decision import Decision, Failure
from common.schemas.port import Port
from common.schemas.vm import (
    Actual,
    Console,
    Leaving,
    MoveReport,
    MoveState,
    Placement,
    Requested,
    Role,
    Specs,
    VmRequest,
    VmStatus,
)
from ucloud_vm.hypervisor import Domain, Journey, OffCause, Power, Sending
from ucloud_vm.nics import NO_BRIDGE
from ucloud_vm.planning import steps
from ucloud_vm.planning.moving import CUT_OFF, DOWNTIMES_MS, HAS_MOVED
from ucloud_vm.planning.plan import GIVEN_UP, NOT_WHOLE, Planner
from ucloud_vm.planning.steps import Action, Observation, Sent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STOP_TIMEOUT_S = 30
GRACE_S = 60
SPECS = Specs.of(cpu=1, ram_mib=128, ssd_mib=1024)
CONSOLE = Console(url="http://[fd00::1]:9703/vm/x", token="t")
URI = "qemu+tls://h2/system#root=/r&hdd=&serial_socket=/s&serial_log=/l&vnc_socket=/v"
EPOCH, NEXT = 4, 5
"""Of the placement on the old host, and of the one on the new."""

HAS = frozenset({"root"})
DISKS = Observation(CONSOLE, disks_mib={"root": 1024}, disk_files=True)
PORT = Port(id="00000000a1", network="6b1c7c1e-0000-4000-8000-000000000001", ipv6=IPv6Address("fd00::1"))
HALF = Sending(percent=50, passes=1, max_downtime_ms=300)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def request(requested: Requested = Requested.RUNNING, reboots: int = 0, force: bool = False) -> VmRequest:
    return VmRequest(
        uuid="5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10",
        owner="admin",
        name="web",
        image="00000000-0000-4000-8000-00000000001a",
        specs=SPECS,
        requested=requested,
        reboots=reboots,
        force=force,
        generation=2,
        created_at=ago(900),
    )


def leaving(
    requested: Requested = Requested.RUNNING,
    role: Role = Role.RUN,
    reboots: int = 0,
    force: bool = False,
    **how: bool | str,
) -> Placement:
    """The order to the old host."""
    told = Leaving.model_validate({"to": "h2", "epoch": NEXT, "live": True, "uri": URI, **how})
    wish = request(requested, reboots, force)
    return Placement(epoch=EPOCH, role=role, generation=2, request=wish, placed_at=ago(800), leaving=told)


def coming(
    requested: Requested = Requested.RUNNING, copies_disks: bool = False, role: Role = Role.INCOMING
) -> Placement:
    """The order to the new host."""
    return Placement(
        epoch=NEXT,
        role=role,
        generation=2,
        request=request(requested),
        placed_at=ago(5),
        coming_from="h1",
        copies_disks=copies_disks,
    )


def with_ports(placement: Placement) -> Placement:
    """The order, of a VM with a port."""
    return placement.model_copy(update={"request": placement.request.model_copy(update={"ports": (PORT,)})})


def told(state: MoveState, actual: Actual = Actual.MIGRATING, since_s: float = 5, **move: object) -> VmStatus:
    """What the old host said last."""
    report = MoveReport.model_validate({"epoch": NEXT, "state": state, **move})
    return VmStatus(epoch=EPOCH, generation=2, actual=actual, since=ago(since_s), move=report, console=CONSOLE)


def said(**move: object) -> VmStatus:
    """What the new host said last."""
    report = MoveReport.model_validate({"epoch": NEXT, "state": MoveState.READY, **move})
    return VmStatus(epoch=NEXT, generation=2, actual=Actual.MIGRATING, since=ago(5), move=report, console=CONSOLE)


QUIET = VmStatus(epoch=EPOCH, generation=2, actual=Actual.RUNNING, since=ago(100), console=CONSOLE)
SENDS = told(MoveState.RUNNING)


def seen(power: Power, epoch: int = EPOCH, cause: OffCause = OffCause.UNKNOWN, **more: object) -> Observation:
    domain = Domain(epoch, power, cause, SPECS, HAS, sending=more.pop("sending", None))  # type: ignore[arg-type]
    return replace(DISKS, domain=domain, run_files=True, **more)  # type: ignore[arg-type]


def decide(
    placement: Placement | None,
    observed: Observation,
    previous: VmStatus | None = None,
    failure: Failure | None = None,
    post_copy: bool = False,
) -> Decision[VmStatus, Action]:
    return Planner(STOP_TIMEOUT_S, GRACE_S, post_copy)(placement, observed, previous, failure, NOW)


def outcome(decision: Decision[VmStatus, Action]) -> tuple[Actual, MoveState | None, tuple[Action, ...]]:
    assert decision.status is not None
    move = decision.status.move
    return decision.status.actual, move.state if move else None, decision.actions


# --- the old host, while the guest runs -------------------------------------------------------------------------------


def test_nothing_begins_before_the_other_host_is_ready() -> None:
    decision = decide(leaving(uri=""), seen(Power.RUNNING), QUIET)
    assert outcome(decision) == (Actual.RUNNING, None, ())


@pytest.mark.parametrize(("power", "requested"), [(Power.RUNNING, "RUNNING"), (Power.PAUSED, "SUSPENDED")])
@pytest.mark.parametrize("copies_disks", [False, True])
def test_a_guest_is_sent_as_it_is(power: Power, requested: Requested, copies_disks: bool) -> None:
    decision = decide(leaving(Requested(requested), copies_disks=copies_disks), seen(power), QUIET)
    send = steps.Send(Journey(NEXT, URI, copies_disks, post_copy=False))
    assert outcome(decision) == (Actual.MIGRATING, MoveState.RUNNING, (send,))


@pytest.mark.parametrize(
    ("placement", "observed", "why"),
    [
        (leaving(cancelled=True), seen(Power.RUNNING), "cancelled"),
        (leaving(Requested.STOPPED), seen(Power.RUNNING), "to be STOPPED"),
        (leaving(Requested.DELETED), seen(Power.RUNNING), "to be DELETED"),
        (leaving(Requested.SUSPENDED), seen(Power.RUNNING), "to be SUSPENDED"),
        (leaving(), seen(Power.STUCK), "can't be written"),
        (leaving(), seen(Power.OFF), "does not run"),
        (leaving(), DISKS, "does not run"),
        (leaving(), seen(Power.RUNNING, epoch=3), "does not run"),
        (leaving(reboots=1), seen(Power.RUNNING), "rebooted first"),
        (leaving(copies_disks=True), replace(seen(Power.RUNNING), disks_mib={"root": 512}), "not as large"),
        (leaving(live=False, copies_disks=True), seen(Power.OFF), "can't be copied"),
        (leaving(Requested.SUSPENDED, live=False), seen(Power.PAUSED), "suspended"),
    ],
)
def test_what_can_not_move_stays(placement: Placement, observed: Observation, why: str) -> None:
    decision = decide(placement, observed, QUIET)
    assert decision.status is not None
    assert decision.status.move is not None
    assert why in decision.status.move.reason
    assert why in decision.status.reason
    assert outcome(decision)[1:] == (MoveState.FAILED, ())


@pytest.mark.parametrize("power", [Power.STARTING, Power.CHANGING, Power.DYING])
def test_what_is_becoming_something_is_waited_for(power: Power) -> None:
    decision = decide(leaving(), seen(power), QUIET)
    assert outcome(decision)[1:] == (None, ())
    assert decision.again_in_s is not None


OK, BROKEN = Sent(NEXT, under_way=False), Sent(NEXT, under_way=False, problem="no route")
UNDER_WAY = Sent(NEXT)


@pytest.mark.parametrize(
    ("observed", "state", "actual", "reason"),
    [
        (seen(Power.RUNNING, sent=UNDER_WAY), MoveState.RUNNING, Actual.MIGRATING, "it goes to h2"),
        (seen(Power.RUNNING, sent=UNDER_WAY, sending=HALF), MoveState.RUNNING, Actual.MIGRATING, "it goes to h2"),
        # The daemon died meanwhile and the hypervisor goes on.
        (seen(Power.RUNNING, sending=HALF), MoveState.RUNNING, Actual.MIGRATING, "it goes to h2"),
        (seen(Power.BETWEEN, sending=HALF), MoveState.RUNNING, Actual.MIGRATING, "it goes to h2"),
        (seen(Power.DYING), MoveState.RUNNING, Actual.MIGRATING, "it goes to h2"),
        (seen(Power.OFF, sent=OK), MoveState.DONE, Actual.MIGRATING, "it has gone to h2"),
        (seen(Power.OFF, cause=OffCause.MOVED), MoveState.DONE, Actual.MIGRATING, "it has gone to h2"),
        (seen(Power.OFF, cause=OffCause.MOVED, sent=BROKEN), MoveState.DONE, Actual.MIGRATING, "it has gone to h2"),
        (replace(DISKS, sent=OK), MoveState.DONE, Actual.MIGRATING, "it has gone to h2"),
        (seen(Power.RUNNING, sent=BROKEN), MoveState.FAILED, Actual.RUNNING, "no route"),
        (seen(Power.PAUSED, sent=BROKEN), MoveState.FAILED, Actual.SUSPENDED, "no route"),
        (seen(Power.STUCK, sent=BROKEN), MoveState.FAILED, Actual.SUSPENDED, "no route"),
        (seen(Power.RUNNING), MoveState.FAILED, Actual.RUNNING, "interrupted"),
        (seen(Power.OFF, cause=OffCause.CRASHED), MoveState.UNCERTAIN, Actual.MIGRATING, "ended while it was sent"),
        (seen(Power.OFF, sent=BROKEN), MoveState.UNCERTAIN, Actual.MIGRATING, "no route"),
        (DISKS, MoveState.UNCERTAIN, Actual.MIGRATING, "ended while it was sent"),
        (seen(Power.BETWEEN), MoveState.UNCERTAIN, Actual.MIGRATING, CUT_OFF),
        (seen(Power.BETWEEN, sent=BROKEN), MoveState.UNCERTAIN, Actual.MIGRATING, "no route"),
        # What is known of another move says nothing of this one.
        (seen(Power.OFF, sent=Sent(3, under_way=False)), MoveState.UNCERTAIN, Actual.MIGRATING, "ended"),
    ],
)
@pytest.mark.parametrize("before", [MoveState.RUNNING, MoveState.UNCERTAIN])
def test_what_came_of_it(
    observed: Observation, state: MoveState, actual: Actual, reason: str, before: MoveState
) -> None:
    decision = decide(leaving(), observed, told(before))
    assert outcome(decision) == (actual, state, ())
    assert decision.status is not None
    assert reason in decision.status.reason


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        (seen(Power.OFF, cause=OffCause.MOVED), MoveState.DONE),
        (seen(Power.BETWEEN), MoveState.UNCERTAIN),
        (seen(Power.RUNNING, sending=HALF), MoveState.RUNNING),
    ],
)
def test_a_status_that_was_lost_is_no_reason_to_say_that_it_stayed(observed: Observation, state: MoveState) -> None:
    assert outcome(decide(leaving(), observed, None))[1:] == (state, ())


def test_an_earlier_try_says_nothing_of_this_one() -> None:
    """It had the same epoch."""
    (action,) = decide(leaving(), seen(Power.RUNNING, sent=BROKEN), QUIET).actions
    assert isinstance(action, steps.Send)


def test_progress_is_told_and_goes_up() -> None:
    decision = decide(leaving(), seen(Power.RUNNING, sending=HALF), told(MoveState.RUNNING, percent=10))
    assert decision.status is not None
    assert decision.status.move == MoveReport(epoch=NEXT, state=MoveState.RUNNING, percent=50)
    again = decide(leaving(), seen(Power.RUNNING, sending=replace(HALF, percent=40)), decision.status)
    assert again.status == decision.status
    assert again.again_in_s == 1.0


@pytest.mark.parametrize(
    "placement", [leaving(cancelled=True), leaving(Requested.STOPPED), leaving(Requested.DELETED)], ids=str
)
def test_what_is_wished_meanwhile_stops_it_once(placement: Placement) -> None:
    observed = seen(Power.RUNNING, sending=HALF)
    assert decide(placement, observed, SENDS).actions == (steps.StopSending(),)
    assert decide(placement, replace(observed, told=frozenset({steps.StopSending()})), SENDS).actions == ()
    # Past the switch there is nothing to stop.
    assert decide(placement, seen(Power.BETWEEN, sending=HALF), SENDS).actions == ()


def test_a_paused_guest_that_is_to_be_suspended_goes_on_moving() -> None:
    assert decide(leaving(Requested.SUSPENDED), seen(Power.PAUSED, sending=HALF), SENDS).actions == ()


@pytest.mark.parametrize(("passes", "downtime_ms"), [(1, None), *((n, ms) for n, ms in DOWNTIMES_MS), (99, 4000)])
def test_a_guest_that_writes_faster_may_stand_still_for_longer(passes: int, downtime_ms: int | None) -> None:
    observed = seen(Power.RUNNING, sending=replace(HALF, passes=passes))
    wanted = () if downtime_ms is None else (steps.AllowDowntime(downtime_ms),)
    assert decide(leaving(), observed, SENDS).actions == wanted
    has_it = seen(Power.RUNNING, sending=replace(HALF, passes=passes, max_downtime_ms=downtime_ms or 300))
    assert decide(leaving(), has_it, SENDS).actions == ()


def test_with_post_copy_it_goes_on_there_after_the_first_pass() -> None:
    second = seen(Power.RUNNING, sending=replace(HALF, passes=2))
    assert decide(leaving(), seen(Power.RUNNING, sending=HALF), SENDS, post_copy=True).actions == ()
    assert decide(leaving(), second, SENDS, post_copy=True).actions == (steps.SendRestLater(),)
    paused = seen(Power.PAUSED, sending=replace(HALF, passes=2))
    assert decide(leaving(), paused, SENDS, post_copy=True).actions == ()


@pytest.mark.parametrize("power", list(Power))
def test_what_has_failed_is_left_alone_until_the_other_host_has_nothing(power: Power) -> None:
    before = told(MoveState.FAILED, Actual.RUNNING, reason="no route")
    decision = decide(leaving(cancelled=True), seen(power), before)
    assert outcome(decision)[1:] == (MoveState.FAILED, ())


def test_when_the_move_is_given_up_the_guest_goes_on() -> None:
    order = leaving().model_copy(update={"leaving": None})
    before = told(MoveState.FAILED, Actual.RUNNING, reason="no route")
    assert outcome(decide(order, seen(Power.RUNNING), before)) == (Actual.RUNNING, None, ())
    off = decide(order, seen(Power.OFF), told(MoveState.FAILED, reason="it was cancelled"))
    assert outcome(off)[2] == (steps.Start(EPOCH, SPECS),)
    # What another host may have run can't go on from where it stands here.
    decision = decide(order, seen(Power.BETWEEN), told(MoveState.UNCERTAIN))
    assert outcome(decision)[2] == (steps.PowerOff(CUT_OFF),)


def test_a_guest_that_nobody_waits_for_is_not_sent_on() -> None:
    order = leaving().model_copy(update={"leaving": None})
    observed = seen(Power.RUNNING, sending=HALF)
    assert decide(order, observed, SENDS).actions == (steps.StopSending(),)
    assert decide(order, replace(observed, told=frozenset({steps.StopSending()})), SENDS).actions == ()


# --- the old host, when the guest is shut down first ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "previous", "wanted"),
    [
        (seen(Power.RUNNING), QUIET, (MoveState.RUNNING, (steps.ShutDown(),))),
        (seen(Power.RUNNING, shutdown_asked_at=ago(3)), SENDS, (MoveState.RUNNING, ())),
        (seen(Power.RUNNING, shutdown_asked_at=ago(12)), SENDS, (MoveState.RUNNING, (steps.ShutDown(),))),
        (seen(Power.DYING), SENDS, (MoveState.RUNNING, ())),
        (seen(Power.OFF), SENDS, (MoveState.RUNNING, (steps.Undefine(),))),
        (seen(Power.OFF), QUIET, (MoveState.RUNNING, (steps.Undefine(),))),
        (DISKS, SENDS, (MoveState.DONE, ())),
        (DISKS, QUIET, (MoveState.DONE, ())),
    ],
)
def test_a_cold_move(observed: Observation, previous: VmStatus, wanted: tuple[MoveState, tuple[Action, ...]]) -> None:
    decision = decide(leaving(live=False, uri="cold"), observed, previous)
    assert outcome(decision) == (Actual.MIGRATING, *wanted)


def test_a_guest_that_does_not_shut_down_loses_its_power() -> None:
    late = told(MoveState.RUNNING, since_s=STOP_TIMEOUT_S + 1)
    (action,) = decide(leaving(live=False, uri="cold"), seen(Power.RUNNING), late).actions
    assert isinstance(action, steps.PowerOff)
    (action,) = decide(leaving(live=False, uri="cold", force=True), seen(Power.RUNNING), QUIET).actions
    assert isinstance(action, steps.PowerOff)


def test_a_cold_move_can_be_cancelled_until_it_is_done() -> None:
    order = leaving(live=False, uri="cold", cancelled=True)
    assert outcome(decide(order, seen(Power.RUNNING), SENDS)) == (Actual.RUNNING, MoveState.FAILED, ())
    assert outcome(decide(order, seen(Power.OFF), SENDS)) == (Actual.MIGRATING, MoveState.FAILED, ())
    assert outcome(decide(order, DISKS, told(MoveState.DONE))) == (Actual.MIGRATING, MoveState.DONE, ())


# --- the old host, afterwards -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("requested", list(Requested))
def test_what_is_left_is_removed_but_never_a_disk_that_is_shared(requested: Requested) -> None:
    shared, copied = (leaving(requested, Role.LEFT, copies_disks=copies) for copies in (False, True))
    before = told(MoveState.DONE)
    for power in (Power.BETWEEN, Power.RUNNING, Power.PAUSED):
        assert decide(shared, seen(power), before).actions == (steps.PowerOff(HAS_MOVED),)
    assert decide(shared, seen(Power.OFF), before).actions == (steps.Undefine(),)
    assert outcome(decide(shared, DISKS, before)) == (Actual.DELETED, None, ())
    assert decide(copied, DISKS, before).actions == (steps.RemoveDisks(),)
    assert outcome(decide(copied, Observation(CONSOLE), before)) == (Actual.DELETED, None, ())


def test_a_later_life_is_not_what_is_left() -> None:
    decision = decide(leaving(role=Role.LEFT), seen(Power.RUNNING, epoch=EPOCH + 1), told(MoveState.DONE))
    assert outcome(decision) == (Actual.ERROR, None, ())


# --- the new host -----------------------------------------------------------------------------------------------------


def test_a_host_gets_ready() -> None:
    assert outcome(decide(coming(), DISKS)) == (Actual.MIGRATING, None, (steps.MakeFolder(),))
    assert outcome(decide(coming(), replace(DISKS, dock=URI))) == (Actual.MIGRATING, MoveState.READY, ())
    nothing = Observation(CONSOLE)
    wanted = (steps.CreateArrivingDisks(SPECS.disks), steps.MakeFolder())
    assert decide(coming(copies_disks=True), nothing).actions == wanted


@pytest.mark.parametrize(
    ("observed", "failure", "why"),
    [
        (Observation(CONSOLE), None, "do the hosts share one?"),
        (DISKS, Failure(1, "no way", permanent=True, at=NOW), "no way"),
        (DISKS, Failure(3, "no room", permanent=False, at=NOW), "no room"),
        (seen(Power.RUNNING, epoch=3), None, "an earlier life"),
    ],
)
def test_a_host_that_can_not_take_it_says_so(observed: Observation, failure: Failure | None, why: str) -> None:
    decision = decide(coming(), observed, None, failure)
    assert outcome(decision) == (Actual.MIGRATING, MoveState.FAILED, ())
    assert decision.status is not None
    assert decision.status.move is not None
    assert why in decision.status.move.reason
    assert outcome(decide(coming(), replace(DISKS, dock=URI), decision.status)) == outcome(decision)


def test_a_host_is_ready_when_it_has_the_bridges_of_its_networks() -> None:
    order = with_ports(coming())
    docked = replace(DISKS, dock=URI, run_files=True)
    waiting = decide(order, replace(docked, lacking={PORT.network: NO_BRIDGE}))
    assert waiting.status is not None
    assert (waiting.actions, waiting.status.move) == ((), None)
    assert waiting.status.reason == f"it comes from h1; waiting for network {PORT.network}: {NO_BRIDGE}"
    ready = decide(order, docked, waiting.status)
    assert ready.status is not None
    assert ready.status.move == MoveReport(epoch=NEXT, state=MoveState.READY, uri=URI)


def test_a_guest_with_other_ports_than_requested_is_not_sent() -> None:
    assert [type(action) for action in decide(leaving(), seen(Power.RUNNING), QUIET).actions] == [steps.Send]
    refused = decide(with_ports(leaving()), seen(Power.RUNNING), QUIET)
    assert refused.status is not None
    assert refused.status.move is not None
    assert (refused.actions, refused.status.move.state) == ((), MoveState.FAILED)
    assert "ports are not as requested" in refused.status.move.reason


def test_a_host_tries_again_before_it_gives_up() -> None:
    failure = Failure(2, "no room", permanent=False, at=NOW)
    assert outcome(decide(coming(), DISKS, None, failure)) == (Actual.MIGRATING, None, (steps.MakeFolder(),))


def test_what_an_earlier_life_left_is_removed_first() -> None:
    assert decide(coming(), seen(Power.OFF, epoch=3)).actions == (steps.Undefine(),)


@pytest.mark.parametrize(
    ("power", "has_guest"),
    [
        (Power.RUNNING, True),
        (Power.PAUSED, True),
        (Power.STUCK, True),
        (Power.BETWEEN, False),
        (Power.STARTING, False),
        (Power.OFF, False),
    ],
)
def test_a_guest_has_arrived_when_it_is_what_it_was(power: Power, has_guest: bool) -> None:
    decision = decide(coming(), seen(power, NEXT, dock=URI), said(uri=URI))
    assert decision.status is not None
    assert decision.status.move == MoveReport(epoch=NEXT, state=MoveState.READY, uri=URI, has_guest=has_guest)
    assert decision.actions == ()
    assert (decision.again_in_s is None) == has_guest


def test_disks_are_the_vms_when_the_guest_is_there() -> None:
    half = seen(Power.BETWEEN, NEXT, dock=URI, disks_arriving=True)
    assert decide(coming(copies_disks=True), half, said()).actions == ()
    whole = seen(Power.RUNNING, NEXT, dock=URI, disks_arriving=True)
    for role in (Role.INCOMING, Role.RUN):
        assert decide(coming(copies_disks=True, role=role), whole, said()).actions == (steps.KeepArrivedDisks(),)
    died = seen(Power.OFF, NEXT, dock=URI, disks_arriving=True)
    assert decide(coming(role=Role.RUN), died, said()).actions == (steps.KeepArrivedDisks(),)


def test_no_guest_is_started_on_half_a_disk() -> None:
    for observed in (replace(DISKS, disks_arriving=True), seen(Power.OFF, epoch=3, disks_arriving=True)):
        decision = decide(coming(role=Role.RUN), observed, said())
        assert outcome(decision) == (Actual.ERROR, None, ())
        assert decision.status is not None
        assert decision.status.reason == NOT_WHOLE


@pytest.mark.parametrize("requested", list(Requested))
def test_nothing_is_removed_while_it_comes(requested: Requested) -> None:
    decision = decide(coming(requested), replace(DISKS, dock=URI, run_files=True), said(uri=URI))
    assert outcome(decision) == (Actual.MIGRATING, MoveState.READY, ())


def test_with_its_new_role_the_vm_is_this_hosts() -> None:
    order = coming(role=Role.RUN)
    before = said(uri=URI, has_guest=True)
    assert outcome(decide(order, seen(Power.RUNNING, NEXT), before)) == (Actual.RUNNING, None, ())
    assert decide(order, seen(Power.PAUSED, NEXT), before).actions == (steps.Resume(),)
    assert decide(order, DISKS, said(uri=URI)).actions == (steps.Define(NEXT, SPECS),)
    # The old host is dead, and has not sent it all.
    assert decide(order, seen(Power.BETWEEN, NEXT), before).actions == (steps.PowerOff(CUT_OFF),)


def test_a_move_that_is_given_up_leaves_nothing() -> None:
    before = said(uri=URI)
    half = seen(Power.BETWEEN, NEXT, disks_arriving=True)
    assert decide(None, half, before).actions == (steps.PowerOff(GIVEN_UP),)
    gone = replace(half, domain=None)
    assert decide(None, gone, before).actions == (steps.DropArrivingDisks(), steps.Undefine())
    assert decide(None, replace(gone, disks_arriving=False), before).actions == (steps.Undefine(),)
    assert decide(None, DISKS, before) == Decision(None)


def test_a_guest_that_runs_is_not_ended_because_its_move_was_given_up() -> None:
    decision = decide(None, seen(Power.RUNNING, NEXT), said(has_guest=True))
    assert decision.actions == ()
    assert decision.again_in_s is not None
    # Nor is one that was on its way from here.
    assert decide(None, seen(Power.BETWEEN), SENDS).actions == ()


# --- whatever it is told ----------------------------------------------------------------------------------------------

orders = st.builds(
    leaving,
    requested=st.sampled_from(Requested),
    role=st.sampled_from([Role.RUN, Role.LEFT]),
    reboots=st.integers(0, 1),
    force=st.booleans(),
    live=st.booleans(),
    copies_disks=st.booleans(),
    cancelled=st.booleans(),
) | st.builds(coming, requested=st.sampled_from(Requested), copies_disks=st.booleans())
sendings = st.none() | st.builds(Sending, st.integers(0, 100), st.integers(0, 30), st.sampled_from([0, 300, 4000]))
domains = st.builds(
    Domain,
    epoch=st.integers(EPOCH - 1, NEXT),
    power=st.sampled_from(Power),
    off_cause=st.sampled_from(OffCause),
    specs=st.just(SPECS),
    disks=st.sampled_from([HAS, HAS | {"hdd"}]),
    sending=sendings,
)
observations = st.builds(
    Observation,
    console=st.just(CONSOLE),
    domain=st.none() | domains,
    disks_mib=st.none() | st.dictionaries(st.just("root"), st.sampled_from([512, 1024])),
    disk_files=st.booleans(),
    run_files=st.booleans(),
    obstacle=st.sampled_from(["", "", "the store is not there"]),
    sent=st.none() | st.builds(Sent, st.integers(EPOCH - 1, NEXT), st.booleans(), st.sampled_from(["", "no route"])),
    dock=st.sampled_from([None, "", URI]),
    disks_arriving=st.booleans(),
)
reports = st.builds(MoveReport, epoch=st.integers(EPOCH, NEXT), state=st.sampled_from(MoveState))
statuses = st.builds(
    VmStatus,
    epoch=st.integers(EPOCH - 1, NEXT),
    generation=st.integers(1, 3),
    actual=st.sampled_from(Actual),
    since=st.floats(0, 900).map(ago),
    move=st.none() | reports,
)
failures = st.none() | st.builds(Failure, st.integers(1, 9), st.just("it failed"), st.booleans(), st.just(NOW))


@settings(max_examples=300, deadline=None)
@given(orders, observations, st.none() | statuses, failures)
def test_what_it_must_never_do(
    order: Placement, observed: Observation, previous: VmStatus | None, failure: Failure | None
) -> None:
    decision = decide(order, observed, previous, failure)
    move = decision.status.move if decision.status else None
    domain = observed.domain
    runs = domain is not None and domain.power in (Power.RUNNING, Power.PAUSED, Power.STUCK)
    is_said = previous is not None and previous.epoch == order.epoch and previous.move == move
    for action in decision.actions:
        # Nobody starts, or lets go on, what another host may have.
        assert not isinstance(action, steps.Start | steps.Resume | steps.Define | steps.CreateDisks)
        if isinstance(action, steps.RemoveDisks):
            assert order.role is Role.LEFT
            assert order.leaving is not None
            assert order.leaving.copies_disks
            assert domain is None
        if isinstance(action, steps.PowerOff) and runs:
            is_cold = order.leaving is not None and not order.leaving.live
            assert order.role is Role.LEFT or (is_cold and order.role is Role.RUN)
        if isinstance(action, steps.DropArrivingDisks):
            pytest.fail("disks are dropped while the VM is to come")
        if isinstance(action, steps.Undefine):
            assert not runs
    if move and not is_said and not observed.obstacle:
        if move.state is MoveState.DONE:
            assert domain is None or domain.power is Power.OFF
        if move.state is MoveState.FAILED and order.role is Role.RUN and domain:
            assert domain.power is not Power.BETWEEN or not (order.leaving and order.leaving.live)
            assert domain.off_cause is not OffCause.MOVED or runs or not (order.leaving and order.leaving.live)
        if move.has_guest:
            assert runs
            assert order.role is Role.INCOMING

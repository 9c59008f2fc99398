"""The plan as a table, and what it must never do whatever it is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.decision import Decision, Failure
from common.schemas.vm import (
    EVENTS_KEPT,
    Actual,
    Console,
    Event,
    Placement,
    Requested,
    Role,
    Specs,
    VmRequest,
    VmStatus,
)
from ucloud_vm import plan as steps
from ucloud_vm.hypervisor import Domain, OffCause, Power
from ucloud_vm.plan import Action, Observation, Planner

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STOP_TIMEOUT_S = 30
CONSOLE = Console(url="http://[fd00::1]:9703/vm/x/log", token="t")
SPECS = Specs(cpu=1, ram_mib=128, ssd_mib=1024)
NOTHING = Observation(CONSOLE)
DISKS = replace(NOTHING, root_disk=True, disk_files=True)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def order(requested: Requested = Requested.RUNNING, generation: int = 2, epoch: int = 1, **specs: int) -> Placement:
    request = VmRequest(
        uuid="5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10",
        owner="admin",
        name="web",
        image="00000000-0000-4000-8000-00000000001a",
        specs=SPECS.model_copy(update=specs),
        requested=requested,
        generation=generation,
        created_at=ago(900),
    )
    return Placement(epoch=epoch, generation=generation, request=request, placed_at=ago(800))


def status(actual: Actual, generation: int = 2, since_s: float = 100, epoch: int = 1, reason: str = "") -> VmStatus:
    return VmStatus(
        epoch=epoch, generation=generation, actual=actual, since=ago(since_s), reason=reason, console=CONSOLE
    )


def off(cause: OffCause = OffCause.UNKNOWN, epoch: int = 1) -> Observation:
    return replace(DISKS, domain=Domain(epoch, Power.OFF, cause), run_files=True)


def on(power: Power = Power.RUNNING, epoch: int = 1) -> Observation:
    return replace(DISKS, domain=Domain(epoch, power), run_files=True)


def decide(
    placement: Placement | None,
    observed: Observation,
    previous: VmStatus | None = None,
    failure: Failure | None = None,
    now: datetime = NOW,
) -> Decision[VmStatus, Action]:
    return Planner(STOP_TIMEOUT_S)(placement, observed, previous, failure, now)


RUN, STOP, SUSPEND, DELETE = (
    order(requested) for requested in (Requested.RUNNING, Requested.STOPPED, Requested.SUSPENDED, Requested.DELETED)
)
START = steps.Start(1, SPECS)


@pytest.mark.parametrize(
    ("placement", "observed", "previous", "actual", "action"),
    [
        # A VM comes into being: disks, domain, start.
        (RUN, NOTHING, None, Actual.DEPLOYING, steps.CreateDisks(RUN.request.image, SPECS)),
        (STOP, NOTHING, None, Actual.DEPLOYING, steps.CreateDisks(RUN.request.image, SPECS)),
        (RUN, DISKS, status(Actual.DEPLOYING), Actual.DEPLOYING, steps.Define(1, SPECS)),
        (RUN, off(), status(Actual.DEPLOYING), Actual.STARTING, START),
        (RUN, on(), status(Actual.STARTING), Actual.RUNNING, None),
        (RUN, on(Power.CHANGING), status(Actual.STARTING), Actual.STARTING, None),
        # A start that the hypervisor's death interrupted: it gets some time, then it is begun anew.
        (RUN, on(Power.STARTING), status(Actual.STARTING, since_s=9), Actual.STARTING, None),
        (RUN, on(Power.STARTING), status(Actual.RUNNING), Actual.STARTING, None),
        (
            RUN,
            on(Power.STARTING),
            status(Actual.STARTING, since_s=11),
            Actual.STOPPING,
            steps.PowerOff(steps.START_ABANDONED),
        ),
        (
            STOP,
            on(Power.STARTING),
            status(Actual.STARTING, since_s=11),
            Actual.STOPPING,
            steps.PowerOff(steps.START_ABANDONED),
        ),
        (
            DELETE,
            on(Power.STARTING),
            status(Actual.STARTING),
            Actual.DELETING,
            steps.PowerOff("its VM is to be deleted"),
        ),
        (STOP, off(), status(Actual.DEPLOYING), Actual.STOPPED, None),
        # It was started under an earlier daemon, or its status is lost: it is taken over as it is.
        (RUN, on(), None, Actual.RUNNING, None),
        # It is stopped.
        (STOP, on(), status(Actual.RUNNING), Actual.STOPPING, steps.ShutDown()),
        (STOP, on(), status(Actual.STOPPING, since_s=5), Actual.STOPPING, steps.ShutDown()),
        (
            STOP,
            replace(on(), shutdown_asked_at=ago(5)),
            status(Actual.STOPPING, since_s=5),
            Actual.STOPPING,
            None,
        ),
        (
            STOP,
            replace(on(), shutdown_asked_at=ago(11)),
            status(Actual.STOPPING, since_s=20),
            Actual.STOPPING,
            steps.ShutDown(),
        ),
        (STOP, off(OffCause.GUEST), status(Actual.STOPPING), Actual.STOPPED, None),
        (STOP, on(Power.PAUSED), status(Actual.SUSPENDED), Actual.STOPPING, steps.Resume()),
        (STOP, on(Power.STUCK), status(Actual.STOPPING, since_s=5), Actual.STOPPING, None),
        # And started again.
        (RUN, off(OffCause.GUEST), status(Actual.STOPPED, generation=1), Actual.STARTING, START),
        # The owner wanted it off, then on again, before it was off.
        (
            RUN,
            replace(off(OffCause.GUEST), shutdown_asked_at=ago(3)),
            status(Actual.RUNNING, since_s=1),
            Actual.STARTING,
            START,
        ),
        # It powers itself off, and stays so until its owner asks again.
        (RUN, off(OffCause.GUEST), status(Actual.RUNNING), Actual.STOPPED, None),
        (RUN, off(OffCause.UNKNOWN), status(Actual.STOPPED), Actual.STOPPED, None),
        (RUN, off(OffCause.GUEST), status(Actual.RUNNING, generation=1), Actual.STARTING, START),
        # It dies.
        (RUN, off(OffCause.CRASHED), status(Actual.RUNNING), Actual.KILLED, None),
        (RUN, off(OffCause.DESTROYED), status(Actual.RUNNING), Actual.KILLED, None),
        (RUN, off(OffCause.UNKNOWN), status(Actual.RUNNING), Actual.KILLED, None),
        (RUN, off(OffCause.CRASHED), status(Actual.STARTING), Actual.KILLED, None),
        (RUN, off(OffCause.CRASHED), status(Actual.KILLED, since_s=0.5), Actual.KILLED, None),
        (RUN, off(OffCause.CRASHED), status(Actual.KILLED, since_s=1.5), Actual.STARTING, START),
        (RUN, off(OffCause.CRASHED), status(Actual.KILLED, since_s=0.5, generation=1), Actual.STARTING, START),
        (SUSPEND, off(OffCause.CRASHED), status(Actual.SUSPENDED), Actual.KILLED, None),
        (SUSPEND, off(OffCause.CRASHED), status(Actual.KILLED), Actual.KILLED, None),
        (STOP, off(OffCause.CRASHED), status(Actual.RUNNING), Actual.STOPPED, None),
        # It is suspended and resumed.
        (SUSPEND, on(), status(Actual.RUNNING), Actual.RUNNING, steps.Suspend()),
        (SUSPEND, on(Power.PAUSED), status(Actual.RUNNING), Actual.SUSPENDED, None),
        (SUSPEND, off(), status(Actual.DEPLOYING), Actual.STOPPED, None),
        (RUN, on(Power.PAUSED), status(Actual.SUSPENDED), Actual.SUSPENDED, steps.Resume()),
        # Its disk can't be written.
        (RUN, on(Power.STUCK), status(Actual.RUNNING), Actual.SUSPENDED, None),
        (RUN, on(Power.STUCK), status(Actual.SUSPENDED, since_s=11), Actual.STARTING, steps.Resume()),
        (SUSPEND, on(Power.STUCK), status(Actual.RUNNING), Actual.SUSPENDED, None),
        # Its disks are gone though it was here: never a new disk in the place of the old one.
        (RUN, replace(off(), root_disk=False), status(Actual.RUNNING), Actual.ERROR, None),
        (order(hdd_mib=9), off(), status(Actual.RUNNING), Actual.ERROR, None),
        # It was placed here, elsewhere, and here again.
        (order(epoch=3), on(epoch=1), status(Actual.RUNNING), Actual.STOPPING, steps.PowerOff),
        (order(epoch=3), off(epoch=1), status(Actual.STOPPED), Actual.DEPLOYING, steps.Define(3, SPECS)),
        (order(epoch=3), off(epoch=3), status(Actual.STOPPED), Actual.STARTING, steps.Start(3, SPECS)),
        # It is deleted: power, domain with sockets and log, disks.
        (DELETE, on(), status(Actual.RUNNING), Actual.DELETING, steps.PowerOff),
        (DELETE, off(), status(Actual.DELETING), Actual.DELETING, steps.Undefine()),
        (DELETE, replace(DISKS, run_files=True), status(Actual.DELETING), Actual.DELETING, steps.Undefine()),
        (DELETE, DISKS, status(Actual.DELETING), Actual.DELETING, steps.RemoveDisks()),
        (DELETE, NOTHING, status(Actual.DELETING), Actual.DELETED, None),
        (DELETE, NOTHING, None, Actual.DELETED, None),
        # What can't be looked at stays as it was.
        (RUN, replace(NOTHING, obstacle="no store"), status(Actual.RUNNING), Actual.RUNNING, None),
        (DELETE, replace(NOTHING, obstacle="no store"), status(Actual.DELETING), Actual.DELETING, None),
        (RUN, replace(NOTHING, obstacle="no store"), status(Actual.DELETED, epoch=0), Actual.ERROR, None),
    ],
)
def test_the_next_step(
    placement: Placement, observed: Observation, previous: VmStatus | None, actual: Actual, action: object
) -> None:
    decision = decide(placement, observed, previous)
    assert decision.status is not None
    assert decision.status.actual is actual
    if action is None:
        assert decision.actions == ()
    elif isinstance(action, type):
        assert [type(step) for step in decision.actions] == [action]
    else:
        assert decision.actions == (action,)


def test_a_guest_that_does_not_answer_loses_its_power() -> None:
    previous = status(Actual.STOPPING, since_s=STOP_TIMEOUT_S)
    decision = decide(STOP, replace(on(), shutdown_asked_at=ago(1)), previous)
    assert [type(step) for step in decision.actions] == [steps.PowerOff]
    assert decision.status is not None
    assert "did not shut down within 30 s" in decision.status.reason


def test_the_next_look_is_when_the_time_to_stop_is_over() -> None:
    previous = status(Actual.STOPPING, since_s=STOP_TIMEOUT_S - 4)
    assert decide(STOP, replace(on(), shutdown_asked_at=ago(1)), previous).again_in_s == pytest.approx(4)


def test_a_guest_that_dies_again_and_again_is_started_ever_later() -> None:
    previous, delays, now = status(Actual.RUNNING), [], NOW
    for _ in range(9):
        killed = decide(RUN, off(OffCause.CRASHED), previous, now=now)
        assert killed.status is not None
        assert killed.again_in_s is not None
        delays.append(killed.again_in_s)
        waiting = decide(RUN, off(OffCause.CRASHED), killed.status, now=now + timedelta(seconds=killed.again_in_s / 2))
        assert waiting.actions == ()
        assert waiting.again_in_s == pytest.approx(killed.again_in_s / 2)
        now += timedelta(seconds=killed.again_in_s)
        started = decide(RUN, off(OffCause.CRASHED), killed.status, now=now)
        assert started.actions == (START,)
        running = decide(RUN, on(), started.status, now=now)
        assert running.status is not None
        previous = running.status
    assert delays[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert delays[-1] >= 32


def test_a_failure_is_the_reason_and_a_hopeless_one_ends_the_trying() -> None:
    failure = Failure(3, "the store is full", permanent=False, at=ago(1))
    decision = decide(RUN, NOTHING, status(Actual.DEPLOYING), failure)
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason) == (Actual.DEPLOYING, "the store is full")
    assert len(decision.actions) == 1
    failure = Failure(1, "image x is not in the store of this host", permanent=True, at=ago(1))
    decision = decide(RUN, NOTHING, status(Actual.DEPLOYING), failure)
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason) == (Actual.ERROR, failure.reason)
    assert decision.actions == ()


def test_a_failed_suspend_leaves_a_running_vm_running() -> None:
    failure = Failure(1, "can't suspend", permanent=True, at=ago(1))
    decision = decide(SUSPEND, on(), status(Actual.RUNNING), failure)
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason) == (Actual.RUNNING, "can't suspend")


def test_since_and_events_tell_what_changed_and_when() -> None:
    previous = status(Actual.STARTING, since_s=7)
    decision = decide(RUN, on(), previous)
    assert decision.status is not None
    assert decision.status.since == NOW
    assert decision.status.events == (Event(at=NOW, what="RUNNING"),)
    later = decide(RUN, on(), decision.status, now=NOW + timedelta(hours=1))
    assert later.status == decision.status


def test_an_orphan_has_a_time_of_grace_and_keeps_its_disks() -> None:
    found = decide(None, on(), status(Actual.RUNNING))
    assert found.status is not None
    assert (found.actions, found.status.actual, found.status.reason) == ((), Actual.STOPPING, steps.NOT_ORDERED)
    assert found.again_in_s == 60
    waiting = decide(None, on(), found.status, now=NOW + timedelta(seconds=59))
    assert waiting.actions == ()
    assert waiting.status == found.status
    late = decide(None, on(), found.status, now=NOW + timedelta(seconds=60))
    assert [type(step) for step in late.actions] == [steps.PowerOff]
    assert decide(None, off(), late.status).actions == (steps.Undefine(),)
    assert decide(None, DISKS, late.status) == Decision(None)


def test_an_orphan_without_a_status_is_reported_before_anything_is_done() -> None:
    found = decide(None, on(epoch=4))
    assert found.status is not None
    assert (found.status.epoch, found.status.actual, found.actions) == (4, Actual.STOPPING, ())


def test_grace_and_time_to_shut_down_are_not_taken_from_each_other() -> None:
    orphan = status(Actual.STOPPING, since_s=55, reason=steps.NOT_ORDERED)
    assert decide(STOP, on(), orphan).actions == (steps.ShutDown(),)
    assert decide(None, on(), status(Actual.STOPPING, since_s=3000)).actions == ()


def test_an_orphan_that_is_ordered_again_runs_on() -> None:
    decision = decide(RUN, on(), status(Actual.STOPPING, reason=steps.NOT_ORDERED))
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason, decision.actions) == (Actual.RUNNING, "", ())


# --- whatever it is told ----------------------------------------------------------------------------------------------

times = st.floats(0, 900).map(ago)
placements = st.builds(
    lambda requested, role, generation, epoch, hdd_mib: order(requested, generation, epoch, hdd_mib=hdd_mib).model_copy(
        update={"role": role}
    ),
    st.sampled_from(Requested),
    st.sampled_from(Role),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0, 8]),
)
domains = st.builds(Domain, st.integers(1, 3), st.sampled_from(Power), st.sampled_from(OffCause))
observations = st.builds(
    Observation,
    console=st.just(CONSOLE),
    domain=st.none() | domains,
    root_disk=st.booleans(),
    hdd_disk=st.booleans(),
    disk_files=st.booleans(),
    run_files=st.booleans(),
    shutdown_asked_at=st.none() | times,
    obstacle=st.sampled_from(["", "", "the store is not there"]),
)
events = st.builds(Event, at=times, what=st.sampled_from(Actual).map(str))
statuses = st.builds(
    VmStatus,
    epoch=st.integers(1, 3),
    generation=st.integers(1, 3),
    actual=st.sampled_from(Actual),
    since=times,
    reason=st.sampled_from(["", steps.NOT_ORDERED, steps.STUCK]),
    events=st.lists(events, max_size=EVENTS_KEPT).map(tuple),
)
failures = st.none() | st.builds(Failure, st.integers(1, 9), st.just("it failed"), st.booleans(), times)


def is_allowed(action: Action, placement: Placement | None, domain: Domain | None) -> bool:
    """Whether a step may be taken at all."""
    requested = placement.request.requested if placement else None
    runs = domain is not None and domain.power is not Power.OFF
    match action:
        case steps.Start():
            is_run = placement is not None and placement.role is Role.RUN
            return requested is Requested.RUNNING and is_run and not runs
        case steps.RemoveDisks():
            return requested is Requested.DELETED and domain is None
        case steps.CreateDisks():
            return requested not in (None, Requested.DELETED) and domain is None
        case steps.Undefine():
            return requested in (None, Requested.DELETED) and not runs
        case steps.PowerOff():
            is_stale = placement is not None and domain is not None and domain.epoch != placement.epoch
            return requested in (None, Requested.STOPPED, Requested.DELETED) or is_stale
        case steps.ShutDown():
            return requested is Requested.STOPPED
        case _:
            return placement is not None


@settings(max_examples=1000, deadline=None)
@given(st.none() | placements, observations, st.none() | statuses, failures)
def test_it_takes_no_step_that_it_must_not_take(
    placement: Placement | None, observed: Observation, previous: VmStatus | None, failure: Failure | None
) -> None:
    decision = decide(placement, observed, previous, failure)
    assert all(is_allowed(action, placement, observed.domain) for action in decision.actions)
    if observed.obstacle:
        assert decision.actions == ()


@settings(max_examples=1000, deadline=None)
@given(placements, observations, st.none() | statuses, failures)
def test_it_says_nothing_that_is_not_so(
    placement: Placement, observed: Observation, previous: VmStatus | None, failure: Failure | None
) -> None:
    decision = decide(placement, observed, previous, failure)
    reported, domain = decision.status, observed.domain
    assert reported is not None
    assert len(reported.events) <= EVENTS_KEPT
    if domain is None or domain.power is not Power.CHANGING:
        assert (reported.epoch, reported.generation) == (placement.epoch, placement.generation)
    if observed.obstacle:
        return
    if reported.actual is Actual.DELETED and domain is None:
        assert not observed.disk_files
        assert not observed.run_files
    is_ours = domain is not None and (domain.power, domain.epoch) == (Power.RUNNING, placement.epoch)
    if is_ours and placement.role is Role.RUN and placement.request.requested is Requested.RUNNING:
        assert (reported.actual, decision.actions) == (Actual.RUNNING, ())


def carried_out(observed: Observation, action: Action) -> Observation:
    """The world after a step that worked."""
    match action:
        case steps.CreateDisks(_, specs):
            return replace(observed, root_disk=True, disk_files=True, hdd_disk=specs.hdd_mib > 0)
        case steps.Define(epoch, _):
            return replace(observed, domain=Domain(epoch, Power.OFF), run_files=True)
        case steps.Start(epoch, _):
            return replace(observed, domain=Domain(epoch, Power.RUNNING), shutdown_asked_at=None)
        case steps.ShutDown():
            return replace(observed, shutdown_asked_at=NOW)
        case steps.Undefine():
            return replace(observed, domain=None, run_files=False)
        case steps.RemoveDisks():
            return replace(observed, root_disk=False, hdd_disk=False, disk_files=False)
    assert observed.domain is not None
    power = {steps.PowerOff: Power.OFF, steps.Suspend: Power.PAUSED, steps.Resume: Power.RUNNING}[type(action)]
    return replace(observed, domain=replace(observed.domain, power=power, off_cause=OffCause.DESTROYED))


@settings(max_examples=1000, deadline=None)
@given(st.none() | placements, observations, st.none() | statuses)
def test_it_comes_to_rest(placement: Placement | None, observed: Observation, previous: VmStatus | None) -> None:
    """Within the rounds that the controller allows, at one moment in time, if each step works."""
    for _ in range(10):
        decision = decide(placement, observed, previous)
        if not decision.actions:
            break
        for action in decision.actions:
            observed = carried_out(observed, action)
        previous = decision.status
    else:
        pytest.fail(f"still at {decision}")
    assert decide(placement, observed, decision.status).status == decision.status

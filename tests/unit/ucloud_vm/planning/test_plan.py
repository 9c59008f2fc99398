"""The plan as a table, and what it must never do whatever it is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.decision import Decision, Failure
from common.schemas.port import Port
from common.schemas.vm import (
    EVENTS_KEPT,
    Actual,
    Console,
    Event,
    Placement,
    Requested,
    Specs,
    VmRequest,
    VmStatus,
)
from ucloud_vm.hypervisor import Domain, OffCause, Power
from ucloud_vm.planning import steps
from ucloud_vm.planning.plan import REBOOT, START_ABANDONED, STUCK, Planner
from ucloud_vm.planning.report import NOT_ORDERED
from ucloud_vm.planning.steps import Action, Observation
from ucloud_vm.planning.stopping import FORCED

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STOP_TIMEOUT_S = 30
GRACE_S = 60
CONSOLE = Console(url="http://[fd00::1]:9703/vm/x", token="t")
SPECS = Specs.of(cpu=1, ram_mib=128, ssd_mib=1024)
NOTHING = Observation(CONSOLE)
DISKS = replace(NOTHING, disks_mib={"root": 1024}, disk_files=True)
HAS = frozenset({"root"})


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def sized(cpu: int = 1, ram_mib: int = 128, ssd_mib: int = 1024, hdd_mib: int = 0) -> Specs:
    return Specs.of(cpu, ram_mib, ssd_mib, hdd_mib)


def order(
    requested: Requested = Requested.RUNNING,
    generation: int = 2,
    epoch: int = 1,
    reboots: int = 0,
    force: bool = False,
    ports: tuple[Port, ...] = (),
    **specs: int,
) -> Placement:
    request = VmRequest(
        uuid="5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10",
        owner="admin",
        name="web",
        image="00000000-0000-4000-8000-00000000001a",
        specs=sized(**specs),
        requested=requested,
        force=force,
        reboots=reboots,
        generation=generation,
        created_at=ago(900),
        ports=ports,
    )
    return Placement(epoch=epoch, generation=generation, request=request, placed_at=ago(800))


def status(
    actual: Actual, generation: int = 2, since_s: float = 100, epoch: int = 1, reason: str = "", reboots: int = 0
) -> VmStatus:
    return VmStatus(
        epoch=epoch,
        generation=generation,
        actual=actual,
        since=ago(since_s),
        reason=reason,
        reboots=reboots,
        console=CONSOLE,
    )


def off(cause: OffCause = OffCause.UNKNOWN, epoch: int = 1) -> Observation:
    return replace(DISKS, domain=Domain(epoch, Power.OFF, cause, SPECS, HAS), run_files=True)


def on(power: Power = Power.RUNNING, epoch: int = 1) -> Observation:
    return replace(DISKS, domain=Domain(epoch, power, specs=SPECS, disks=HAS), run_files=True)


def dying() -> Observation:
    return replace(DISKS, domain=Domain(1, Power.DYING, OffCause.CRASHED, SPECS, HAS), run_files=True)


def with_hdd(observed: Observation, hdd_mib: int | None, defined_mib: int = 8) -> Observation:
    """A VM whose domain was defined with a second disk, and how large that is."""
    assert observed.domain is not None
    disks_mib = {"root": 1024} if hdd_mib is None else {"root": 1024, "hdd": hdd_mib}
    domain = replace(observed.domain, specs=sized(hdd_mib=defined_mib), disks=HAS | {"hdd"})
    return replace(observed, disks_mib=disks_mib, domain=domain)


def decide(
    placement: Placement | None,
    observed: Observation,
    previous: VmStatus | None = None,
    failure: Failure | None = None,
    now: datetime = NOW,
) -> Decision[VmStatus, Action]:
    return Planner(STOP_TIMEOUT_S, GRACE_S)(placement, observed, previous, failure, now)


RUN, STOP, SUSPEND, DELETE = (
    order(requested) for requested in (Requested.RUNNING, Requested.STOPPED, Requested.SUSPENDED, Requested.DELETED)
)
START = steps.Start(1, SPECS)


@pytest.mark.parametrize(
    ("placement", "observed", "previous", "actual", "action"),
    [
        # A VM comes into being: disks, domain, start.
        (RUN, NOTHING, None, Actual.DEPLOYING, steps.CreateDisks(RUN.request.image, SPECS.disks)),
        (STOP, NOTHING, None, Actual.DEPLOYING, steps.CreateDisks(RUN.request.image, SPECS.disks)),
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
            steps.PowerOff(START_ABANDONED),
        ),
        (
            STOP,
            on(Power.STARTING),
            status(Actual.STARTING, since_s=11),
            Actual.STOPPING,
            steps.PowerOff(START_ABANDONED),
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
        # It has died, but the hypervisor has yet to find that out.
        (RUN, dying(), status(Actual.RUNNING), Actual.KILLED, None),
        (RUN, dying(), status(Actual.RUNNING, generation=1), Actual.KILLED, None),
        (RUN, dying(), status(Actual.KILLED, since_s=5), Actual.KILLED, None),
        (SUSPEND, dying(), status(Actual.SUSPENDED), Actual.KILLED, None),
        (STOP, dying(), status(Actual.STOPPING), Actual.STOPPING, None),
        (DELETE, dying(), status(Actual.RUNNING), Actual.DELETING, steps.PowerOff),
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
        (RUN, replace(off(), disks_mib={}), status(Actual.RUNNING), Actual.ERROR, None),
        (order(hdd_mib=8), with_hdd(off(), None), status(Actual.RUNNING), Actual.ERROR, None),
        # A stop that is forced cuts the power at once, and so does one that is forced only later.
        (order(Requested.STOPPED, force=True), on(), status(Actual.RUNNING), Actual.STOPPING, steps.PowerOff(FORCED)),
        (
            order(Requested.STOPPED, force=True),
            replace(on(Power.PAUSED), shutdown_asked_at=ago(2)),
            status(Actual.STOPPING, generation=1, since_s=2),
            Actual.STOPPING,
            steps.PowerOff(FORCED),
        ),
        (order(Requested.RUNNING, force=True), on(), status(Actual.RUNNING), Actual.RUNNING, None),
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


@pytest.mark.parametrize("was", [Actual.STOPPED, Actual.KILLED])
def test_a_start_that_is_asked_for_while_the_store_is_away_is_done_when_it_is_back(was: Actual) -> None:
    waiting = decide(RUN, replace(off(), obstacle="no store"), status(was, generation=1))
    assert waiting.status is not None
    assert (waiting.status.actual, waiting.status.reason, waiting.actions) == (was, "no store", ())
    (start,) = decide(RUN, off(), waiting.status).actions
    assert isinstance(start, steps.Start)


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
    assert (found.actions, found.status.actual, found.status.reason) == ((), Actual.STOPPING, NOT_ORDERED)
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
    orphan = status(Actual.STOPPING, since_s=55, reason=NOT_ORDERED)
    assert decide(STOP, on(), orphan).actions == (steps.ShutDown(),)
    assert decide(None, on(), status(Actual.STOPPING, since_s=3000)).actions == ()


def test_an_orphan_that_is_ordered_again_runs_on() -> None:
    decision = decide(RUN, on(), status(Actual.STOPPING, reason=NOT_ORDERED))
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason, decision.actions) == (Actual.RUNNING, "", ())


# --- reboots ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observed", "previous", "actual", "actions", "done"),
    [
        # It is shut down as if to be stopped, with the same patience, and then started.
        (on(), status(Actual.RUNNING, generation=1), Actual.STOPPING, (steps.ShutDown(),), 0),
        (replace(on(), shutdown_asked_at=ago(1)), status(Actual.STOPPING, since_s=1), Actual.STOPPING, (), 0),
        (on(), status(Actual.STOPPING, since_s=29), Actual.STOPPING, (steps.ShutDown(),), 0),
        (on(), status(Actual.STOPPING, since_s=30), Actual.STOPPING, steps.PowerOff, 0),
        (on(Power.PAUSED), status(Actual.SUSPENDED, generation=1), Actual.STOPPING, (steps.Resume(),), 0),
        (on(Power.STUCK), status(Actual.STOPPING, since_s=30), Actual.STOPPING, steps.PowerOff, 0),
        # However it went off, it is started, and that is the reboot.
        (off(OffCause.GUEST), status(Actual.STOPPING), Actual.STARTING, (START,), 1),
        (off(OffCause.DESTROYED), status(Actual.STOPPING), Actual.STARTING, (START,), 1),
        (off(OffCause.CRASHED), status(Actual.STOPPING), Actual.STARTING, (START,), 1),
        (off(OffCause.GUEST), status(Actual.RUNNING), Actual.STARTING, (START,), 1),
        (off(OffCause.CRASHED), status(Actual.RUNNING), Actual.STARTING, (START,), 1),
        (off(OffCause.GUEST), status(Actual.STOPPED), Actual.STARTING, (START,), 1),
        (off(OffCause.CRASHED), status(Actual.KILLED, since_s=0.1), Actual.STARTING, (START,), 1),
        # What is done is not done again.
        (off(OffCause.GUEST), status(Actual.STARTING, reboots=1), Actual.STARTING, (START,), 1),
        (on(), status(Actual.STARTING, reboots=1), Actual.RUNNING, (), 1),
        (off(OffCause.GUEST), status(Actual.RUNNING, reboots=1), Actual.STOPPED, (), 1),
        # A new life on this host owes nothing, nor does one of which nothing is known.
        (on(), None, Actual.RUNNING, (), 1),
        (off(), status(Actual.STOPPED, epoch=0), Actual.STARTING, (START,), 1),
        (NOTHING, None, Actual.DEPLOYING, (steps.CreateDisks(RUN.request.image, SPECS.disks),), 1),
    ],
)
def test_a_reboot_is_a_power_cycle_that_is_done_once(
    observed: Observation, previous: VmStatus | None, actual: Actual, actions: object, done: int
) -> None:
    decision = decide(order(reboots=1), observed, previous)
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reboots) == (actual, done)
    if isinstance(actions, type):
        assert [type(step) for step in decision.actions] == [actions]
    else:
        assert decision.actions == actions


def test_a_forced_reboot_cuts_the_power_at_once() -> None:
    decision = decide(order(reboots=3, force=True), on(), status(Actual.RUNNING, reboots=1))
    assert decision.actions == (steps.PowerOff(FORCED),)
    assert decision.status is not None
    assert decision.status.reboots == 1


def test_reboots_wait_while_the_vm_is_to_be_off_or_suspended() -> None:
    for requested, observed, previous, actual in (
        (Requested.STOPPED, off(), status(Actual.STOPPED), Actual.STOPPED),
        (Requested.SUSPENDED, on(Power.PAUSED), status(Actual.SUSPENDED), Actual.SUSPENDED),
    ):
        decision = decide(order(requested, reboots=1), observed, previous)
        assert decision.status is not None
        assert (decision.status.actual, decision.status.reboots, decision.actions) == (actual, 0, ())


def test_its_owner_sees_what_a_reboot_is_at() -> None:
    previous, now, told = status(Actual.RUNNING), NOW, []
    for observed in (on(), off(OffCause.GUEST), on()):
        decision = decide(order(reboots=1), observed, previous, now=now)
        assert decision.status is not None
        previous = decision.status
        told.append(previous.events[-1].what)
    assert told == [f"STOPPING: {REBOOT}", "STARTING", "RUNNING"]


def test_a_start_that_fails_after_a_reboot_is_tried_again() -> None:
    failure = Failure(1, "can't start the VM", permanent=False, at=ago(1))
    decision = decide(order(reboots=1), off(OffCause.FAILED), status(Actual.STARTING, reboots=1), failure)
    assert decision.actions == (START,)


deaths = st.lists(st.sampled_from(["", "before the report", "before the step", "after the step"]), max_size=20)


@settings(max_examples=300, deadline=None)
@given(deaths, st.booleans(), st.booleans())
def test_whenever_the_daemon_dies_a_reboot_is_neither_lost_nor_done_twice(
    deaths: list[str], answers: bool, force: bool
) -> None:
    placement, observed, previous = order(reboots=1, force=force), on(), status(Actual.RUNNING, generation=1)
    starts = 0
    for number, death in enumerate(deaths + [""] * 20):
        now = NOW + timedelta(seconds=3 * number)
        decision = decide(placement, observed, previous, now=now)
        if death != "before the report":
            assert decision.status is not None
            previous = decision.status
            for action in decision.actions if death != "before the step" else ():
                starts += isinstance(action, steps.Start)
                observed = answered(observed, action) if answers else carried_out(observed, action)
        if death:
            observed = replace(observed, shutdown_asked_at=None)
    assert (previous.actual, previous.reboots, starts) == (Actual.RUNNING, 1, 1)
    assert [event.what for event in previous.events if event.what.startswith("KILLED")] == []


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_the_status_says_what_the_guest_that_is_on_was_started_with() -> None:
    resized = order(cpu=4, ram_mib=512, ssd_mib=1024)
    for observed in (on(), on(Power.PAUSED)):
        decision = decide(resized, observed, status(Actual.RUNNING))
        assert decision.status is not None
        assert decision.status.specs == SPECS
    decision = decide(resized, off(OffCause.GUEST), status(Actual.RUNNING))
    assert decision.status is not None
    assert decision.status.specs is None


def test_the_sizes_of_disks_are_those_that_the_guest_sees_by_now() -> None:
    observed = replace(with_hdd(on(), 16), disks_mib={"root": 2048, "hdd": 16})
    decision = decide(order(ssd_mib=2048, hdd_mib=16), observed, status(Actual.RUNNING))
    assert decision.status is not None
    assert decision.status.specs == sized(ssd_mib=2048, hdd_mib=16)
    without = decide(order(hdd_mib=16), replace(on(), disks_mib={"root": 1024, "hdd": 16}), status(Actual.RUNNING))
    assert without.status is not None
    assert without.status.specs == SPECS


BIGGER = sized(ssd_mib=2048)
WITH_HDD = sized(hdd_mib=8)
CREATE_HDD = steps.CreateDisks(RUN.request.image, WITH_HDD.disks[1:])


@pytest.mark.parametrize(
    ("placement", "observed", "previous", "actual", "actions"),
    [
        (order(ssd_mib=2048), on(), Actual.RUNNING, Actual.RUNNING, (steps.GrowDisks(BIGGER.disks),)),
        (order(ssd_mib=2048), on(Power.STUCK), Actual.RUNNING, Actual.SUSPENDED, ()),
        (
            order(Requested.SUSPENDED, ssd_mib=2048),
            on(Power.PAUSED),
            Actual.SUSPENDED,
            Actual.SUSPENDED,
            (steps.GrowDisks(BIGGER.disks),),
        ),
        (
            order(Requested.STOPPED, ssd_mib=2048),
            off(),
            Actual.STOPPED,
            Actual.STOPPED,
            (steps.GrowDisks(BIGGER.disks),),
        ),
        (
            order(ssd_mib=2048),
            off(),
            Actual.DEPLOYING,
            Actual.STARTING,
            (steps.GrowDisks(BIGGER.disks), steps.Start(1, BIGGER)),
        ),
        # The other wishes come first.
        (order(Requested.STOPPED, ssd_mib=2048), on(), Actual.RUNNING, Actual.STOPPING, (steps.ShutDown(),)),
        (order(Requested.SUSPENDED, ssd_mib=2048), on(), Actual.RUNNING, Actual.RUNNING, (steps.Suspend(),)),
        # Never smaller, and nothing while the store does not tell.
        (order(ssd_mib=512), on(), Actual.RUNNING, Actual.RUNNING, ()),
        (order(Requested.STOPPED, ssd_mib=512), off(), Actual.STOPPED, Actual.STOPPED, ()),
        (order(ssd_mib=2048), replace(on(), disks_mib=None), Actual.RUNNING, Actual.RUNNING, ()),
        # Not every hypervisor can.
        (
            order(ssd_mib=2048),
            replace(on(), domain=Domain(1, Power.RUNNING, specs=SPECS, disks=HAS, grows=False)),
            Actual.RUNNING,
            Actual.RUNNING,
            (),
        ),
        # A second disk is made, and is the guest's at once.
        (order(hdd_mib=8), on(), Actual.RUNNING, Actual.RUNNING, (CREATE_HDD,)),
        (order(Requested.STOPPED, hdd_mib=8), off(), Actual.STOPPED, Actual.STOPPED, (CREATE_HDD,)),
        (
            order(Requested.STOPPED, hdd_mib=8),
            replace(off(), disks_mib={"root": 1024, "hdd": 8}),
            Actual.STOPPED,
            Actual.STOPPED,
            (steps.Define(1, WITH_HDD),),
        ),
        (
            order(hdd_mib=8),
            replace(on(), disks_mib={"root": 1024, "hdd": 8}),
            Actual.RUNNING,
            Actual.RUNNING,
            (steps.PlugDisk("hdd"),),
        ),
        (
            order(hdd_mib=8),
            off(),
            Actual.DEPLOYING,
            Actual.STARTING,
            (CREATE_HDD, steps.Start(1, WITH_HDD)),
        ),
        (
            order(epoch=3, hdd_mib=8),
            off(),
            Actual.STOPPED,
            Actual.DEPLOYING,
            (CREATE_HDD,),
        ),
    ],
)
def test_disks_grow_and_appear(
    placement: Placement, observed: Observation, previous: Actual, actual: Actual, actions: tuple[Action, ...]
) -> None:
    decision = decide(placement, observed, status(previous))
    assert decision.status is not None
    assert (decision.status.actual, decision.actions) == (actual, actions)


def test_a_disk_that_can_not_grow_is_told_and_keeps_no_guest_off() -> None:
    failure = Failure(1, "no room", permanent=False, at=ago(1))
    running = decide(order(ssd_mib=2048), on(), status(Actual.RUNNING), failure)
    assert running.status is not None
    assert (running.status.actual, running.status.reason) == (Actual.RUNNING, "no room")
    assert running.actions == (steps.GrowDisks(BIGGER.disks),)
    assert decide(order(ssd_mib=2048), off(), status(Actual.STARTING), failure).actions == (steps.Start(1, BIGGER),)


# --- every state with every wish --------------------------------------------------------------------------------------


def what_is(actual: Actual) -> Observation:
    """What is on a host whose VM is reported so."""
    match actual:
        case Actual.RUNNING | Actual.STOPPING | Actual.UNKNOWN | Actual.MIGRATING:
            return on()
        case Actual.SUSPENDED:
            return on(Power.PAUSED)
        case Actual.STARTING:
            return off(OffCause.UNKNOWN)
        case Actual.STOPPED:
            return off(OffCause.GUEST)
        case Actual.KILLED:
            return off(OffCause.CRASHED)
        case Actual.DELETING:
            return off(OffCause.DESTROYED)
        case _:
            return NOTHING


OFF_STAYS_OFF = {actual: {Actual.STOPPED} for actual in Actual} | {Actual.KILLED: {Actual.KILLED}}


@pytest.mark.parametrize("reboots", [0, 1])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("requested", list(Requested))
@pytest.mark.parametrize("actual", list(Actual))
def test_every_wish_comes_true_from_every_state(
    actual: Actual, requested: Requested, force: bool, reboots: int
) -> None:
    """As soon as the guest answers; only what is off can't be suspended, and says so."""
    placement = order(requested, generation=3, force=force, reboots=reboots)
    observed, previous, starts = what_is(actual), status(actual, generation=2), 0
    for _ in range(10):
        decision = decide(placement, observed, previous)
        assert decision.status is not None
        previous = decision.status
        starts += any(isinstance(action, steps.Start) for action in decision.actions)
        for action in decision.actions:
            observed = answered(observed, action)
    assert decision.actions == ()
    assert previous.generation == 3
    was_on = what_is(actual).domain is not None and what_is(actual).domain.power is not Power.OFF  # type: ignore[union-attr]
    match requested:
        case Requested.RUNNING:
            assert previous.actual is Actual.RUNNING
            assert previous.reboots == reboots
            assert starts == (0 if was_on and not reboots else 1)
        case Requested.SUSPENDED if not was_on:
            assert previous.actual in OFF_STAYS_OFF[actual]
            assert starts == 0
        case Requested.SUSPENDED:
            assert previous.actual is Actual.SUSPENDED
        case Requested.STOPPED:
            assert (previous.actual, starts) == (Actual.STOPPED, 0)
        case Requested.DELETED:
            assert previous.actual is Actual.DELETED
            assert observed == replace(NOTHING, shutdown_asked_at=observed.shutdown_asked_at)


def answered(observed: Observation, action: Action) -> Observation:
    """The world after a step, where guests answer their power button at once."""
    after = carried_out(observed, action)
    if isinstance(action, steps.ShutDown) and after.domain is not None:
        after = replace(after, domain=replace(after.domain, power=Power.OFF, off_cause=OffCause.GUEST))
    return after


# --- whatever it is told ----------------------------------------------------------------------------------------------

times = st.floats(0, 900).map(ago)
PORTS = tuple(Port(id=f"00000000a{n}", network=f"net{n}", ipv6=IPv6Address(n + 1)) for n in range(2))
some_ports = st.sampled_from([(), PORTS[:1], PORTS])
placements = st.builds(
    order,
    requested=st.sampled_from(Requested),
    generation=st.integers(1, 3),
    epoch=st.integers(1, 3),
    reboots=st.integers(0, 2),
    force=st.booleans(),
    ports=some_ports,
    ssd_mib=st.sampled_from([1024, 2048]),
    hdd_mib=st.sampled_from([0, 8]),
)
started_with = st.none() | st.builds(lambda hdd_mib: sized(hdd_mib=hdd_mib), st.sampled_from([0, 8]))
ADDED = "0ddba115"
domains = st.builds(
    Domain,
    st.integers(1, 3),
    st.sampled_from(Power),
    st.sampled_from(OffCause),
    started_with,
    disks=st.sets(st.sampled_from(["hdd", ADDED])).map(lambda serials: HAS | serials),
    grows=st.booleans(),
    ports=some_ports.map(lambda ports: frozenset(port.id for port in ports)),
    plugs=st.booleans(),
)
observations = st.builds(
    Observation,
    console=st.just(CONSOLE),
    domain=st.none() | domains,
    disks_mib=st.none() | st.dictionaries(st.sampled_from(["root", "hdd", ADDED]), st.sampled_from([8, 1024, 4096])),
    unfinished=st.sets(st.just(ADDED)).map(frozenset),
    disk_files=st.booleans(),
    run_files=st.booleans(),
    shutdown_asked_at=st.none() | times,
    obstacle=st.sampled_from(["", "", "the store is not there"]),
    lacking=st.sampled_from([{}, {"net1": "there is no bridge"}]),
    unplug_asked_at=st.dictionaries(st.sampled_from([port.id for port in PORTS]), times),
    disk_asked_at=st.dictionaries(st.just(ADDED), times),
).filter(lambda seen: seen.disks_mib is not None or (seen.domain is not None and seen.domain.power is not Power.OFF))
events = st.builds(Event, at=times, what=st.sampled_from(Actual).map(str))
statuses = st.builds(
    VmStatus,
    epoch=st.integers(1, 3),
    generation=st.integers(1, 3),
    actual=st.sampled_from(Actual),
    since=times,
    reason=st.sampled_from(["", NOT_ORDERED, STUCK, REBOOT]),
    reboots=st.integers(0, 2),
    events=st.lists(events, max_size=EVENTS_KEPT).map(tuple),
)
failures = st.none() | st.builds(Failure, st.integers(1, 9), st.just("it failed"), st.booleans(), times)


def leaves_disks_alone(
    action: steps.CreateDisks | steps.RemoveDisk, placement: Placement | None, domain: Domain | None
) -> bool:
    """Whether no empty disk takes the place of one that the VM had, and none goes that it has or is to have."""
    if placement is None:
        return False
    has = domain.disks if domain else frozenset()
    if isinstance(action, steps.RemoveDisk):
        return domain is not None and action.serial not in has | {disk.serial for disk in placement.request.specs.disks}
    return has.isdisjoint(disk.serial for disk in action.disks)


def is_allowed(action: Action, placement: Placement | None, domain: Domain | None, previous: VmStatus | None) -> bool:
    """Whether a step may be taken at all."""
    requested = placement.request.requested if placement else None
    runs = domain is not None and domain.power is not Power.OFF
    done = previous.reboots if previous and placement and previous.epoch == placement.epoch else None
    owes_reboot = placement is not None and done is not None and done < placement.request.reboots
    may_stop = requested is Requested.STOPPED or (requested is Requested.RUNNING and owes_reboot)
    match action:
        case steps.Start():
            return requested is Requested.RUNNING and not runs
        case steps.RemoveDisks():
            return requested is Requested.DELETED and domain is None
        case steps.CreateDisks() | steps.RemoveDisk():
            return requested is not Requested.DELETED and leaves_disks_alone(action, placement, domain)
        case steps.GrowDisks() | steps.Plug() | steps.Unplug() | steps.PlugDisk() | steps.UnplugDisk():
            return requested not in (None, Requested.DELETED) and domain is not None
        case steps.Undefine():
            return requested in (None, Requested.DELETED) and not runs
        case steps.PowerOff():
            is_stale = placement is not None and domain is not None and domain.epoch != placement.epoch
            is_abandoned = domain is not None and domain.power in (Power.STARTING, Power.BETWEEN)
            return requested in (None, Requested.DELETED) or may_stop or is_stale or is_abandoned
        case steps.ShutDown():
            return may_stop
        case _:
            return placement is not None


@settings(max_examples=500, deadline=None)
@given(st.none() | placements, observations, st.none() | statuses, failures)
def test_it_takes_no_step_that_it_must_not_take(
    placement: Placement | None, observed: Observation, previous: VmStatus | None, failure: Failure | None
) -> None:
    decision = decide(placement, observed, previous, failure)
    assert all(is_allowed(action, placement, observed.domain, previous) for action in decision.actions)
    if observed.obstacle:
        assert decision.actions == ()


@settings(max_examples=500, deadline=None)
@given(placements, observations, st.none() | statuses, failures)
def test_it_says_nothing_that_is_not_so(
    placement: Placement, observed: Observation, previous: VmStatus | None, failure: Failure | None
) -> None:
    decision = decide(placement, observed, previous, failure)
    reported, domain = decision.status, observed.domain
    assert reported is not None
    assert len(reported.events) <= EVENTS_KEPT
    if domain is None or domain.power not in (Power.CHANGING, Power.DYING):
        assert reported.epoch == placement.epoch
        is_old = bool(observed.obstacle) and previous is not None and previous.epoch == placement.epoch
        assert reported.generation == (previous.generation if is_old and previous else placement.generation)
    if observed.obstacle:
        return
    if reported.actual is Actual.DELETED and domain is None:
        assert not observed.disk_files
        assert not observed.run_files
    is_ours = domain is not None and (domain.power, domain.epoch) == (Power.RUNNING, placement.epoch)
    same_life = previous is not None and previous.epoch == placement.epoch
    owes_reboot = same_life and previous is not None and previous.reboots < placement.request.reboots
    if is_ours and placement.request.requested is Requested.RUNNING and not owes_reboot:
        assert reported.actual is Actual.RUNNING
        assert all(isinstance(action, AT_LEISURE) for action in decision.actions)


def domain_of(epoch: int, power: Power, specs: Specs, ports: tuple[Port, ...]) -> Domain:
    has = frozenset(disk.serial for disk in specs.disks)
    return Domain(epoch, power, specs=specs, disks=has, ports=frozenset(port.id for port in ports))


AT_LEISURE = steps.PlugAction | steps.GrowDisks | steps.CreateDisks | steps.RemoveDisk


def carried_out(observed: Observation, action: Action) -> Observation:
    """The world after a step that worked."""
    if isinstance(action, steps.DiskAction):
        return with_disks(observed, action)
    match action:
        case steps.Define(epoch, specs, ports):
            return replace(observed, domain=domain_of(epoch, Power.OFF, specs, ports), run_files=True)
        case steps.Start(epoch, specs, ports):
            return replace(observed, domain=domain_of(epoch, Power.RUNNING, specs, ports), shutdown_asked_at=None)
        case steps.ShutDown():
            return replace(observed, shutdown_asked_at=NOW)
        case steps.Undefine():
            return replace(observed, domain=None, run_files=False)
    assert observed.domain is not None
    if isinstance(action, steps.PlugAction):
        return replace(observed, domain=plugged(observed, observed.domain, action))
    power = {steps.PowerOff: Power.OFF, steps.Suspend: Power.PAUSED, steps.Resume: Power.RUNNING}[type(action)]
    return replace(observed, domain=replace(observed.domain, power=power, off_cause=OffCause.DESTROYED))


def with_disks(observed: Observation, action: steps.DiskAction) -> Observation:
    sizes_mib = dict(observed.disks_mib or {})
    match action:
        case steps.CreateDisks(_, disks):
            sizes_mib = {disk.serial: disk.size_mib for disk in disks} | sizes_mib
            return replace(observed, disks_mib=sizes_mib, disk_files=True)
        case steps.GrowDisks(disks):
            sizes_mib |= {disk.serial: max(sizes_mib[disk.serial], disk.size_mib) for disk in disks}
            return replace(observed, disks_mib=sizes_mib)
        case steps.RemoveDisk(serial):
            sizes_mib.pop(serial, None)
            return replace(observed, disks_mib=sizes_mib, unfinished=observed.unfinished - {serial})
    assert isinstance(action, steps.RemoveDisks)
    return replace(observed, disks_mib={}, unfinished=frozenset(), disk_files=False)


def plugged(observed: Observation, domain: Domain, action: steps.PlugAction) -> Domain:
    match action:
        case steps.Plug(port):
            return replace(domain, ports=domain.ports | {port.id})
        case steps.Unplug(port_id):
            return replace(domain, ports=domain.ports - {port_id})
        case steps.PlugDisk(serial):
            assert serial in (observed.disks_mib or {})
            return replace(domain, disks=domain.disks | {serial})
    return replace(domain, disks=domain.disks - {action.serial})


@settings(max_examples=500, deadline=None)
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


@pytest.mark.parametrize("ha", [True, False])
@pytest.mark.parametrize("observed", [NOTHING, off(), on()])
def test_whether_a_guest_ends_with_its_host_is_noted_before_anything_else(observed: Observation, *, ha: bool) -> None:
    request = RUN.request.model_copy(update={"ha": ha})
    placement = RUN.model_copy(update={"request": request})
    assert decide(placement, replace(observed, ha=not ha)).actions == (steps.SetHa(ha),)
    assert steps.SetHa(ha) not in decide(placement, replace(observed, ha=ha)).actions


def test_of_what_is_to_go_nothing_is_noted() -> None:
    request = DELETE.request.model_copy(update={"ha": False})
    decision = decide(DELETE.model_copy(update={"request": request}), NOTHING)
    assert decision.actions == ()

"""Snapshots and roll-backs in the plan: as a table, and what must never be, whoever dies and wherever the VM is."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.decision import Failure
from common.schemas.disk import DiskKind, DiskSpec
from common.schemas.snapshot import Rollback, Snapshot, SnapshotActual, SnapshotReport
from common.schemas.vm import Actual, Placement, Requested, VmStatus
from tests.unit.ucloud_vm.planning import test_plan
from tests.unit.ucloud_vm.planning.test_plan import NOW, ago, decide, order, status, with_hdd
from ucloud_vm.hypervisor import Domain, OffCause, Power
from ucloud_vm.planning import plan, snapshots, steps
from ucloud_vm.planning.steps import Action, Observation

ONE, TWO = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
ROOT = DiskSpec(kind=DiskKind.SSD, size_mib=1024, serial="root")
HDD = DiskSpec(kind=DiskKind.HDD, size_mib=8, serial="hdd")
Held = Mapping[str, Mapping[str, datetime]]
BOTH_DISKS = frozenset({"root", "hdd"})
NONE: Held = {"root": {}, "hdd": {}}


def snapshot(name: str = ONE, disks: tuple[DiskSpec, ...] = (ROOT, HDD)) -> Snapshot:
    return Snapshot(id=name, name=f"s-{name[-1]}", created_at=ago(60), disks=disks)


def wanting(
    *wanted: Snapshot, requested: Requested = Requested.RUNNING, rollback: Rollback | None = None, epoch: int = 1
) -> Placement:
    placement = order(requested, epoch=epoch, hdd_mib=8)
    request = placement.request.model_copy(update={"snapshots": wanted, "rollback": rollback})
    return placement.model_copy(update={"request": request})


def off() -> Observation:
    return with_hdd(test_plan.off(), 8)


def on(power: Power = Power.RUNNING) -> Observation:
    return with_hdd(test_plan.on(power), 8)


def to(name: str = ONE, number: int = 1) -> Rollback:
    return Rollback(number=number, snapshot=name, name=f"s-{name[-1]}")


def reported(actual: SnapshotActual, name: str = ONE) -> VmStatus:
    report = SnapshotReport(id=name, actual=actual, taken_at=ago(50))
    return status(Actual.RUNNING).model_copy(update={"snapshots": (report,)})


def held(of_root: dict[str, datetime], of_hdd: dict[str, datetime]) -> Held:
    return {"root": of_root, "hdd": of_hdd}


BOTH = held({ONE: ago(50)}, {ONE: ago(49)})


BROKEN_OFF = steps.RemoveSnapshot(ONE, broken_off=True)


@pytest.mark.parametrize(
    ("wanted", "there", "previous", "actions", "says"),
    [
        ((snapshot(),), NONE, None, (steps.TakeSnapshot(ONE, ("hdd", "root")),), SnapshotActual.PENDING),
        ((snapshot(),), BOTH, None, (), SnapshotActual.READY),
        # It is of all its disks at one moment, or none.
        ((snapshot(),), held({ONE: ago(50)}, {}), None, (BROKEN_OFF,), SnapshotActual.PENDING),
        ((snapshot(disks=(ROOT,)),), held({ONE: ago(50)}, {}), None, (), SnapshotActual.READY),
        # Of a disk that is yet to be made there is none.
        ((snapshot(),), {"root": {}}, None, (), SnapshotActual.PENDING),
        # What was there is never taken anew.
        ((snapshot(),), NONE, reported(SnapshotActual.READY), (), SnapshotActual.LOST),
        ((snapshot(),), held({ONE: ago(50)}, {}), reported(SnapshotActual.READY), (), SnapshotActual.LOST),
        ((snapshot(),), NONE, reported(SnapshotActual.LOST), (), SnapshotActual.LOST),
        ((snapshot(),), BOTH, reported(SnapshotActual.LOST), (), SnapshotActual.READY),
        # What nobody wants goes, also what was broken off of it.
        ((), BOTH, None, (steps.RemoveSnapshot(ONE),), None),
        ((), held({}, {ONE: ago(3)}), reported(SnapshotActual.READY), (steps.RemoveSnapshot(ONE),), None),
        (
            (snapshot(TWO),),
            BOTH,
            reported(SnapshotActual.READY),
            (steps.TakeSnapshot(TWO, ("hdd", "root")), steps.RemoveSnapshot(ONE)),
            SnapshotActual.PENDING,
        ),
        # While the store does not answer, all is as it was.
        ((snapshot(),), None, reported(SnapshotActual.READY), (), SnapshotActual.READY),
        ((snapshot(),), None, None, (), SnapshotActual.PENDING),
    ],
)
@pytest.mark.parametrize("requested", [Requested.RUNNING, Requested.SUSPENDED, Requested.STOPPED])
def test_what_is_wanted_is_taken_and_what_is_not_goes(
    wanted: tuple[Snapshot, ...],
    there: Held | None,
    previous: VmStatus | None,
    actions: tuple[Action, ...],
    says: SnapshotActual | None,
    requested: Requested,
) -> None:
    powers = {Requested.RUNNING: on(), Requested.SUSPENDED: on(Power.PAUSED), Requested.STOPPED: off()}
    decision = decide(wanting(*wanted, requested=requested), replace(powers[requested], snapshots=there), previous)
    assert decision.actions == actions
    assert decision.status is not None
    assert decision.status.actual == requested.value
    assert [each.actual for each in decision.status.snapshots] == ([says] if says else [])


def test_it_is_said_when_it_was_taken_and_why_it_is_not() -> None:
    (ready,) = _reports(wanting(snapshot()), replace(on(), snapshots=BOTH))
    assert ready == SnapshotReport(id=ONE, actual=SnapshotActual.READY, taken_at=ago(49))
    (lost,) = _reports(wanting(snapshot()), replace(on(), snapshots=NONE), reported(SnapshotActual.READY))
    assert (lost.reason, lost.taken_at) == (snapshots.LOST, ago(50))
    failure = Failure(2, "the pool ssd of the Ceph cluster is full", permanent=False, at=ago(9))
    (failed,) = _reports(wanting(snapshot()), replace(on(), snapshots=NONE), failure=failure)
    assert failed.reason == failure.reason
    (waiting,) = _reports(wanting(snapshot()), replace(off(), snapshots=NONE))
    assert waiting.reason == snapshots.WAITS_FOR_REST
    (without,) = _reports(wanting(snapshot()), replace(on(), snapshots={"root": {}}))
    assert without.reason == "its VM has not got the disk hdd yet"


def _reports(
    placement: Placement, observed: Observation, previous: VmStatus | None = None, failure: Failure | None = None
) -> tuple[SnapshotReport, ...]:
    decided = decide(placement, observed, previous, failure).status
    assert decided is not None
    return decided.snapshots


def test_a_guest_does_not_stand_still_again_and_again_for_what_fails() -> None:
    """libvirt tells of each pause, and with that has the guest looked at."""
    for seconds, actions in ((1, ()), (6, (steps.TakeSnapshot(ONE, ("hdd", "root")),))):
        failure = Failure(1, "it can't", permanent=False, at=ago(seconds))
        decision = decide(wanting(snapshot()), replace(on(), snapshots=NONE), status(Actual.RUNNING), failure)
        assert decision.actions == actions
        assert decision.status is not None
        assert decision.status.snapshots[0].reason == "it can't"
    assert not decision.again_in_s
    stopped = wanting(snapshot(), requested=Requested.STOPPED)
    failure = Failure(1, "it can't", permanent=False, at=ago(1))
    assert decide(stopped, replace(off(), snapshots=NONE), status(Actual.STOPPED), failure).actions


def test_a_hypervisor_that_can_not_is_waited_for_until_the_guest_is_off() -> None:
    simple = replace(on(), domain=Domain(1, Power.RUNNING, disks=BOTH_DISKS, takes_snapshots=False), snapshots=NONE)
    decision = decide(wanting(snapshot()), simple, status(Actual.RUNNING))
    assert decision.actions == ()
    assert decision.status is not None
    assert decision.status.snapshots[0].reason == snapshots.WAITS_FOR_OFF


def test_the_store_that_does_not_answer_forgets_no_roll_back() -> None:
    before = status(Actual.RUNNING).model_copy(update={"rolled_back": 3})
    decision = decide(wanting(snapshot()), replace(on(), snapshots=None), before)
    assert decision.status is not None
    assert decision.status.rolled_back == 3
    away = decide(wanting(snapshot()), replace(off(), snapshots=None, obstacle="no answer"), before)
    assert away.status is not None
    assert away.status.rolled_back == 3


# --- roll-backs -------------------------------------------------------------------------------------------------------

ROLL_BACK = steps.RollBack(1, ONE, ("hdd", "root"))


@pytest.mark.parametrize(
    ("requested", "previous", "actual"),
    [
        (Requested.STOPPED, status(Actual.STOPPED), Actual.STOPPED),
        (Requested.STOPPED, None, Actual.STOPPED),
        (Requested.RUNNING, status(Actual.STOPPED), Actual.DEPLOYING),
        (Requested.RUNNING, status(Actual.KILLED), Actual.DEPLOYING),
        (Requested.RUNNING, status(Actual.STARTING), Actual.DEPLOYING),
        (Requested.RUNNING, None, Actual.DEPLOYING),
        (Requested.SUSPENDED, status(Actual.STOPPED), Actual.DEPLOYING),
    ],
)
def test_a_roll_back_comes_before_all_else(requested: Requested, previous: VmStatus | None, actual: Actual) -> None:
    placement = wanting(snapshot(), requested=requested, rollback=to())
    decision = decide(placement, replace(off(), snapshots=BOTH), previous)
    assert decision.actions == (ROLL_BACK,)
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason) == (actual, plan.ROLLS_BACK)


def test_what_was_rolled_back_is_started_if_it_is_to_run() -> None:
    placement = wanting(snapshot(), rollback=to())
    before = decide(placement, replace(off(), snapshots=BOTH), status(Actual.STOPPED, generation=1)).status
    after = decide(placement, replace(off(), snapshots=BOTH, rolled_back=1), before)
    assert [type(step) for step in after.actions] == [steps.Start]
    assert after.status is not None
    assert after.status.rolled_back == 1


@pytest.mark.parametrize(
    ("wanted", "observed"),
    [
        # It is done, or a later one is.
        ((snapshot(),), replace(off(), snapshots=BOTH, rolled_back=1)),
        ((snapshot(),), replace(off(), snapshots=BOTH, rolled_back=2)),
        # Nobody wants the snapshot any more.
        ((), replace(off(), snapshots=NONE)),
        # The guest is on.
        ((snapshot(),), replace(on(), snapshots=BOTH)),
        ((snapshot(),), replace(on(Power.PAUSED), snapshots=BOTH)),
    ],
)
def test_a_roll_back_that_is_not_due(wanted: tuple[Snapshot, ...], observed: Observation) -> None:
    placement = wanting(*wanted, requested=Requested.STOPPED, rollback=to())
    assert not any(isinstance(each, steps.RollBack) for each in decide(placement, observed).actions)


def test_a_roll_back_that_can_not_be_done_keeps_the_guest_off() -> None:
    for permanent in (True, False):
        failure = Failure(1, "the snapshot is gone", permanent=permanent, at=ago(1))
        decision = decide(wanting(snapshot(), rollback=to()), replace(off(), snapshots=BOTH), None, failure)
        assert decision.actions == (() if permanent else (ROLL_BACK,))
        assert decision.status is not None
        assert decision.status.reason == "the snapshot is gone"


@dataclass
class Cloud:
    """A VM with two disks in a store that hosts share, and what happened to them."""

    held: dict[str, dict[str, datetime]] = field(default_factory=lambda: {"root": {}, "hdd": {}})
    rolled_back: int = 0
    power: Power | None = None
    times: list[int] = field(default_factory=list)
    """The number of each roll-back that was done to its end."""
    is_torn: bool = False
    """Its disks are half rolled back."""

    def observe(self, epoch: int) -> Observation:
        domain = None if self.power is None else Domain(epoch, self.power, OffCause.DESTROYED, disks=BOTH_DISKS)
        disks = {serial: dict(of_disk) for serial, of_disk in self.held.items()}
        seen = replace(off(), snapshots=disks, rolled_back=self.rolled_back)
        return replace(seen, domain=domain, run_files=domain is not None)

    def do(self, action: Action, now: datetime, *, is_cut_off: bool) -> None:
        """Take a step, or begin it."""
        match action:
            case steps.TakeSnapshot(name, disks):
                assert all(name not in self.held[serial] for serial in disks), "it would not be of one moment"
                for serial in disks[: 1 if is_cut_off else None]:
                    self.held[serial][name] = now
            case steps.RemoveSnapshot(name):
                for of_disk in list(self.held.values())[: 1 if is_cut_off else None]:
                    of_disk.pop(name, None)
            case steps.RollBack(number, name, disks):
                assert self.power is Power.OFF
                assert all(name in self.held[serial] for serial in disks)
                self.is_torn = is_cut_off
                if not is_cut_off:
                    assert number > self.rolled_back, "rolled back a second time"
                    self.times.append(number)
                    self.rolled_back = number
            case steps.Start():
                assert not self.is_torn, "started with disks that are half rolled back"
                self.power = Power.RUNNING
            case _:
                self.power = Power.RUNNING if isinstance(action, steps.Resume) else Power.OFF


fates = st.sampled_from(["", "", "", "before the report", "before the step", "in the step", "the host dies"])
wishes = st.sampled_from(["", "run", "stop", "stop", "roll back", "roll back", "take", "remove"])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(wishes, fates), min_size=20, max_size=60))
def test_whoever_dies_a_roll_back_is_done_once_and_before_any_start(turns: list[tuple[str, str]]) -> None:
    cloud, previous, epoch = Cloud(), None, 1
    placement = wanting(snapshot(), requested=Requested.STOPPED)
    asked = 0
    for number, (wish, fate) in enumerate(turns + [("", "")] * 20):
        placement, asked = _wished(placement, wish, asked, previous, number)
        if fate == "the host dies":
            # The next host knows nothing but the order and what is in the store.
            cloud.power, previous, epoch = None, None, epoch + 1
            placement = placement.model_copy(update={"epoch": epoch})
            continue
        decision = decide(placement, cloud.observe(epoch), previous, now=NOW)
        if fate == "before the report":
            continue
        previous = decision.status
        for action in decision.actions if fate != "before the step" else ():
            due = snapshots.due(placement.request, cloud.observe(epoch))
            assert not (isinstance(action, steps.Start) and due), "started before it was rolled back"
            cloud.do(action, NOW, is_cut_off=fate == "in the step")
            if fate == "in the step":
                break
    assert cloud.times == sorted(set(cloud.times))
    assert not cloud.is_torn
    assert previous is not None
    assert previous.rolled_back == cloud.rolled_back
    wanted = {each.id for each in placement.request.snapshots}
    assert all(set(of_disk) == wanted for of_disk in cloud.held.values())
    assert {each.actual for each in previous.snapshots} <= {SnapshotActual.READY}


def _wished(
    placement: Placement, wish: str, asked: int, previous: VmStatus | None, number: int
) -> tuple[Placement, int]:
    """What the API makes of a wish: it asks for no roll-back but to a snapshot that is there, of a VM that is off."""
    request = placement.request
    ready = {each.id for each in previous.snapshots if each.actual is SnapshotActual.READY} if previous else set()
    pending = request.rollback and request.rollback.number > (previous.rolled_back if previous else 0)
    changes: dict[str, object] = {}
    match wish:
        case "run":
            changes = {"requested": Requested.RUNNING}
        case "stop":
            changes = {"requested": Requested.STOPPED}
        case "take":
            new = snapshot(f"00000000-0000-4000-8000-{number + 10:012}")
            changes = {"snapshots": (*request.snapshots, new)[-4:]} if not pending else {}
        case "remove":
            changes = {"snapshots": request.snapshots[1:]} if not pending else {}
        case "roll back" if previous and previous.actual is Actual.STOPPED and ready and not pending:
            wanted = next((each for each in request.snapshots if each.id in ready), None)
            if wanted and request.requested is Requested.STOPPED:
                asked += 1
                changes = {"rollback": Rollback(number=asked, snapshot=wanted.id, name=wanted.name)}
    if not changes:
        return placement, asked
    generation = placement.generation + 1
    request = request.model_copy(update={**changes, "generation": generation})
    return placement.model_copy(update={"request": request, "generation": generation}), asked

"""A VM's disks: which are made, plugged in, asked back and removed, and in which order; what is never done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.decision import Decision, Failure
from common.schemas.disk import DiskKind, DiskSpec
from common.schemas.vm import Actual, Console, Placement, Requested, Specs, VmRequest, VmStatus
from ucloud_vm.hypervisor import Domain, Power
from ucloud_vm.planning import steps
from ucloud_vm.planning.disks import KEEPS, LATER, change, in_use
from ucloud_vm.planning.plan import Planner
from ucloud_vm.planning.steps import Action, Observation

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IMAGE = "00000000-0000-4000-8000-00000000001a"
ROOT = DiskSpec(kind=DiskKind.SSD, size_mib=1024, serial="root")
ONE = DiskSpec(kind=DiskKind.SSD, size_mib=8, serial="0ddba115")
TWO = DiskSpec(kind=DiskKind.HDD, size_mib=16, serial="5eedf00d")
BIG_TWO = TWO.model_copy(update={"size_mib": 32})


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def specs(*disks: DiskSpec) -> Specs:
    return Specs(cpu=1, ram_mib=128, disks=(ROOT, *disks))


def order(*disks: DiskSpec, requested: Requested = Requested.RUNNING) -> Placement:
    request = VmRequest(
        uuid="5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10",
        owner="admin",
        name="web",
        image=IMAGE,
        specs=specs(*disks),
        requested=requested,
        created_at=ago(900),
    )
    return Placement(epoch=1, generation=1, request=request, placed_at=ago(800))


def seen(
    power: Power, has: tuple[DiskSpec, ...], stored: tuple[DiskSpec, ...], plugs: bool = True, **more: object
) -> Observation:
    """A VM whose domain has some disks beside the root disk, and of which the store has some."""
    serials = frozenset(disk.serial for disk in (ROOT, *has))
    domain = Domain(1, power, specs=specs(), disks=serials, plugs=plugs)
    sizes_mib = {disk.serial: disk.size_mib for disk in (ROOT, *stored)}
    plain = Observation(Console(url="http://[::1]/vm", token="t"), domain, disks_mib=sizes_mib, run_files=True)
    return replace(plain, **more)  # type: ignore[arg-type]


def decide(
    placement: Placement, observed: Observation, previous: VmStatus | None = None, failure: Failure | None = None
) -> Decision[VmStatus, Action]:
    return Planner(30, 60)(placement, observed, previous, failure, NOW)


def create(*disks: DiskSpec) -> steps.CreateDisks:
    return steps.CreateDisks(IMAGE, disks)


STOPPED = Requested.STOPPED
ON, OFF = Power.RUNNING, Power.OFF
DROP_ONE, REMOVE_ONE = steps.UnplugDisk(ONE.serial), steps.RemoveDisk(ONE.serial)


@pytest.mark.parametrize(
    ("placement", "observed", "actions", "reason"),
    [
        # While it runs, a disk is made, then plugged in.
        (order(ONE), seen(ON, (ONE,), (ONE,)), (), ""),
        (order(ONE), seen(ON, (), ()), (create(ONE),), ""),
        (order(ONE), seen(ON, (), (ONE,)), (steps.PlugDisk(ONE.serial),), ""),
        (order(ONE, TWO), seen(ON, (), (ONE,)), (steps.PlugDisk(ONE.serial), create(TWO)), ""),
        # The beginning of one is begun anew.
        (order(ONE), seen(ON, (), (), unfinished=frozenset({ONE.serial})), (create(ONE),), ""),
        # One that it has is not made again, though the store has lost it.
        (order(ONE), seen(ON, (ONE,), ()), (), ""),
        # It is asked to let go, now and then, and only then is the disk removed.
        (order(), seen(ON, (ONE,), (ONE,)), (DROP_ONE,), ""),
        (order(), seen(ON, (ONE,), (ONE,), disk_asked_at={ONE.serial: ago(9)}), (), ""),
        (order(), seen(ON, (ONE,), (ONE,), disk_asked_at={ONE.serial: ago(10)}), (DROP_ONE,), KEEPS),
        (order(), seen(ON, (), (ONE,)), (REMOVE_ONE,), ""),
        (order(), seen(ON, (), (), unfinished=frozenset({ONE.serial})), (REMOVE_ONE,), ""),
        (order(), seen(ON, (), (ONE, TWO)), (REMOVE_ONE, steps.RemoveDisk(TWO.serial)), ""),
        # It grows once the guest has it.
        (order(BIG_TWO), seen(ON, (TWO,), (TWO,)), (steps.GrowDisks((BIG_TWO,)),), ""),
        (order(BIG_TWO), seen(ON, (), (TWO,)), (steps.PlugDisk(TWO.serial),), ""),
        # A guest that is paused answers nothing; what nobody has can go all the same.
        (order(ONE, requested=Requested.SUSPENDED), seen(Power.PAUSED, (TWO,), (TWO,)), (), ""),
        (order(requested=Requested.SUSPENDED), seen(Power.PAUSED, (), (ONE,)), (REMOVE_ONE,), ""),
        # The hypervisor can't, or the store does not answer.
        (order(ONE), seen(ON, (), (), plugs=False), (), LATER),
        (order(), seen(ON, (ONE,), (ONE,), plugs=False), (), LATER),
        (order(ONE), seen(ON, (TWO,), (), disks_mib=None), (), ""),
        # While it is off, disks are made, then it is defined anew, then what it has no more is removed.
        (order(ONE, requested=STOPPED), seen(OFF, (), ()), (create(ONE),), ""),
        (order(ONE, requested=STOPPED), seen(OFF, (), (ONE,)), (steps.Define(1, specs(ONE)),), ""),
        (order(ONE, requested=STOPPED), seen(OFF, (ONE,), (ONE,)), (), ""),
        (order(requested=STOPPED), seen(OFF, (ONE,), (ONE,)), (steps.Define(1, specs()),), ""),
        (order(requested=STOPPED), seen(OFF, (), (ONE,)), (REMOVE_ONE,), ""),
        (order(BIG_TWO, requested=STOPPED), seen(OFF, (TWO,), (TWO,)), (steps.GrowDisks((BIG_TWO,)),), ""),
        (order(TWO, requested=STOPPED), seen(OFF, (ONE,), (ONE,)), (steps.Define(1, specs()), create(TWO)), ""),
        # A start takes them all along; one that was to go is removed later.
        (order(ONE), seen(OFF, (), ()), (create(ONE), steps.Start(1, specs(ONE))), ""),
        (order(TWO), seen(OFF, (ONE, TWO), (ONE, TWO)), (steps.Start(1, specs(TWO)),), ""),
    ],
)
def test_the_next_step(placement: Placement, observed: Observation, actions: tuple[Action, ...], reason: str) -> None:
    decision = decide(placement, observed)
    assert decision.status is not None
    assert (decision.actions, decision.status.reason) == (actions, reason)
    if not actions and observed.disk_asked_at:
        assert decision.again_in_s == 1


@pytest.mark.parametrize("requested", [Requested.RUNNING, STOPPED, Requested.SUSPENDED])
def test_a_disk_that_the_vm_had_is_missed_and_never_replaced(requested: Requested) -> None:
    decision = decide(order(ONE, TWO, requested=requested), seen(OFF, (ONE,), (TWO,)))
    assert decision.status is not None
    assert (decision.status.actual, decision.actions) == (Actual.ERROR, ())
    assert decision.status.reason == f"its disk {ONE.serial} is gone from this host's store"
    # Whoever does without it goes on.
    assert decide(order(TWO), seen(OFF, (ONE,), (TWO,))).actions == (steps.Start(1, specs(TWO)),)


def test_that_a_guest_keeps_a_disk_is_told_until_it_has_let_go() -> None:
    asked = seen(ON, (ONE,), (ONE,), disk_asked_at={ONE.serial: ago(4)})
    said = VmStatus(epoch=1, generation=1, actual=Actual.RUNNING, since=ago(100), reason=KEEPS)
    decision = decide(order(), asked, said)
    assert decision.status is not None
    assert (decision.actions, decision.status.reason, decision.again_in_s) == ((), KEEPS, 5)
    gone = decide(order(), seen(ON, (), (), disk_asked_at={ONE.serial: ago(4)}), decision.status)
    assert gone.status is not None
    assert (gone.actions, gone.status.reason) == ((), "")


def test_the_status_says_what_the_guest_has_also_what_is_no_longer_requested() -> None:
    running = decide(order(ONE, TWO), seen(ON, (ONE,), (ONE, TWO))).status
    assert running is not None
    assert running.specs == specs(ONE)
    # Nothing but what was told says of which kind the other one is.
    told = running.model_copy(update={"specs": specs(ONE, TWO)})
    later = decide(order(ONE), seen(ON, (ONE, TWO), (ONE, BIG_TWO)), told).status
    assert later is not None
    assert later.specs == specs(ONE, BIG_TWO)
    away = decide(order(ONE), seen(ON, (ONE, TWO), (), disks_mib=None), told).status
    assert away is not None
    assert away.specs == specs(ONE, TWO)


def test_of_a_domain_whose_specs_nobody_knows_nothing_is_said() -> None:
    observed = seen(ON, (), ())
    assert observed.domain is not None
    assert in_use((ROOT,), observed, replace(observed.domain, specs=None), None) is None


some_disks = st.sets(st.sampled_from([ONE, TWO])).map(
    lambda chosen: tuple(sorted(chosen, key=lambda each: each.serial))
)
times = st.none() | st.floats(0, 30).map(ago)


@given(some_disks, some_disks, some_disks, st.sampled_from(Power), st.booleans(), times, st.sampled_from(["", KEEPS]))
def test_no_disk_is_removed_that_somebody_has_or_wants_nor_made_in_the_place_of_one_that_was(
    wanted: tuple[DiskSpec, ...],
    has: tuple[DiskSpec, ...],
    stored: tuple[DiskSpec, ...],
    power: Power,
    plugs: bool,
    asked: datetime | None,
    reason: str,
) -> None:
    asked_at = {ONE.serial: asked} if asked else {}
    observed = seen(power, has, stored, plugs, disk_asked_at=asked_at)
    chores = change(IMAGE, (ROOT, *wanted), observed, reason, NOW)
    for action in chores.actions:
        match action:
            case steps.RemoveDisk(serial):
                assert serial not in {disk.serial for disk in (ROOT, *wanted, *has)}
            case steps.CreateDisks(_, disks):
                assert set(disks) <= set(wanted) - set(has) - set(stored)
            case steps.PlugDisk(serial):
                assert serial in {disk.serial for disk in set(wanted) & set(stored) - set(has)}
                assert (power, plugs) == (Power.RUNNING, True)
            case steps.UnplugDisk(serial):
                assert serial in {disk.serial for disk in set(has) - set(wanted)}
                assert (power, plugs) == (Power.RUNNING, True)
    if set(wanted) == set(has) == set(stored):
        assert chores == type(chores)()
    elif set(wanted) != set(has) and power is Power.RUNNING and not set(wanted) & set(has) - set(stored):
        assert chores.actions or chores.again_in_s or chores.reason

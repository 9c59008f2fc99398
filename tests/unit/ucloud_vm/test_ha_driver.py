"""What HaDriver adds to a driver."""

from pathlib import Path

import pytest

from common.errors import TemporaryError
from common.guests import HaMarks
from common.schemas.vm import Console, Specs
from ucloud_vm.ha_driver import HaDriver
from ucloud_vm.planning import steps
from ucloud_vm.planning.steps import Action, Observation

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
START = steps.Start(3, Specs.of(cpu=1, ram_mib=128, ssd_mib=1024))


class Machine:
    """Takes note of steps."""

    def __init__(self) -> None:
        self.taken: list[Action] = []

    def observe(self, name: str) -> Observation:
        return Observation(Console(url="http://[fd00::1]:9703/vm/x", token="t"))

    def apply(self, name: str, action: Action) -> None:
        self.taken.append(action)

    def known(self) -> frozenset[str]:
        return frozenset({"another"})


class Office:
    """Permits what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.permits = True
        self.asked: list[tuple[int, bool] | bool | str] = []

    def check_start(self, vm_uuid: str, epoch: int, *, ha: bool) -> None:
        self.asked.append((epoch, ha))
        if not self.permits:
            raise TemporaryError("no")

    def check_removal(self, vm_uuid: str, serial: str) -> None:
        self.asked.append(serial)
        if not self.permits:
            raise TemporaryError("no")

    def check_snapshots(self, vm_uuid: str, unwanted: str | None) -> None:
        self.asked.append(unwanted or "all")
        if not self.permits:
            raise TemporaryError("no")

    def check_resume(self, *, ha: bool) -> None:
        self.asked.append(ha)
        if not self.permits:
            raise TemporaryError("no")


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def driver(machine: Machine, office: Office, tmp_path: Path) -> HaDriver:
    return HaDriver(machine, HaMarks(tmp_path), office)


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        (steps.TakeSnapshot("s", ("root",)), [True, "all"]),
        (steps.RemoveSnapshot("s"), ["s"]),
        (steps.RemoveSnapshot("s", broken_off=True), ["all"]),
        (steps.RollBack(1, "s", ("root",)), ["all"]),
    ],
)
def test_snapshots_are_changed_with_permission_alone(
    driver: HaDriver, machine: Machine, office: Office, action: Action, asked: list[object]
) -> None:
    driver.apply(VM, action)
    assert (machine.taken, office.asked) == ([action], asked)
    office.permits = False
    with pytest.raises(TemporaryError):
        driver.apply(VM, action)
    assert machine.taken == [action]


def test_a_disk_is_removed_with_permission_alone(driver: HaDriver, machine: Machine, office: Office) -> None:
    office.permits = False
    with pytest.raises(TemporaryError):
        driver.apply(VM, steps.RemoveDisk("0123abcd"))
    assert machine.taken == []
    office.permits = True
    driver.apply(VM, steps.RemoveDisk("0123abcd"))
    assert (machine.taken, office.asked) == ([steps.RemoveDisk("0123abcd")], ["0123abcd", "0123abcd"])


def test_a_mark_is_seen_and_goes_with_the_domain(driver: HaDriver, machine: Machine) -> None:
    seen = driver.observe(VM)
    assert (seen.ha, seen.run_files) == (True, False)
    driver.apply(VM, steps.SetHa(ha=False))
    seen = driver.observe(VM)
    assert (seen.ha, seen.run_files) == (False, True)
    assert driver.known() == {VM, "another"}
    driver.apply(VM, steps.Undefine())
    assert driver.observe(VM).ha
    assert driver.known() == {"another"}
    assert machine.taken == [steps.Undefine()]


@pytest.mark.parametrize("ha", [True, False])
def test_starts_and_resumes_need_a_permit(driver: HaDriver, machine: Machine, office: Office, *, ha: bool) -> None:
    driver.apply(VM, steps.SetHa(ha=ha))
    driver.apply(VM, START)
    driver.apply(VM, steps.Resume())
    assert office.asked == [(3, ha), ha]
    assert machine.taken == [START, steps.Resume()]
    office.permits = False
    for action in (START, steps.Resume()):
        with pytest.raises(TemporaryError):
            driver.apply(VM, action)
    assert machine.taken == [START, steps.Resume()]


def test_other_steps_need_none(driver: HaDriver, machine: Machine, office: Office) -> None:
    office.permits = False
    for action in (steps.PowerOff("x"), steps.Suspend(), steps.ShutDown()):
        driver.apply(VM, action)
    assert len(machine.taken) == 3

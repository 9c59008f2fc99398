"""The machine as the controller sees it, with what its host's loss of touch with the cloud means: steps not to take.

A guest whose VM is highly available ends when its host loses touch with the cloud (ucloud_host.guard), and none is
started while that lasts.
"""

from dataclasses import replace
from typing import Protocol

from common.controller import Driver
from common.guests import HaMarks
from ucloud_vm.planning import steps
from ucloud_vm.planning.steps import Action, Observation


class Permit(Protocol):
    """Says whether guests may run here now, or lose a disk; see permit.py."""

    def check_start(self, vm_uuid: str, epoch: int, *, ha: bool) -> None:
        """TemporaryError unless the guest of a VM may be started."""
        ...

    def check_removal(self, vm_uuid: str, serial: str) -> None:
        """TemporaryError unless a disk of a VM may be removed."""
        ...

    def check_snapshots(self, vm_uuid: str, unwanted: str | None) -> None:
        """TemporaryError unless snapshots of a VM may be taken, rolled back to, or, if it is `unwanted`, removed."""
        ...

    def check_resume(self, *, ha: bool) -> None:
        """TemporaryError unless a guest may run on."""
        ...


class HaDriver:
    """A common.controller.Driver around another one for VMs."""

    def __init__(self, driver: Driver[Observation, Action], marks: HaMarks, permit: Permit) -> None:
        self._driver = driver
        self._marks = marks
        self._permit = permit

    def observe(self, name: str) -> Observation:
        """What is here of the VM `name`."""
        observed = self._driver.observe(name)
        ha = self._marks.is_ha(name)
        return replace(observed, ha=ha, run_files=observed.run_files or not ha)

    def apply(self, name: str, action: Action) -> None:
        """Take one step, unless it may not be taken now."""
        match action:
            case steps.SetHa(ha):
                self._marks.set(name, ha=ha)
                return
            case steps.Start(epoch):
                self._permit.check_start(name, epoch, ha=self._marks.is_ha(name))
            case steps.RemoveDisk(serial):
                self._permit.check_removal(name, serial)
            case steps.Resume():
                self._permit.check_resume(ha=self._marks.is_ha(name))
            case steps.TakeSnapshot():
                self._permit.check_resume(ha=self._marks.is_ha(name))
                self._permit.check_snapshots(name, None)
            case steps.RemoveSnapshot(snapshot, broken_off):
                self._permit.check_snapshots(name, None if broken_off else snapshot)
            case steps.RollBack():
                self._permit.check_snapshots(name, None)
        self._driver.apply(name, action)
        if isinstance(action, steps.Undefine):
            self._marks.set(name, ha=True)

    def known(self) -> frozenset[str]:
        """The VMs of which there is anything here but disks."""
        return frozenset(self._driver.known()) | self._marks.vms()

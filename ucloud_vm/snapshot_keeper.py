"""The effects of snapshots: which of the store and the hypervisor makes them, and that a guest stands still for it."""

from collections.abc import Iterator
from contextlib import contextmanager

from common.errors import TemporaryError
from common.storage import DiskStore, FileDisk
from ucloud_vm.hypervisor import Domain, Hypervisor, Power
from ucloud_vm.planning import steps


class SnapshotKeeper:
    """Takes and removes snapshots, and rolls back to them.

    Should this process end while a guest stands still, it is found paused, and resumed if it is to run.
    """

    def __init__(self, hypervisor: Hypervisor, disks: DiskStore) -> None:
        self._hypervisor = hypervisor
        self._disks = disks

    def apply(self, name: str, action: steps.SnapshotAction) -> None:
        """Take one step with the VM `name`."""
        domain = self._hypervisor.find(name)
        is_on = domain is not None and domain.power is not Power.OFF
        if not is_on:
            # Of a guest that was killed here, they are to be free.
            self._disks.expel(name)
        match action:
            case steps.TakeSnapshot(snapshot, disks):
                with self._standing_still(name, domain):
                    self._take(name, snapshot, disks, is_on)
            case steps.RemoveSnapshot(snapshot):
                self._remove(name, snapshot, is_on)
            case steps.RollBack(number, snapshot, disks):
                if is_on:
                    raise TemporaryError("can't roll it back: it is on")
                self._disks.roll_back(name, snapshot, disks, number)

    @contextmanager
    def _standing_still(self, name: str, domain: Domain | None) -> Iterator[None]:
        """What a guest has written is in its disks by then, and it writes no more until it goes on."""
        if domain is None or domain.power is not Power.RUNNING:
            yield
            return
        self._hypervisor.suspend(name)
        try:
            yield
        finally:
            self._hypervisor.resume(name)

    def _take(self, name: str, snapshot: str, disks: tuple[str, ...], is_on: bool) -> None:
        whole = self._disks.disks(name).whole
        if missing := set(disks) - whole.keys():
            raise TemporaryError(f"can't take a snapshot: the disk {', '.join(sorted(missing))} is not there")
        if is_on and any(isinstance(whole[serial], FileDisk) for serial in disks):
            self._hypervisor.take_snapshot(name, snapshot, disks)
        else:
            self._disks.take_snapshot(name, snapshot, disks)

    def _remove(self, name: str, snapshot: str, is_on: bool) -> None:
        having = {serial: disk for serial, disk in self._disks.disks(name).whole.items() if snapshot in disk.snapshots}
        if is_on and any(isinstance(disk, FileDisk) for disk in having.values()):
            self._hypervisor.remove_snapshot(name, snapshot, tuple(having))
        else:
            self._disks.remove_snapshot(name, snapshot)

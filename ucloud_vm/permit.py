"""Whether a guest may run here now, or lose a disk, looked at right before that is done: as late as can be.

What a daemon knows may be old: it may have been stopped for a minute between two lines, and its caches don't tell while
its host is cut off. Meanwhile the VM may have been placed on another host. So etcd is asked once more. What happens
after this look is up to the host's guard, which ends what was being started, and to the disk's locks.
"""

from common import keys
from common.errors import TemporaryError
from common.lifeline import Lifeline
from common.schemas.vm import Placement, Role
from common.store import Store

LOST_TOUCH = "this host has lost touch with the cloud: no highly available VM is started here until it is back"
GIVEN_UP = "this host was given up and is not back yet: no VM is started here until it is"
NOT_ORDERED_NOW = "its host has just got other orders"


class Permit:
    """Asks for the VMs of `host`. `lifeline` is None where no fence counts on the host's guard."""

    def __init__(self, store: Store, host: str, lifeline: Lifeline | None, ttl_s: float) -> None:
        self._store = store
        self._host = host
        self._lifeline = lifeline
        self._ttl_s = ttl_s

    def check_start(self, vm_uuid: str, epoch: int, *, ha: bool) -> None:
        """TemporaryError unless the guest of a VM may be started for its placement of that epoch."""
        # In this order: once there is no verdict, and the lease holds after the second look, the placement stands.
        if self._store.get(keys.verdict(self._host)):
            raise TemporaryError(GIVEN_UP)
        placement = self._placement(vm_uuid)
        if placement is None or (placement.epoch, placement.role) != (epoch, Role.RUN):
            raise TemporaryError(NOT_ORDERED_NOW)
        self.check_resume(ha=ha)

    def check_removal(self, vm_uuid: str, serial: str) -> None:
        """TemporaryError unless a disk of a VM is surely wanted no more.

        Where hosts share a store, it may have been made by another one, which the VM has moved to since this host last
        heard of it. No serial is ever wanted again, so what is true once stays so.
        """
        placement = self._placement(vm_uuid)
        wanted = {disk.serial for disk in placement.request.specs.disks} if placement else set()
        if placement is None or placement.role is not Role.RUN or serial in wanted:
            raise TemporaryError(NOT_ORDERED_NOW)

    def check_snapshots(self, vm_uuid: str, unwanted: str | None) -> None:
        """TemporaryError unless a VM's disks are surely this host's to take snapshots of and to roll back now.

        So must be that a snapshot which is to go is wanted no more: the host that the VM is on by now may have made it.
        """
        placement = self._placement(vm_uuid)
        wanted = {snapshot.id for snapshot in placement.request.snapshots} if placement else set()
        if placement is None or placement.role is not Role.RUN or unwanted in wanted:
            raise TemporaryError(NOT_ORDERED_NOW)

    def check_resume(self, *, ha: bool) -> None:
        """TemporaryError unless a guest may run on here."""
        if ha and self._lifeline and not self._lifeline.is_in_touch(self._ttl_s):
            raise TemporaryError(LOST_TOUCH)

    def _placement(self, vm_uuid: str) -> Placement | None:
        entry = self._store.get(keys.placement(self._host, vm_uuid))
        return Placement.read(entry.key, entry.value) if entry else None

"""`storage`: nobody writes to the disks of the host's HA VMs. It has those who use them expelled, where the store can
do that (the blocklist of a Ceph), then looks whether anybody is left, from the judge's own host.

VMs without `ha` are none of its business: they stay where they are, and may run on. Neither are VMs that are only on
their way to the host, or have left it: their disks are another host's.
"""

from collections.abc import Sequence
from typing import Protocol

from common import keys
from common.errors import MalformedRecord
from common.schemas.host import HostStatus
from common.schemas.vm import Placement, Role, VmRequest
from common.store import Store, none_written_since
from ucloud_host.fences import Answer, Silence, Word

_MOST_NAMED = 3


class Disks(Protocol):
    """What this fence needs of a DiskStore."""

    def store_ids(self) -> tuple[str, str | None]:
        """Which stores these are: for SSDs, and for HDDs where there is one."""
        ...

    def expel(self, vm_uuid: str) -> None:
        """Take a VM's disks away from whoever uses them, where the store can."""
        ...

    def is_in_use(self, vm_uuid: str) -> bool | None:
        """Whether any process, on any host, holds the lock of a disk of the VM; None: that can't be told."""
        ...


class StorageFence:
    """Yes once no HA VM's disk is locked; what is placed on the host must not change after that was looked at."""

    def __init__(self, store: Store, disks: Disks) -> None:
        self._store = store
        self._disks = disks

    def ask(self, silence: Silence) -> Answer:
        """See Fence."""
        prefix = keys.placements(silence.host)
        # Listed before the disks are looked at: a VM that is placed later makes the answer void.
        listing = self._store.list(prefix)
        try:
            placements = [Placement.read(entry.key, entry.value) for entry in listing.entries]
        except MalformedRecord as error:
            return Answer(Word.UNKNOWN, f"which VMs are there can't be read: {error}")
        vms = [placement for placement in placements if placement.role is Role.RUN and placement.request.ha]
        doubt = self._doubt(silence.status, vms) or self._locked(vms)
        if doubt:
            return doubt
        said = f"nobody uses the disks of its HA VMs ({len(vms)})" if vms else "there is no HA VM on it"
        return Answer(Word.YES, said, (none_written_since(prefix, listing.revision),))

    def _doubt(self, status: HostStatus | None, vms: Sequence[Placement]) -> Answer | None:
        """Why this host can't tell about the disks of that one; None if it can."""
        if not vms:
            return None
        ssd, hdd = self._disks.store_ids()
        theirs = {disk.store_id for disk in (status.ssd, status.hdd) if disk} if status else set()
        needed = [ssd, hdd] if any(vm.request.specs.hdd_mib for vm in vms) else [ssd]
        if all(store_id in theirs for store_id in needed):
            return None
        return Answer(Word.UNKNOWN, "the judge's host does not share its store")

    def _locked(self, vms: Sequence[Placement]) -> Answer | None:
        for vm in vms:
            self._disks.expel(vm.request.uuid)
        found = [(vm.request, self._disks.is_in_use(vm.request.uuid)) for vm in vms]
        if used := [vm for vm, in_use in found if in_use]:
            return Answer(Word.NO, f"disks are in use: {_some(used)}")
        if untold := [vm for vm, in_use in found if in_use is None]:
            return Answer(Word.UNKNOWN, f"it can't be told whether disks are in use: {_some(untold)}")
        return None


def _some(vms: Sequence[VmRequest]) -> str:
    """Some of the VMs, for an admin; owners may use the same names."""
    named = ", ".join(sorted(f"VM {vm.name} of {vm.owner}" for vm in vms)[:_MOST_NAMED])
    return named if len(vms) <= _MOST_NAMED else f"{named} and {len(vms) - _MOST_NAMED} more"

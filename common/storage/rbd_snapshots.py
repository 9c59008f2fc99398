"""The snapshots of disks in a Ceph, for the store there (rbd.py). In its ledger are, beside what that notes itself:

rollback.<vm>     the number of the last roll-back that was done; "<number> begun" while a later one is under way
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime

from common.ceph import images, ledger, snapshots
from common.ceph.hands import Hands
from common.errors import PermanentError
from common.storage import SNAPSHOT_GONE, RbdDisk, Staged, VmDisks
from common.storage.names import UUID

_BEGUN = " begun"
_MIB = 1024 * 1024


class RbdSnapshots:
    """Takes, removes, and rolls back to the snapshots of images; `pool` is that of the ledger, and of templates."""

    def __init__(self, hands: Hands, pool: str) -> None:
        self._hands = hands
        self._pool = pool

    def take(self, disks: VmDisks, serials: Collection[str], snapshot: str) -> None:
        """Make a snapshot of some of a VM's disks."""
        self._hands.call(snapshots.take, tuple(map(_place, _chosen(disks, serials))), snapshot)

    def remove(self, disks: VmDisks, snapshot: str) -> None:
        """Remove a snapshot from those that have it."""
        having = (disk for disk in _chosen(disks, disks.whole) if snapshot in disk.snapshots)
        self._hands.call(snapshots.remove, tuple(map(_place, having)), snapshot)

    def rolled_back(self, vm_uuid: str) -> int | None:
        """The number of the last roll-back that was done; 0: none was, though one was begun; None: nor was that."""
        noted = self._noted(vm_uuid)
        return _number(noted) if noted else None

    def roll_back(self, vm_uuid: str, disks: VmDisks, serials: Collection[str], snapshot: str, number: int) -> None:
        """Roll some of a VM's disks back to a snapshot, and note the number; once and for all."""
        noted = self._noted(vm_uuid)
        if _number(noted) >= number:
            return
        chosen = _chosen(disks, serials)
        if any(snapshot not in disk.snapshots for disk in chosen):
            raise PermanentError(SNAPSHOT_GONE)
        self._note(vm_uuid, f"{_number(noted)}{_BEGUN}")
        for disk in chosen:
            self._hands.call(snapshots.roll_back, _place(disk), snapshot, again=noted.endswith(_BEGUN))
        self._note(vm_uuid, str(number))

    def forget(self, vm_uuid: str) -> None:
        """Forget that a VM was ever rolled back."""
        if self._noted(vm_uuid):
            self._hands.call(ledger.write, self._pool, {}, {}, (_key(vm_uuid),))

    def stage(self, parent: str, snapshot: str, draft: str, tell: Callable[[int], None]) -> Staged:
        """Make `draft`, which is noted as one, from the image `parent` as it was in a snapshot; it rests on nothing."""
        self._hands.call(snapshots.clone, (self._pool, parent), snapshot, draft)
        self._hands.call_long(tell, snapshots.flatten, self._pool, draft)
        self._hands.call(images.seal, self._pool, draft)
        (size_bytes,) = self._hands.call(images.sizes, ((self._pool, draft),))
        if size_bytes is None:
            raise PermanentError(SNAPSHOT_GONE)
        return Staged(draft, -(-size_bytes // _MIB))

    def _noted(self, vm_uuid: str) -> str:
        return self._hands.call(ledger.read, self._pool, _key(vm_uuid)).get(_key(vm_uuid), "")

    def _note(self, vm_uuid: str, said: str) -> None:
        self._hands.call(ledger.write, self._pool, {}, {_key(vm_uuid): said})


def ours(taken_at_s: Mapping[str, float]) -> dict[str, datetime]:
    """Of an image's snapshots those that are ours, each with when it was taken."""
    return {name: datetime.fromtimestamp(at_s, UTC) for name, at_s in taken_at_s.items() if UUID.fullmatch(name)}


def _chosen(disks: VmDisks, serials: Collection[str]) -> list[RbdDisk]:
    """Some of a VM's disks; TemporaryError when one is not there."""
    return [disk for disk in disks.chosen(serials).values() if isinstance(disk, RbdDisk)]


def _place(disk: RbdDisk) -> tuple[str, str]:
    return disk.pool, disk.image


def _key(vm_uuid: str) -> str:
    return f"rollback.{vm_uuid}"


def _number(noted: str) -> int:
    return int(noted.removesuffix(_BEGUN) or 0)

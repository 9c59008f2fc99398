"""Snapshots of a VM: its disks as they were at one moment, to which they can be rolled back."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from common.schemas.disk import DiskKind, DiskSpec, sum_mib
from common.schemas.record import Part

SnapshotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", max_length=63)]
"""Unique within its VM."""
MOST_SNAPSHOTS = 16
"""Of a VM."""


class Snapshot(Part):
    """A snapshot as it is wanted. The stores know it by its `id`, a uuid."""

    id: str
    name: SnapshotName
    created_at: datetime
    disks: tuple[DiskSpec, ...]
    """Those that it is of, as large as they were to be when it was asked for."""

    @property
    def serials(self) -> frozenset[str]:
        """The disks that it is of."""
        return frozenset(disk.serial for disk in self.disks)


class Rollback(Part):
    """That the disks become what they were in a snapshot; `number` counts the roll-backs asked for of a VM.

    That one is done, the store remembers beside the disks: whichever host has them next does not do it again.
    """

    number: int
    snapshot: str
    name: SnapshotName
    """The snapshot's id, and what it was called. It is not due any more when that snapshot is no longer wanted."""


class SnapshotActual(StrEnum):
    """What there is of a snapshot."""

    PENDING = "PENDING"
    """It has not been taken yet."""
    READY = "READY"
    """It is there, of all its disks at one moment."""
    LOST = "LOST"
    """It was there and is not any more: something else than ucloud has removed it. It is not taken anew."""


class SnapshotReport(Part):
    """What a host sees of a snapshot."""

    id: str
    actual: SnapshotActual
    taken_at: datetime | None = None
    """By the clock of the store."""
    reason: str = ""
    """Why it is not READY."""


class SnapshotSource(Part):
    """A snapshot that an image is made from, by the ids of its VM and itself, and what both were called then."""

    vm: str
    snapshot: str
    vm_name: str
    name: str


def held_mib(snapshots: Iterable[Snapshot], kind: DiskKind) -> int:
    """What snapshots hold of a kind of disks at most: as much as those that they are of."""
    return sum(sum_mib(snapshot.disks, kind) for snapshot in snapshots)

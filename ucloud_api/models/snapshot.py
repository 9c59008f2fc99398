"""Snapshots of VMs: what is taken to make one, and what is shown of them."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from common.schemas.snapshot import SnapshotActual, SnapshotName
from ucloud_api.models.shared import In, Out, SizeOut, ThingPath

_NAME = "1 to 63 lower-case letters, digits, dots, hyphens and underscores; a letter or digit at either end."


class SnapshotCreate(In):
    """A new snapshot of a VM."""

    name: Annotated[SnapshotName | None, Field(description=f"{_NAME} Unique within its VM, made up if left out.")] = (
        None
    )


class SnapshotPath(ThingPath):
    """The path of a snapshot of a VM."""

    snapshot: Annotated[SnapshotName, Field(description="The name or the id of a snapshot of this VM.")]


class SnapshotDisk(Out):
    """A disk that a snapshot is of, as large as it was to be then."""

    serial: str
    size: SizeOut


class SnapshotOut(Out):
    """A snapshot of a VM: all its disks as they were at one moment."""

    id: str
    name: str
    created_at: Annotated[datetime, Field(description="When it was asked for.")]
    status: Annotated[SnapshotActual, Field(description="PENDING: it is yet to be taken; LOST: it was there once.")]
    reason: Annotated[str, Field(description="Why it is not READY.")]
    taken_at: Annotated[datetime | None, Field(description="When it was taken, by the clock of the store.")]
    disks: tuple[SnapshotDisk, ...]


class SnapshotList(Out):
    """All snapshots of a VM, oldest first."""

    items: tuple[SnapshotOut, ...]
    next_cursor: Annotated[None, Field(description="Null: there is no other page.")] = None


class RollbackOut(Out):
    """The last roll-back that was asked for."""

    number: Annotated[int, Field(description="Counts those that were asked for.")]
    snapshot: Annotated[str, Field(description="The id of the snapshot.")]
    name: Annotated[str, Field(description="What it was called.")]
    pending: Annotated[bool, Field(description="It is yet to be done; nothing starts the VM before.")]

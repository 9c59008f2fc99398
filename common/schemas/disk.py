"""A disk of a VM: of which kind, how large, and the serial by which its guest and its store know it.

The first one of a VM is its root disk, which is made from the image. Records of VMs that name no disks, as earlier
versions wrote them, mean a root disk and, if they have an HDD, a second disk: their serials are as those disks are
called in the stores since then.
"""

import secrets
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from common.schemas.record import Part

ROOT = "root"
"""The serial of each root disk."""
HDD = "hdd"
"""The serial of the first HDD of a VM that was created with one; a disk that is added later never gets it."""
MOST_DISKS = 8
"""Of a VM."""
MOST_MIB = 1024 * 1024 * 1024
"""Of a disk."""

SERIAL_PATTERN = rf"(?:{ROOT}|{HDD}|[0-9a-f]{{8}})"
Serial = Annotated[str, StringConstraints(pattern=rf"^{SERIAL_PATTERN}$")]


class DiskKind(StrEnum):
    """What a disk is kept on."""

    SSD = "ssd"
    HDD = "hdd"


class DiskSpec(Part):
    """A disk as its owner wants it; its guest finds it as /dev/disk/by-id/virtio-<serial>."""

    kind: DiskKind
    size_mib: Annotated[int, Field(ge=1, le=MOST_MIB)]
    serial: Serial


def new_serial(taken: Iterable[str]) -> str:
    """A serial for a disk that is added; of 32 random bits, so none that was ever in use is drawn again."""
    known = set(taken)
    while (serial := secrets.token_hex(4)) in known:
        pass
    return serial


def sum_mib(disks: Iterable[DiskSpec], kind: DiskKind) -> int:
    """What the disks of a kind add up to."""
    return sum(disk.size_mib for disk in disks if disk.kind is kind)

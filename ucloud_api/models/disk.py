"""Disks of VMs: what is taken to add one or to have one grow, and what is shown of it."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from common.schemas import size
from common.schemas.disk import MOST_DISKS, MOST_MIB, DiskKind, Serial
from ucloud_api.models.shared import SIZE_SCHEMA, In, Out, SizeIn, SizeOut, ThingPath, to_mib

_SIZE = Field(ge=1, le=MOST_MIB, description=f"1MiB to 1024TiB: {size.ALLOWED}.")
_MANY_SCHEMA: dict[str, Any] = {
    "anyOf": [*SIZE_SCHEMA["anyOf"], {"type": "array", "items": SIZE_SCHEMA, "maxItems": MOST_DISKS}]
}


def _sizes(needed: bool) -> Callable[[object], tuple[int, ...]]:
    """What turns a size, or a list of sizes, into MiB; unless one disk is `needed`, 0 is no disk."""

    def convert(value: object) -> tuple[int, ...]:
        many = isinstance(value, list | tuple)
        sizes_mib = tuple(map(to_mib, value if isinstance(value, list | tuple) else (value,)))
        if not (many or needed) and sizes_mib == (0,):
            return ()
        if min(sizes_mib, default=0 if needed else 1) < 1:
            raise PydanticCustomError("greater_than_equal", "is too small")
        if max(sizes_mib, default=1) > MOST_MIB:
            raise PydanticCustomError("less_than_equal", "is too large")
        return sizes_mib

    return convert


SsdIn = Annotated[tuple[int, ...], BeforeValidator(_sizes(needed=True)), WithJsonSchema(_MANY_SCHEMA)]
"""Takes a size, or one for each disk; holds MiB of each. There is at least one."""

HddIn = Annotated[tuple[int, ...], BeforeValidator(_sizes(needed=False)), WithJsonSchema(_MANY_SCHEMA)]
"""Takes a size (0: no disk), or one for each disk; holds MiB of each."""


class DiskIn(In):
    """A disk more."""

    kind: Annotated[DiskKind, Field(description="ssd or hdd.")]
    size: Annotated[SizeIn, _SIZE]


class DiskPatch(In):
    """How large a disk is to be; it can only grow."""

    size: Annotated[SizeIn, _SIZE]


class DiskPath(ThingPath):
    """The path of a VM's disk."""

    serial: Annotated[Serial, Field(description="The disk's serial, as the VM's `disks` have it.")]


class DiskOut(Out):
    """A disk of a VM, which its guest finds as /dev/disk/by-id/virtio-SERIAL."""

    serial: str
    kind: DiskKind
    size: SizeOut

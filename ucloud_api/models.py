"""The bodies and parameters that the API takes, and the resources that it gives. The OpenAPI document is made of these.

A field's description says what is allowed: a refusal repeats it (ucloud_api.problems).
"""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from common.errors import InvalidValue
from common.schemas import size
from common.schemas.host import HostState
from common.schemas.image import ImageActual, ImageName, ImageRequested, UploadName
from common.schemas.vm import Actual, HostName, OwnerName, Requested, VmName

_SIZE_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ ?(MiB|GiB|TiB)$"}]}
_MAX_MIB = 1024 * 1024 * 1024


def _to_mib(value: object) -> int:
    try:
        return size.parse_size_mib(value)
    except InvalidValue as error:
        raise PydanticCustomError("size", "is not a size") from error


SizeIn = Annotated[int, BeforeValidator(_to_mib), WithJsonSchema(_SIZE_SCHEMA)]
"""Takes a size as users write it, holds MiB."""

SizeOut = int | str
"""An integer in GiB, or a string in MiB where it is not whole GiB."""

_OWNER = "The owner: 1 to 63 lower-case letters, digits, dots, hyphens and underscores; the API's default if left out."
_VM_NAME = "A DNS label: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end."
_IMAGE_NAME = "1 to 63 lower-case letters, digits, dots, hyphens and underscores; a letter or digit at either end."


class _In(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class SpecsIn(_In):
    """What a VM is to be made of."""

    cpu: Annotated[int, Field(strict=True, ge=1, le=512, description="Processors: an integer from 1 to 512.")]
    ram: Annotated[SizeIn, Field(ge=64, le=64 * 1024 * 1024, description=f"Memory, 64MiB to 64TiB: {size.ALLOWED}.")]
    ssd: Annotated[SizeIn, Field(ge=1, le=_MAX_MIB, description=f"The root disk, 1MiB to 1024TiB: {size.ALLOWED}.")]
    hdd: Annotated[
        SizeIn, Field(ge=0, le=_MAX_MIB, description=f"A second disk, 0 (none) to 1024TiB: {size.ALLOWED}.")
    ] = 0


class VmCreate(_In):
    """A new VM."""

    name: Annotated[VmName | None, Field(description=f"{_VM_NAME} Made up if left out.")] = None
    owner: Annotated[OwnerName | None, Field(description=_OWNER)] = None
    specs: Annotated[SpecsIn, Field(description="An object with cpu, ram, ssd and, if wanted, hdd.")]
    image: Annotated[ImageName, Field(description="The name or the uuid of a READY image.")]
    requested: Annotated[
        Literal[Requested.RUNNING, Requested.STOPPED], Field(description="The state to bring the VM to.")
    ] = Requested.RUNNING


class VmPatch(_In):
    """A change of what is requested of a VM."""

    requested: Annotated[
        Literal[Requested.RUNNING, Requested.SUSPENDED, Requested.STOPPED],
        Field(description="RUNNING, SUSPENDED or STOPPED; a VM is removed by DELETE."),
    ]


class OvercommitPatch(_In):
    """How much more may be promised than there is; what is left out stays."""

    cpu: Annotated[float | None, Field(strict=True, ge=0.1, le=64, description="A number from 0.1 to 64.")] = None
    ram: Annotated[float | None, Field(strict=True, ge=0.1, le=4, description="A number from 0.1 to 4.")] = None
    disk: Annotated[float | None, Field(strict=True, ge=0.1, le=16, description="A number from 0.1 to 16.")] = None


class HostPatch(_In):
    """The admin's word on a host; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    state: Annotated[HostState | None, Field(description="enabled, draining or disabled.")] = None
    overcommit: Annotated[OvercommitPatch | None, Field(description="An object with cpu, ram or disk.")] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.state is None and self.overcommit is None:
            raise PydanticCustomError("empty", "changes nothing", {"allowed": ["state", "overcommit"]})
        return self


class ImageCreate(_In):
    """A new image, made from a file in its owner's upload folder."""

    name: Annotated[ImageName, Field(description=_IMAGE_NAME)]
    owner: Annotated[OwnerName | None, Field(description=_OWNER)] = None
    file: Annotated[
        UploadName,
        Field(
            description="The name of a file directly in the owner's upload folder: no slash, no dot or hyphen first."
        ),
    ]


class ThingPath(_In):
    """The path of a VM or an image."""

    uuid: Annotated[UUID, Field(description="A uuid such as 123e4567-e89b-42d3-a456-426614174000.")]


class HostPath(_In):
    """The path of a host."""

    name: Annotated[HostName, Field(description="A host name in lower case.")]


class WatchQuery(_In):
    """Whether to follow one resource."""

    watch: Annotated[bool, Field(description="1: a stream of server-sent events, one per change.")] = False


class _ListQuery(WatchQuery):
    owner: Annotated[OwnerName | None, Field(description="Only what this owner has.")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many: 1 to 1000.")] = 1000
    cursor: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,18}$", description="The `next_cursor` of the page before this one.")
    ] = None


class VmQuery(_ListQuery):
    """Which VMs to list."""

    name: Annotated[VmName | None, Field(description="Only the VM of this name, of each owner.")] = None
    status: Annotated[Actual | None, Field(description="Only VMs in this state.")] = None


class ImageQuery(_ListQuery):
    """Which images to list."""

    name: Annotated[ImageName | None, Field(description="Only the image of this name, of each owner.")] = None
    status: Annotated[ImageActual | None, Field(description="Only images in this state.")] = None


class LogQuery(_In):
    """How much of a log."""

    tail_bytes: Annotated[int, Field(ge=1, le=1024 * 1024, description="The end of the log: 1 to 1048576 bytes.")] = (
        64 * 1024
    )


class SpecsOut(_Out):
    """What a VM is made of."""

    cpu: int
    ram: SizeOut
    ssd: SizeOut
    hdd: SizeOut


class EventOut(_Out):
    """Something that happened to a VM."""

    at: datetime
    what: str


class Vm(_Out):
    """A VM: what is requested, and what is."""

    uuid: str
    name: str
    owner: str
    specs: SpecsOut
    image: str
    image_name: Annotated[str | None, Field(description="Null when the image exists no more.")]
    hostname: Annotated[str | None, Field(description="The path of the host that it is placed on.")]
    requested: Requested
    status: Actual
    reason: Annotated[str, Field(description="Why it is not, or not yet, as requested.")]
    generation: Annotated[int, Field(description="Counts the changes of the request.")]
    observed_generation: Annotated[int, Field(description="The generation that `status` answers; 0: none yet.")]
    created_at: datetime
    addresses: tuple[str, ...]
    events: tuple[EventOut, ...]


class VmList(_Out):
    """A page of VMs, oldest first."""

    items: tuple[Vm, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]


class Amounts(_Out):
    """What a host has, or what of it is ordered."""

    cpu: int
    ram: SizeOut
    ssd: SizeOut
    hdd: SizeOut


class OvercommitOut(_Out):
    """How much more may be promised than there is."""

    cpu: float
    ram: float
    disk: float


class Host(_Out):
    """A VM host: the admin's word, what it measured of itself, and whether it is alive."""

    name: str
    state: HostState
    status: Annotated[Literal["ALIVE", "SILENT"], Field(description="SILENT: its sign of life is gone.")]
    overcommit: OvercommitOut
    generation: Annotated[int, Field(description="Counts the changes of the admin's word; 0: there is none.")]
    capacity: Annotated[Amounts | None, Field(description="Null when the host never registered.")]
    ordered: Annotated[Amounts, Field(description="The sum of the VMs placed here.")]
    vms: Annotated[int, Field(description="How many VMs are placed here.")]
    addresses: tuple[str, ...]
    hypervisor: str
    versions: dict[str, str]


class HostList(_Out):
    """All hosts, by name."""

    items: tuple[Host, ...]


class Image(_Out):
    """An image: what is requested, and how far its import is."""

    uuid: str
    name: str
    owner: str
    file: str
    requested: ImageRequested
    status: ImageActual
    reason: Annotated[str, Field(description="Why it is not READY.")]
    generation: int
    created_at: datetime
    virtual_size: Annotated[SizeOut, Field(description="The smallest root disk; 0 until it is READY.")]
    file_size_bytes: int
    sha256: str


class ImageList(_Out):
    """A page of images, oldest first."""

    items: tuple[Image, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]

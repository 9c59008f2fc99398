"""Images: what is taken to make one, and the resource."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common.schemas.image import DEFAULT_STORE, Firmware, ImageActual, ImageName, ImageRequested, StoreName, UploadName
from common.schemas.owner import OwnerName
from common.schemas.snapshot import SnapshotName
from common.schemas.vm import VmName
from ucloud_api.models.shared import MAX_MIB, OWNER, In, ListQuery, Out, SizeIn, SizeOut

_IMAGE_NAME = "1 to 63 lower-case letters, digits, dots, hyphens and underscores; a letter or digit at either end."
_PUBLIC = "True: everybody may see it and make VMs from it. Only an admin may say so."
_PROTECTED = "True: it can't be deleted."
_MIN_RAM = "The least memory of a VM made from it; 0: any."
_MIN_DISK = "The least root disk of a VM made from it, which is never smaller than the image; 0: any."
_FILE = "The name of a file directly in the owner's upload folder: no slash, no dot or hyphen first."
_SOURCES = ["file", "vm and snapshot"]
_FIRMWARE = "What its guests are started by: BIOS or UEFI."
_STORE = "The image store that it is kept in: one of those that GET /v1/image-store lists."


class ImageCreate(In):
    """A new image, made from a file in its owner's upload folder, or from a snapshot of a VM."""

    name: Annotated[ImageName, Field(description=_IMAGE_NAME)]
    owner: Annotated[OwnerName | None, Field(description=OWNER)] = None
    file: Annotated[UploadName | None, Field(description=_FILE)] = None
    vm: Annotated[VmName | None, Field(description="The name or the uuid of a VM, in the place of a file.")] = None
    snapshot: Annotated[
        SnapshotName | None, Field(description="With a VM: the name or the id of the snapshot that is to be copied.")
    ] = None
    public: Annotated[bool, Field(strict=True, description=_PUBLIC)] = False
    protected: Annotated[bool, Field(strict=True, description=_PROTECTED)] = False
    min_ram: Annotated[SizeIn, Field(ge=0, le=MAX_MIB, description=_MIN_RAM)] = 0
    min_disk: Annotated[SizeIn, Field(ge=0, le=MAX_MIB, description=_MIN_DISK)] = 0
    firmware: Annotated[Firmware, Field(description=_FIRMWARE)] = Firmware.BIOS
    store: Annotated[StoreName, Field(description=_STORE)] = DEFAULT_STORE

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.file is None) is (self.vm is None) or (self.vm is None) is not (self.snapshot is None):
            raise PydanticCustomError("source", 'needs either "file", or "vm" and "snapshot"', {"allowed": _SOURCES})
        return self


class ImagePatch(In):
    """A change of an image; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Annotated[ImageName | None, Field(description=_IMAGE_NAME)] = None
    public: Annotated[bool | None, Field(strict=True, description=_PUBLIC)] = None
    protected: Annotated[bool | None, Field(strict=True, description=_PROTECTED)] = None
    min_ram: Annotated[SizeIn | None, Field(description=_MIN_RAM)] = None
    min_disk: Annotated[SizeIn | None, Field(description=_MIN_DISK)] = None
    firmware: Annotated[Firmware | None, Field(description=_FIRMWARE)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(getattr(self, field) is None for field in ImagePatch.model_fields):
            raise PydanticCustomError("empty", "changes nothing", {"allowed": list(ImagePatch.model_fields)})
        return self


class ImageQuery(ListQuery):
    """Which images to list."""

    name: Annotated[ImageName | None, Field(description="Only the image of this name, of each owner.")] = None
    status: Annotated[ImageActual | None, Field(description="Only images in this state.")] = None


class ImageSource(Out):
    """The snapshot of a VM that an image was made from, and what both were called then."""

    vm: str
    snapshot: str
    vm_name: str
    name: str


class Image(Out):
    """An image: what is requested, and how far its import is."""

    uuid: str
    name: str
    owner: str
    file: Annotated[str | None, Field(description="The file that it was made from; null: it was made from a VM.")]
    source: Annotated[ImageSource | None, Field(description="The snapshot that it was made from.")]
    public: bool
    protected: bool
    min_ram: SizeOut
    min_disk: SizeOut
    firmware: Firmware
    store: str
    requested: ImageRequested
    status: ImageActual
    reason: Annotated[str, Field(description="Why it is not READY.")]
    percent: Annotated[int, Field(description="How far it is while it is IMPORTING.")]
    generation: int
    created_at: datetime
    virtual_size: Annotated[SizeOut, Field(description="The smallest root disk; 0 until it is READY.")]
    file_size_bytes: int
    sha256: Annotated[str, Field(description="Of the file that was uploaded; empty where it was made from a VM.")]


class ImageList(Out):
    """A page of images, oldest first."""

    items: tuple[Image, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]

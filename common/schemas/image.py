"""An image that VMs are made from: the request for it, and its import as it stands."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import StringConstraints, model_validator

from common.schemas.owner import OwnerName, UserName
from common.schemas.record import Record
from common.schemas.snapshot import SnapshotSource

StoreName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
DEFAULT_STORE = "default"
"""What an image store is called where nobody called it otherwise."""

ImageName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", max_length=63)]

UPLOAD_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$"
UploadName = Annotated[str, StringConstraints(pattern=UPLOAD_NAME_PATTERN, max_length=255)]
"""A file directly inside an upload folder: no slash, no leading dot."""


class ImageRequested(StrEnum):
    """What the owner wants of an image."""

    READY = "READY"
    DELETED = "DELETED"


class Firmware(StrEnum):
    """What a guest of an image is started by."""

    BIOS = "BIOS"
    UEFI = "UEFI"


class ImageRequest(Record):
    """`/v1/image/<uuid>`: made from a file, or from the root disk of a VM as a snapshot has it.

    `file` is looked for in the upload folder of `uploaded_by`.
    """

    uuid: str
    owner: OwnerName
    name: ImageName
    file: UploadName | None = None
    source: SnapshotSource | None = None
    uploaded_by: UserName | None = None
    """The user in whose folder the file is, where the owner is none: a project has no folder. None: the owner."""
    requested: ImageRequested = ImageRequested.READY
    public: bool = False
    """Everybody may make VMs from it."""
    protected: bool = False
    """It can't be deleted."""
    min_ram_mib: int = 0
    min_disk_mib: int = 0
    """What a VM made from it needs at least, its disk also what the image itself takes."""
    firmware: Firmware = Firmware.BIOS
    store: StoreName = DEFAULT_STORE
    """The image store that it is kept in. Its VMs begin on hosts that have this store."""
    generation: int = 1
    created_at: datetime

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.file is None) is (self.source is None):
            raise ValueError("file, source: exactly one of the two is required")
        return self


class ImageActual(StrEnum):
    """How far an image is."""

    PENDING = "PENDING"
    """Not yet looked at."""
    CHECKING = "CHECKING"
    """A private copy of its file is made and looked through."""
    IMPORTING = "IMPORTING"
    """The copy was found good, and is brought into the store."""
    READY = "READY"
    REJECTED = "REJECTED"
    """The file was refused; the reason says why. It is not tried again."""
    DELETING = "DELETING"
    ERROR = "ERROR"
    """The import failed for a reason that may pass; it is tried again."""


class ImageStatus(Record):
    """`/v1/status/image/<uuid>`, written by the elected ucloud_image of its store."""

    generation: int
    actual: ImageActual
    reason: str = ""
    since: datetime
    percent: int = 0
    """How far an import is."""
    virtual_size_mib: int = 0
    """The size of the disk that the image describes, rounded up; a VM's root disk is at least this large."""
    file_size_bytes: int = 0
    sha256: str = ""
    """Of the file, as it was uploaded; an image that was made from a VM has none, and no size of a file."""
    store: StoreName = DEFAULT_STORE


def elected_as(store: str) -> str:
    """What the elected ucloud_image of a store is called in `/v1/leader/`; the default store's is plain "image"."""
    return "image" if store == DEFAULT_STORE else f"image/{store}"

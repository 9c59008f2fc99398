"""VMs: what is taken to make and change one, and the resource."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from common.schemas import size
from common.schemas.disk import MOST_DISKS
from common.schemas.image import Firmware, ImageName
from common.schemas.owner import OwnerName
from common.schemas.port import MOST_PORTS
from common.schemas.ssh_key import MOST_KEY_CHARACTERS, MOST_SSH_KEYS
from common.schemas.vm import Actual, GuestName, HostName, Requested, VmName
from ucloud_api.models.disk import DiskOut, HddIn, SsdIn
from ucloud_api.models.move import Move
from ucloud_api.models.placing import AffinityOut, Placing
from ucloud_api.models.port import NETWORKS, PortIn, PortOut
from ucloud_api.models.shared import MAX_MIB, OWNER, In, ListQuery, Out, SizeIn, SizeOut
from ucloud_api.models.snapshot import RollbackOut, SnapshotOut

_VM_NAME = "A DNS label: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end."


_CPU = Field(strict=True, ge=1, le=512, description="Processors: an integer from 1 to 512.")
_RAM = Field(ge=64, le=64 * 1024 * 1024, description=f"Memory, 64MiB to 64TiB: {size.ALLOWED}.")
_SSD = Field(ge=1, le=MAX_MIB, description=f"The only SSD, 1MiB to 1024TiB: {size.ALLOWED}.")
_HDD = Field(ge=0, le=MAX_MIB, description=f"The only HDD, 0 (none) to 1024TiB: {size.ALLOWED}.")
_SSDS = f"The root disk, or a list of it and other SSDs, each 1MiB to 1024TiB: {size.ALLOWED}."
_HDDS = f"An HDD, 0 for none, or a list of such, each 1MiB to 1024TiB: {size.ALLOWED}."
_PROTECTED = "True: a DELETE is refused."
_MOST_USER_DATA = 16 * 1024
_USER_DATA = "What its guest may read at boot: a text of at most 16384 bytes in UTF-8. It is shown to nobody else."
_SEED_DISK = "True: its guest finds ssh keys, user data, name and addresses on a disk, too (cloud-init's NoCloud)."
SshKeyWish = Annotated[str, StringConstraints(min_length=1, max_length=MOST_KEY_CHARACTERS)]


def _fits(text: str | None) -> str | None:
    if text is not None and len(text.encode()) > _MOST_USER_DATA:
        raise PydanticCustomError("string_too_long", "is too long")
    return text


class SpecsIn(In):
    """What a VM is to be made of."""

    cpu: Annotated[int, _CPU]
    ram: Annotated[SizeIn, _RAM]
    ssd: Annotated[SsdIn, Field(description=_SSDS)]
    hdd: Annotated[HddIn, Field(description=_HDDS)] = ()

    @model_validator(mode="after")
    def _has_not_too_many(self) -> Self:
        if len(self.ssd) + len(self.hdd) > MOST_DISKS:
            raise PydanticCustomError(
                "too_many", "has too many disks", {"allowed": f"at most {MOST_DISKS} disks in all"}
            )
        return self


class SpecsPatch(In):
    """What a VM is to be made of from now on; what is left out stays. Disks only grow, each of several for itself."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    cpu: Annotated[int | None, _CPU] = None
    ram: Annotated[SizeIn | None, _RAM] = None
    ssd: Annotated[SizeIn | None, _SSD] = None
    hdd: Annotated[SizeIn | None, _HDD] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise PydanticCustomError("empty", "changes nothing", {"allowed": list(SpecsPatch.model_fields)})
        return self


class VmCreate(Placing):
    """A new VM."""

    name: Annotated[VmName | None, Field(description=f"{_VM_NAME} Made up if left out.")] = None
    owner: Annotated[OwnerName | None, Field(description=OWNER)] = None
    specs: Annotated[SpecsIn, Field(description="An object with cpu, ram, ssd and, if wanted, hdd.")]
    image: Annotated[ImageName, Field(description="The name or the uuid of a READY image.")]
    requested: Annotated[
        Literal[Requested.RUNNING, Requested.STOPPED], Field(description="The state to bring the VM to.")
    ] = Requested.RUNNING
    protected: Annotated[bool, Field(strict=True, description=_PROTECTED)] = False
    networks: Annotated[tuple[PortIn, ...], Field(max_length=MOST_PORTS, description=NETWORKS)] = ()
    ssh_keys: Annotated[
        tuple[SshKeyWish, ...] | None,
        Field(
            max_length=MOST_SSH_KEYS,
            description="Whom the guest lets in: the names of ssh keys of its owner (of a project's VM: of its maker), "
            "or keys as in a file id_*.pub. "
            "All of these if left out.",
        ),
    ] = None
    user_data: Annotated[str | None, AfterValidator(_fits), Field(description=_USER_DATA)] = None
    hostname: Annotated[
        GuestName | None,
        Field(
            description="What its guest calls itself: labels of DNS, at most 63 characters; by default the VM's name."
        ),
    ] = None
    seed_disk: Annotated[bool, Field(strict=True, description=_SEED_DISK)] = False


class VmPatch(Placing):
    """A change of what is requested of a VM; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Annotated[VmName | None, Field(description=_VM_NAME)] = None
    protected: Annotated[bool | None, Field(strict=True, description=_PROTECTED)] = None
    specs: Annotated[SpecsPatch | None, Field(description="An object with some of cpu, ram, ssd and hdd.")] = None
    requested: Annotated[
        Literal[Requested.RUNNING, Requested.SUSPENDED, Requested.STOPPED] | None,
        Field(description="RUNNING, SUSPENDED or STOPPED; a VM is removed by DELETE."),
    ] = None
    force: Annotated[bool, Field(strict=True, description="With requested STOPPED: true cuts the power.")] = False

    @field_validator("force")
    @classmethod
    def _goes_with_a_stop(cls, force: bool, info: ValidationInfo) -> bool:
        if force and info.data.get("requested") is not Requested.STOPPED:
            raise PydanticCustomError("alone", 'goes with "requested": "STOPPED" only')
        return force

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_dump(exclude_none=True, exclude={"force"}):
            raise PydanticCustomError("empty", "changes nothing", {"allowed": list(VmPatch.model_fields)})
        return self


class VmVerb(In):
    """Nothing needs to be said with this verb."""


class VmForceVerb(In):
    """How to stop or reboot a VM."""

    force: Annotated[bool, Field(strict=True, description="True cuts the power without asking the guest.")] = False


class VmQuery(ListQuery):
    """Which VMs to list."""

    name: Annotated[VmName | None, Field(description="Only the VM of this name, of each owner.")] = None
    status: Annotated[Actual | None, Field(description="Only VMs in this state.")] = None
    requested: Annotated[Requested | None, Field(description="Only VMs of which this state is wanted.")] = None
    host: Annotated[HostName | None, Field(description="Only VMs that are placed on the host of this name.")] = None
    image: Annotated[ImageName | None, Field(description="Only VMs made from the image of this name or uuid.")] = None


class LogQuery(In):
    """How much of a log."""

    tail_bytes: Annotated[int, Field(ge=1, le=1024 * 1024, description="The end of the log: 1 to 1048576 bytes.")] = (
        64 * 1024
    )


class SpecsOut(Out):
    """What a VM is made of; `ssd` and `hdd` are what its disks of the kind add up to."""

    cpu: int
    ram: SizeOut
    ssd: SizeOut
    hdd: SizeOut
    firmware: Annotated[Firmware, Field(description="That of its image when it was made: BIOS or UEFI.")]


class EventOut(Out):
    """Something that happened to a VM."""

    at: datetime
    what: str


class Vm(Out):
    """A VM: what is requested, and what is."""

    uuid: str
    name: str
    owner: str
    specs: SpecsOut
    disks: Annotated[tuple[DiskOut, ...], Field(description="The first one is the root disk.")]
    image: str
    image_name: Annotated[str | None, Field(description="Null when the image exists no more.")]
    hostname: Annotated[str | None, Field(description="The path of the host that it is placed on.")]
    requested: Requested
    protected: Annotated[bool, Field(description="It can't be deleted.")]
    ha: Annotated[bool, Field(description="When its host is dead, it is started on another one.")]
    priority: Annotated[int, Field(description="Where room is short, VMs with a higher one are served first.")]
    affinity: Annotated[tuple[AffinityOut, ...], Field(description="The groups that it is placed with, or apart from.")]
    host_labels: Annotated[dict[str, str], Field(description="Only hosts with all of these labels will do.")]
    status: Actual
    reason: Annotated[str, Field(description="Why it is not, or not yet, as requested.")]
    generation: Annotated[int, Field(description="Counts the changes of the request.")]
    observed_generation: Annotated[int, Field(description="The generation that `status` answers; 0: none yet.")]
    created_at: datetime
    changed_at: Annotated[datetime, Field(description="When this generation was requested.")]
    reboots: Annotated[int, Field(description="Counts the reboots that were asked for.")]
    restart_needed: Annotated[bool, Field(description="It was resized, which its next start or reboot brings about.")]
    ports: Annotated[tuple[PortOut, ...], Field(description="Where it is plugged in; the first one first.")]
    addresses: Annotated[tuple[str, ...], Field(description="Those of its ports, and what else its host says.")]
    ssh_keys: Annotated[tuple[str, ...], Field(description="The fingerprints of the keys that its guest is to let in.")]
    guest_hostname: Annotated[str, Field(description="What its guest is to call itself.")]
    seed_disk: Annotated[bool, Field(description="Its guest is told all that on a disk, too.")]
    move: Annotated[Move | None, Field(description="Null: it never was to move since it came to this host.")]
    snapshots: Annotated[tuple[SnapshotOut, ...], Field(description="Oldest first.")]
    rollback: Annotated[RollbackOut | None, Field(description="Null: none was ever asked for.")]
    events: tuple[EventOut, ...]


class VmList(Out):
    """A page of VMs, oldest first."""

    items: tuple[Vm, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]

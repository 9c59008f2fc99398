"""Hosts: the admin's word, and the resource."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common.schemas.host import HostState
from common.schemas.owner import OwnerName
from common.schemas.verdict import Sentence
from common.schemas.vm import HostName, LabelName
from ucloud_api.models.placing import LABELS, LabelValue
from ucloud_api.models.shared import In, Out, SizeOut


class OvercommitPatch(In):
    """How much more may be promised than there is; what is left out stays."""

    cpu: Annotated[float | None, Field(strict=True, ge=0.1, le=64, description="A number from 0.1 to 64.")] = None
    ram: Annotated[float | None, Field(strict=True, ge=0.1, le=4, description="A number from 0.1 to 4.")] = None
    disk: Annotated[float | None, Field(strict=True, ge=0.1, le=16, description="A number from 0.1 to 16.")] = None


class HostPatch(In):
    """The admin's word on a host; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    state: Annotated[HostState | None, Field(description="enabled, draining or disabled.")] = None
    drain_cold: Annotated[
        bool | None,
        Field(strict=True, description="While it drains: true shuts guests down that can't leave while they run."),
    ] = None
    overcommit: Annotated[OvercommitPatch | None, Field(description="An object with cpu, ram or disk.")] = None
    labels: Annotated[
        dict[LabelName, LabelValue | None] | None,
        Field(max_length=64, description=f"Labels to set; null takes one away, others stay. {LABELS}."),
    ] = None
    tenants: Annotated[
        tuple[OwnerName, ...] | None,
        Field(max_length=64, description="The users whose VMs it takes from now on; []: everybody's."),
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if all(getattr(self, field) is None for field in HostPatch.model_fields):
            raise PydanticCustomError("empty", "changes nothing", {"allowed": list(HostPatch.model_fields)})
        return self


class HostPath(In):
    """The path of a host."""

    name: Annotated[HostName, Field(description="A host name in lower case.")]


class HostDeath(In):
    """An admin's word that a silent host is off, and stays off until it is looked at."""

    since: Annotated[
        AwareDatetime, Field(description="Of which silence it speaks: `since` of the host's verdict, with a time zone.")
    ]


class HostVerdict(Out):
    """What the cloud holds of a host whose sign of life is gone."""

    sentence: Sentence
    since: Annotated[datetime, Field(description="When the sign of life was first missed.")]
    judged_at: Annotated[datetime | None, Field(description="When it was found DEAD.")]
    fenced_by: Annotated[str, Field(description="DEAD: the fences that worked.")]
    waits_for: Annotated[str, Field(description="SILENT: what must happen before it can be found DEAD.")]
    answers: Annotated[dict[str, str], Field(description="What each fence said last: yes, no or unknown, and why.")]


class Amounts(Out):
    """What a host has, or what of it is ordered."""

    cpu: int
    ram: SizeOut
    ssd: SizeOut
    hdd: SizeOut


class FreeSpace(Out):
    """About how much more a host's stores take."""

    ssd: Annotated[SizeOut | None, Field(description="Null where that is not known.")]
    hdd: Annotated[SizeOut | None, Field(description="Null where that is not known, or there is no such store.")]


class OvercommitOut(Out):
    """How much more may be promised than there is."""

    cpu: float
    ram: float
    disk: float


class Host(Out):
    """A VM host: the admin's word, what it measured of itself, and whether it is alive."""

    name: str
    state: HostState
    status: Annotated[
        Literal["ALIVE", "SILENT", "DEAD"],
        Field(description="SILENT: its sign of life is gone. DEAD: and it surely runs no HA VM any more."),
    ]
    verdict: Annotated[HostVerdict | None, Field(description="Null while it is alive, or not judged yet.")]
    overcommit: OvercommitOut
    labels: dict[str, str]
    tenants: Annotated[tuple[str, ...], Field(description="Whose VMs it takes; empty: everybody's.")]
    generation: Annotated[int, Field(description="Counts the changes of the admin's word; 0: there is none.")]
    capacity: Annotated[Amounts | None, Field(description="Null when the host never registered.")]
    free: Annotated[FreeSpace, Field(description="Not counted but measured; hosts that share a store say the same.")]
    ordered: Annotated[Amounts, Field(description="The sum of the VMs placed here.")]
    vms: Annotated[int, Field(description="How many VMs are placed here.")]
    addresses: tuple[str, ...]
    hypervisor: str
    versions: dict[str, str]


class HostList(Out):
    """All hosts, by name."""

    items: tuple[Host, ...]

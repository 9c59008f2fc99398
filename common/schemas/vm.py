"""A VM: what its owner requests, what the scheduler orders, what the host sees, and what may be asked when."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, computed_field, model_validator

from common.schemas.disk import HDD, MOST_DISKS, ROOT, DiskKind, DiskSpec, sum_mib
from common.schemas.image import DEFAULT_STORE, Firmware, StoreName
from common.schemas.owner import OwnerName
from common.schemas.port import Port
from common.schemas.record import Part, Record
from common.schemas.snapshot import MOST_SNAPSHOTS, Rollback, Snapshot, SnapshotReport

VmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]
"""A VM's name is a DNS label (RFC 1123), because it becomes one."""

GuestName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$", max_length=63)
]
"""What a guest calls itself: labels of DNS, joined by dots (RFC 1123)."""

HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$", max_length=63)]


class Requested(StrEnum):
    """The state that the owner wants."""

    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STOPPED = "STOPPED"
    DELETED = "DELETED"


class Actual(StrEnum):
    """The state that is."""

    PENDING = "PENDING"
    """No placement yet; the reason says why."""
    DEPLOYING = "DEPLOYING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    MIGRATING = "MIGRATING"
    KILLED = "KILLED"
    """The guest died without being asked to."""
    DELETING = "DELETING"
    DELETED = "DELETED"
    """Nothing of the VM is left on the host that reports it."""
    ERROR = "ERROR"
    UNKNOWN = "UNKNOWN"
    """Its host is silent and not yet judged."""


class Verb(StrEnum):
    """What an owner can ask for in the life of a VM."""

    START = "start"
    STOP = "stop"
    SUSPEND = "suspend"
    RESUME = "resume"
    REBOOT = "reboot"
    RENAME = "rename"
    RESIZE = "resize"
    DELETE = "delete"


_ALWAYS = frozenset({Verb.RENAME, Verb.DELETE})
_ON_AND_OFF = _ALWAYS | {Verb.START, Verb.STOP}

ALLOWED_VERBS: dict[Actual, frozenset[Verb]] = {
    Actual.PENDING: _ON_AND_OFF | {Verb.RESIZE},
    Actual.DEPLOYING: _ON_AND_OFF,
    Actual.STARTING: _ON_AND_OFF,
    Actual.RUNNING: _ON_AND_OFF | {Verb.SUSPEND, Verb.REBOOT, Verb.RESIZE},
    Actual.SUSPENDED: _ALWAYS | {Verb.STOP, Verb.SUSPEND, Verb.RESUME, Verb.RESIZE},
    Actual.STOPPING: _ALWAYS | {Verb.STOP},
    Actual.STOPPED: _ON_AND_OFF | {Verb.RESIZE},
    Actual.MIGRATING: _ON_AND_OFF,
    Actual.KILLED: _ON_AND_OFF | {Verb.RESIZE},
    Actual.DELETING: frozenset({Verb.DELETE}),
    Actual.DELETED: frozenset({Verb.DELETE}),
    Actual.ERROR: _ON_AND_OFF | {Verb.RESIZE},
    Actual.UNKNOWN: _ON_AND_OFF,
}
"""What may be asked for while the VM actually is in a state.

A suspend or a reboot needs a guest that runs, a resume one that is suspended. What is asked of a VM whose host is
silent is done when the host is back. A VM that is to be deleted is, for its owner, DELETING whatever else it is.
"""


class Specs(Part):
    """What a VM is made of. The first disk is its root disk, an SSD; what its disks add up to is never said apart."""

    cpu: Annotated[int, Field(ge=1, le=512)]
    ram_mib: Annotated[int, Field(ge=64, le=64 * 1024 * 1024)]
    disks: Annotated[tuple[DiskSpec, ...], Field(min_length=1, max_length=MOST_DISKS)]
    firmware: Firmware = Firmware.BIOS

    @classmethod
    def of(cls, cpu: int, ram_mib: int, ssd_mib: int, hdd_mib: int = 0) -> Self:
        """A VM with a root disk of `ssd_mib`, and an HDD unless `hdd_mib` is 0."""
        return cls.model_validate({"cpu": cpu, "ram_mib": ram_mib, "ssd_mib": ssd_mib, "hdd_mib": hdd_mib})

    @computed_field  # type: ignore[prop-decorator]  # as pydantic has it
    @property
    def ssd_mib(self) -> int:
        """What its SSDs add up to."""
        return sum_mib(self.disks, DiskKind.SSD)

    @computed_field  # type: ignore[prop-decorator]  # as pydantic has it
    @property
    def hdd_mib(self) -> int:
        """What its HDDs add up to; 0: it has none."""
        return sum_mib(self.disks, DiskKind.HDD)

    @model_validator(mode="before")
    @classmethod
    def _list_disks(cls, data: Any) -> Any:
        """Records of earlier versions name no disks, only how large the two are that there may be."""
        if not isinstance(data, dict) or "disks" in data or "ssd_mib" not in data:
            return data
        sizes = ((DiskKind.SSD, data["ssd_mib"], ROOT), (DiskKind.HDD, data.get("hdd_mib", 0), HDD))
        disks = [{"kind": kind, "size_mib": size_mib, "serial": serial} for kind, size_mib, serial in sizes]
        return {**data, "disks": disks if disks[1]["size_mib"] else disks[:1]}

    @model_validator(mode="after")
    def _has_a_root(self) -> Self:
        serials = [disk.serial for disk in self.disks]
        if serials[0] != ROOT or self.disks[0].kind is not DiskKind.SSD or len(set(serials)) < len(serials):
            raise ValueError("the first disk must be the root disk, an SSD, and no serial come twice")
        return self


GroupName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]
LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", max_length=63)]


class Affinity(Part):
    """How a VM is to be placed with regard to its owner's other VMs that name the same group.

    VMs of a group that are `apart` share no host, others share one. What is `hard` is never broken by a placement, what
    is not is a preference.
    """

    group: GroupName
    apart: bool = True
    hard: bool = False


class MoveWish(Part):
    """That a VM move to another host; `number` counts the wishes for a VM."""

    number: int
    to: HostName | None = None
    """None: to whichever host suits best."""
    cold: bool = False
    """The guest is shut down and started again, also where it could move while it runs."""
    cancelled: bool = False
    """The wish is that it stay: a move that is under way is cancelled."""


DEFAULT_PRIORITY = 50


class VmRequest(Record):
    """What the owner wants; `/v1/vm/<uuid>`. Each change by the API counts `generation` up."""

    uuid: str
    owner: OwnerName
    name: VmName
    specs: Specs
    image: str
    """The image's uuid."""
    image_store: StoreName = DEFAULT_STORE
    """The image store that this image is kept in."""
    requested: Requested = Requested.RUNNING
    force: bool = False
    """To stop or to reboot is to cut the power, without asking the guest."""
    reboots: int = 0
    """Counts the reboots asked for; the host has done as many as its status says."""
    protected: bool = False
    """It can't be deleted."""
    generation: int = 1
    created_at: datetime
    changed_at: datetime | None = None
    """When this generation was requested; None: when it was created."""
    ports: tuple[Port, ...] = ()
    """The first one is that of the guest's first network device."""
    ssh_keys: tuple[str, ...] = ()
    """Public keys that its guest is to let in, each a line of an authorized_keys file (sshd(8)); fixed at creation."""
    user_data: Annotated[str, Field(repr=False)] = ""
    """What its owner gives the guest to read at boot. It may hold secrets: for the guest alone, never for a log."""
    hostname: GuestName | None = None
    """What its guest is to call itself; None: as the VM is called."""
    seed_disk: bool = False
    """Its guest is told all that on a disk, too, labelled cidata: cloud-init's NoCloud. Fixed at creation."""
    ha: bool = True
    """When its host is dead it is started on another one. Its host ends it when it loses touch with the cloud."""
    priority: Annotated[int, Field(ge=0, le=100)] = DEFAULT_PRIORITY
    """Where room is short after a host's death, VMs with a higher one are served first."""
    affinity: tuple[Affinity, ...] = ()
    host_labels: dict[str, str] = Field(default_factory=dict)
    """Only hosts with all of these labels will do."""
    move: MoveWish | None = None
    """The last wish that it move."""
    snapshots: Annotated[tuple[Snapshot, ...], Field(max_length=MOST_SNAPSHOTS)] = ()
    """Those that are to be; what is of none of them goes."""
    rollback: Rollback | None = None
    """The last wish that it be rolled back."""


class Role(StrEnum):
    """What a host is to do with a VM."""

    RUN = "run"
    INCOMING = "incoming"
    """Take it over from another host, where it still is."""
    LEFT = "left"
    """It has moved to another host: remove what is left of it here."""


class Leaving(Part):
    """That a VM is to leave the host that this order is for."""

    to: HostName
    epoch: int
    """That of the incoming placement on `to`."""
    live: bool
    """The guest goes on running meanwhile; else it is shut down first."""
    copies_disks: bool = False
    """The hosts share no store: the disks move, too."""
    uri: str = ""
    """Where the hypervisor of `to` takes the guest. Empty until that host is ready: nothing begins before."""
    cancelled: bool = False
    """It is to stay, if it has not left yet."""


class Cause(StrEnum):
    """Why a VM was given the host that it has."""

    NEW = "new"
    DEAD = "dead"
    """Its host was found dead."""
    DRAIN = "drain"
    BALANCE = "balance"
    ASKED = "asked"


class Choice(Part):
    """How the scheduler chose a host: what it looked at, for people to read."""

    cause: Cause
    hosts: int
    """How many there were."""
    refused: dict[str, int] = Field(default_factory=dict)
    """How many of them would not do, by the reason ("draining", "RAM full", "apart from group web" ...).

    The emptiest are looked at first, and no more of them than it takes to find a few that will do.
    """
    scores: tuple[tuple[str, float], ...] = ()
    """The best of the others, each with how full it would have become (0 to 1); the chosen host is the first."""


class Tried(Part):
    """A move that failed, or that could not even begin."""

    at: datetime
    cause: Cause
    to: HostName | None = None
    """None: no host would do."""
    reason: str
    times: int = 1
    """How many have failed in a row."""


class Placement(Record):
    """The order to a host; `/v1/placement/<host>/<uuid>`. It carries the whole request: a host reads no second key.

    `epoch` counts the placements of a VM: a status with an older epoch speaks of an earlier life on another host.
    """

    epoch: int
    role: Role = Role.RUN
    generation: int
    request: VmRequest
    placed_at: datetime
    choice: Choice | None = None
    leaving: Leaving | None = None
    """RUN: the VM is on its way to another host."""
    coming_from: HostName | None = None
    """INCOMING: the host where it still is."""
    copies_disks: bool = False
    """INCOMING: the disks come, too, so empty ones are to be ready for them."""
    moved: int = 0
    """The number of the last wish to move that was dealt with, whatever came of it."""
    tried: Tried | None = None
    """RUN: the last move to another host, if it failed."""
    ha_since: int = 0
    """The generation that made it an HA VM; 0: it was placed as one, or is none.

    Until its host has answered to that generation, nothing ends the guest there when the host is cut off.
    """


class Event(Part):
    """Something that happened to a VM, for its owner to read."""

    at: datetime
    what: str


class Console(Part):
    """Where the host answers for a VM: below `url` are `/log`, `/screenshot` and `/console`, which is a websocket.

    `token` is the bearer token that opens them.
    """

    url: str
    token: Annotated[str, Field(repr=False)]


class MoveState(StrEnum):
    """How far a host is with its part of a move."""

    READY = "ready"
    """The new host can take the guest."""
    RUNNING = "running"
    """The old host is sending it."""
    DONE = "done"
    """The old host has no guest any more, and can't have it again: the new one has it, or it is off."""
    FAILED = "failed"
    """The VM is where it was; the reason says why."""
    UNCERTAIN = "uncertain"
    """The old host has no guest and can't tell whether the new one has it."""


class MoveReport(Part):
    """A host's word on a move, which the epoch of the incoming placement names."""

    epoch: int
    state: MoveState
    uri: str = ""
    """READY: where the hypervisor takes the guest."""
    has_guest: bool = False
    """On the new host: the guest has arrived and runs (or is paused, as it was)."""
    percent: int = 0
    reason: str = ""


EVENTS_KEPT = 20


class VmStatus(Record):
    """What a host sees of a VM; `/v1/status/vm/<host>/<uuid>`."""

    epoch: int
    generation: int
    """The generation of the request that this status is the answer to."""
    actual: Actual
    reboots: int = 0
    """How many of the reboots asked for are done."""
    specs: Specs | None = None
    """What the guest that is on has: processors and memory as it was started with, disks as it sees them now.

    Where that is not what is requested, its next start brings the rest. None while it is off.
    """
    reason: str = ""
    since: datetime
    """When `actual` became what it is."""
    addresses: tuple[str, ...] = ()
    console: Console | None = None
    move: MoveReport | None = None
    snapshots: tuple[SnapshotReport, ...] = ()
    """On each that is requested."""
    rolled_back: int = 0
    """The number of the last roll-back that was done."""
    events: tuple[Event, ...] = ()

"""A VM: what its owner requests, what the scheduler orders, what the host sees, and what may be asked when."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from common.schemas.record import Part, Record

VmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]
"""A VM's name is a DNS label (RFC 1123), because it becomes one."""

OwnerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]([a-z0-9_.-]{0,61}[a-z0-9_])?$", max_length=63)]
"""An owner's name is a POSIX user name: it is a folder's name below the upload directory."""

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
    """What a VM is made of. `ssd_mib` is its root disk, `hdd_mib` a second, empty disk (0: none)."""

    cpu: Annotated[int, Field(ge=1, le=512)]
    ram_mib: Annotated[int, Field(ge=64, le=64 * 1024 * 1024)]
    ssd_mib: Annotated[int, Field(ge=1, le=1024 * 1024 * 1024)]
    hdd_mib: Annotated[int, Field(ge=0, le=1024 * 1024 * 1024)] = 0


class VmRequest(Record):
    """What the owner wants; `/v1/vm/<uuid>`. Each change by the API counts `generation` up."""

    uuid: str
    owner: OwnerName
    name: VmName
    specs: Specs
    image: str
    """The image's uuid."""
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
    ports: tuple[str, ...] = ()


class Role(StrEnum):
    """What a host is to do with a VM: run it, or take it over from another host."""

    RUN = "run"
    INCOMING = "incoming"


class Placement(Record):
    """The order to a host; `/v1/placement/<host>/<uuid>`. It carries the whole request: a host reads no second key.

    `epoch` counts the placements of a VM: a status with an older epoch speaks of an earlier life on another host.
    """

    epoch: int
    role: Role = Role.RUN
    generation: int
    request: VmRequest
    placed_at: datetime


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
    events: tuple[Event, ...] = ()

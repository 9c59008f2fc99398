"""A VM: what its owner requests, what the scheduler orders, what the host sees, and which requests are allowed when."""

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


_LIVING = frozenset({Requested.RUNNING, Requested.STOPPED, Requested.DELETED})
_ALL = _LIVING | {Requested.SUSPENDED}

ALLOWED_REQUESTS: dict[Actual, frozenset[Requested]] = {
    Actual.PENDING: _LIVING,
    Actual.DEPLOYING: _LIVING,
    Actual.STARTING: _LIVING,
    Actual.RUNNING: _ALL,
    Actual.SUSPENDED: _ALL,
    Actual.STOPPING: frozenset({Requested.STOPPED, Requested.DELETED}),
    Actual.STOPPED: _LIVING,
    Actual.MIGRATING: _LIVING,
    Actual.KILLED: _LIVING,
    Actual.DELETING: frozenset({Requested.DELETED}),
    Actual.DELETED: frozenset({Requested.DELETED}),
    Actual.ERROR: _LIVING,
    Actual.UNKNOWN: _LIVING,
}
"""Which state may be requested while the VM actually is in one. A suspend needs a guest that runs."""


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
    generation: int = 1
    created_at: datetime
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
    """Where the host answers for a VM's serial log. `token` is the bearer token that opens it."""

    url: str
    token: Annotated[str, Field(repr=False)]


EVENTS_KEPT = 20


class VmStatus(Record):
    """What a host sees of a VM; `/v1/status/vm/<host>/<uuid>`."""

    epoch: int
    generation: int
    """The generation of the request that this status is the answer to."""
    actual: Actual
    reason: str = ""
    since: datetime
    """When `actual` became what it is."""
    addresses: tuple[str, ...] = ()
    console: Console | None = None
    events: tuple[Event, ...] = ()

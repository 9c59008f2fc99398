"""A VM host: the admin's word on it, what it measured of itself, its sign of life."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from common.schemas.image import DEFAULT_STORE, StoreName
from common.schemas.owner import OwnerName
from common.schemas.record import Part, Record
from common.schemas.vm import HostName, LabelName


class HostState(StrEnum):
    """What the admin lets a host do."""

    ENABLED = "enabled"
    DRAINING = "draining"
    """Gets no new VMs; those that it has are to leave."""
    DISABLED = "disabled"
    """Gets no new VMs; those that it has stay."""


class Overcommit(Part):
    """How much more may be promised than there is."""

    cpu: Annotated[float, Field(ge=0.1, le=64)] = 4.0
    ram: Annotated[float, Field(ge=0.1, le=4)] = 1.0
    disk: Annotated[float, Field(ge=0.1, le=16)] = 1.0


class ConfirmedDead(Part):
    """An admin's word that a silent host is off, and stays off until it is looked at."""

    boot_id: str
    """Of which boot of the host it speaks: a later one is not meant."""
    since: datetime
    """Of which silence it speaks: `since` of the verdict that the admin saw. A later one is not meant."""
    at: datetime
    by: str


class HostRequest(Record):
    """The admin's word on a host; `/v1/host/<name>`. A host without one is enabled with the default overcommit."""

    name: HostName
    state: HostState = HostState.ENABLED
    drain_cold: bool = False
    """DRAINING: guests that can't leave while they run are shut down and started again elsewhere."""
    overcommit: Overcommit = Overcommit()
    labels: dict[LabelName, str] = Field(default_factory=dict)
    tenants: tuple[OwnerName, ...] = ()
    """Whose VMs it takes; empty: everybody's."""
    confirmed_dead: ConfirmedDead | None = None
    generation: int = 1


class StoreCapacity(Part):
    """Disk space that a host can use. Hosts that name the same `store_id` share it, and it is counted once."""

    store_id: str
    total_mib: int
    free_mib: int | None = None
    """About how much more it takes; None where the store does not tell."""


class HostStatus(Record):
    """What a host measured of itself; `/v1/status/host/<name>`."""

    name: HostName
    cpu: int
    ram_mib: int
    """Memory for guests: what the machine has, less what is kept for the host itself."""
    ssd: StoreCapacity | None = None
    hdd: StoreCapacity | None = None
    image_store: StoreName = DEFAULT_STORE
    """What the store of images is called that it makes root disks from."""
    addresses: tuple[str, ...] = ()
    hypervisor: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    boot_id: str = ""
    moves_live: bool = False
    """Its hypervisor can send and take guests that run."""


class Alive(Record):
    """A host's sign of life; `/v1/alive/<name>`, gone when its lease is."""

    name: HostName
    boot_id: str
    guarded_s: float | None = None
    """So many seconds after the last renewal the host's guard has ended its HA VMs; None: there is no guard."""

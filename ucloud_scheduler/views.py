"""What the scheduler knows of hosts and VMs, as plans read it: frozen, and free of etcd."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.schemas.host import HostState
from common.schemas.vm import Placement, Specs, VmRequest, VmStatus


@dataclass(frozen=True)
class Disk:
    """Disk space that a host can use, overcommit included. Hosts that name the same `store_id` share it."""

    store_id: str
    total_mib: int


@dataclass(frozen=True)
class Host:
    """A host's capacity, overcommit included, and what it has promised."""

    name: str
    state: HostState = HostState.ENABLED
    is_alive: bool = False
    is_registered: bool = False
    """Whether it has reported its capacity; without, all capacities are 0."""
    cpu: int = 0
    ram_mib: int = 0
    ssd: Disk | None = None
    hdd: Disk | None = None
    used_cpu: int = 0
    used_ram_mib: int = 0


@dataclass(frozen=True)
class Placed:
    """A placement at `revision`; `record` is None when it can't be read, which does not make it absent."""

    record: Placement | None
    revision: int


@dataclass(frozen=True)
class Reported:
    """A host's status of a VM at `revision`; `record` is None when it can't be read."""

    record: VmStatus | None
    revision: int


@dataclass(frozen=True)
class Vm:
    """All that is known of a VM."""

    uuid: str
    request: VmRequest | None = None
    revision: int = 0
    is_malformed: bool = False
    """The request can't be read as it stands; `request` is the last good one, if there was one."""
    placements: Mapping[str, Placed] = field(default_factory=dict)
    """By host."""
    statuses: Mapping[str, Reported] = field(default_factory=dict)
    """By the host that reports."""
    pending: VmStatus | None = None
    """Why it has no placement, as reported to its owner."""


@dataclass(frozen=True)
class Snapshot:
    """What one plan is made from: the VMs to look at, every host, and what is used of each store (MiB by store_id)."""

    vms: tuple[Vm, ...]
    hosts: Mapping[str, Host]
    used_mib: Mapping[str, int]


def specs_of(placed: Placed, request: VmRequest | None) -> Specs | None:
    """What a placement takes from its host; for one that can't be read, what the request says."""
    if placed.record:
        return placed.record.request.specs
    return request.specs if request else None

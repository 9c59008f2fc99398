"""What the scheduler knows of hosts and VMs, as plans read it: frozen, and free of etcd.

Tuples, because thousands are made anew each second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from common.schemas.host import HostState
from common.schemas.image import DEFAULT_STORE
from common.schemas.record import Record
from common.schemas.verdict import Sentence
from common.schemas.vm import Actual, Affinity, MoveReport, Placement, Role, Specs, VmRequest

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class BriefStatus(Record):
    """What the scheduler reads of a VmStatus, and all that it writes of one. The events alone are much larger."""

    epoch: int
    generation: int
    actual: Actual
    reason: str = ""
    since: datetime
    move: MoveReport | None = None


@dataclass(frozen=True, slots=True)
class Disk:
    """Disk space that a host can use, overcommit included. Hosts that name the same `store_id` share it."""

    store_id: str
    total_mib: int


class Judged(NamedTuple):
    """A host's verdict at `revision`."""

    sentence: Sentence
    revision: int


class Host(NamedTuple):
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
    image_store: str = DEFAULT_STORE
    used_cpu: int = 0
    used_ram_mib: int = 0
    ha_cpu: int = 0
    """What of it is promised to VMs that are started elsewhere when this host dies."""
    ha_ram_mib: int = 0
    verdict: Judged | None = None
    labels: Mapping[str, str] = _NOTHING
    tenants: frozenset[str] = frozenset()
    """Whose VMs it takes; empty: everybody's."""
    moves_live: bool = False
    """It can send and take guests that run."""
    drain_cold: bool = False
    """While it is drained, guests that can't leave otherwise are shut down and started elsewhere."""

    @property
    def is_dead(self) -> bool:
        """Whether its HA VMs may be started elsewhere; not where it is alive again, whatever the verdict still says."""
        return self.verdict is not None and self.verdict.sentence is Sentence.DEAD and not self.is_alive

    def load(self, more_cpu: int = 0, more_ram_mib: int = 0) -> float:
        """How full it is with that much more promised, 0 to 1: the fuller of its memory and its processors."""
        return max(
            (self.used_ram_mib + more_ram_mib) / max(self.ram_mib, 1), (self.used_cpu + more_cpu) / max(self.cpu, 1)
        )


class Placed(NamedTuple):
    """A placement at `revision`; `record` is None when it can't be read, which does not make it absent."""

    record: Placement | None
    revision: int


class Reported(NamedTuple):
    """A host's status of a VM at `revision`; `record` is None when it can't be read."""

    record: BriefStatus | None
    revision: int


class Vm(NamedTuple):
    """All that is known of a VM."""

    uuid: str
    request: VmRequest | None = None
    revision: int = 0
    is_malformed: bool = False
    """The request can't be read as it stands; `request` is the last good one, if there was one."""
    placements: Mapping[str, Placed] = _NOTHING
    """By host."""
    statuses: Mapping[str, Reported] = _NOTHING
    """By the host that reports."""
    pending: BriefStatus | None = None
    """Why it has no placement, as reported to its owner."""


Members = Mapping[tuple[str, str], Mapping[str, Mapping[str, Affinity]]]
"""What the VMs that name a group want of it, by the group's owner and name, by host, by VM."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one plan is made from."""

    vms: tuple[Vm, ...]
    """Those to look at."""
    hosts: Mapping[str, Host]
    """All there are, by name."""
    used_mib: Mapping[str, int]
    """What is used of each store, by store_id."""
    open: Sequence[tuple[float, str]]
    """Load and name of the hosts that take VMs, the emptiest first."""
    closed: Mapping[str, str]
    """Why the other hosts take none, by name."""
    groups: Members = field(default_factory=dict)
    """The VMs that are placed and name a group."""
    has_tenants: bool = False
    """Whether any host takes the VMs of certain owners only."""
    keeps_spare: bool = False
    """Whether so much is kept free that the loss of any host can be made good."""


def specs_of(placed: Placed, request: VmRequest | None) -> Specs | None:
    """What a placement takes from its host; for one that can't be read, what the request says.

    Where a VM moves between hosts that share a store, its disks are counted on the one that runs it. Each snapshot
    counts like the disks that it is of.
    """
    if placed.record is None:
        return request.specs if request else None
    specs, snapshots = placed.record.request.specs, placed.record.request.snapshots
    if not _holds_disks(placed.record):
        return specs.model_copy(update={"disks": ()})
    held = tuple(disk for snapshot in snapshots for disk in snapshot.disks)
    return specs.model_copy(update={"disks": (*specs.disks, *held)}) if held else specs


def _holds_disks(placement: Placement) -> bool:
    match placement.role:
        case Role.RUN:
            return True
        case Role.INCOMING:
            return placement.copies_disks
        case Role.LEFT:
            return placement.leaving is not None and placement.leaving.copies_disks

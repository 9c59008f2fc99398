"""What ucloud_vm's plan is told of a VM on this host, and the steps that it can take with it. Data alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from common.schemas.disk import DiskSpec
from common.schemas.port import Port, PortId
from common.schemas.vm import Console, Specs
from ucloud_vm.hypervisor import Domain, Journey


@dataclass(frozen=True)
class CreateDisks:
    """Make disks that are missing."""

    image: str
    disks: tuple[DiskSpec, ...]


@dataclass(frozen=True)
class GrowDisks:
    """Grow those of the disks that are smaller than is said; a guest that runs sees it at once."""

    disks: tuple[DiskSpec, ...]


@dataclass(frozen=True)
class Define:
    """Tell the hypervisor of the VM."""

    epoch: int
    specs: Specs
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class Start:
    """Define the VM anew, as its specs and ports may have changed, and start it."""

    epoch: int
    specs: Specs
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class ShutDown:
    """Press the power button."""


@dataclass(frozen=True)
class PowerOff:
    """Cut the power."""

    reason: str


@dataclass(frozen=True)
class Suspend:
    """Pause the guest."""


@dataclass(frozen=True)
class Resume:
    """Let a paused guest go on."""


@dataclass(frozen=True)
class Plug:
    """Give a guest that runs a card for a port."""

    port: Port


@dataclass(frozen=True)
class Unplug:
    """Ask a guest that runs to let go of the card of a port."""

    port: PortId


@dataclass(frozen=True)
class PlugDisk:
    """Give a guest that runs a disk that the store has."""

    serial: str


@dataclass(frozen=True)
class UnplugDisk:
    """Ask a guest that runs to let go of a disk."""

    serial: str


@dataclass(frozen=True)
class SetHa:
    """Note whether the guest is to end when this host loses touch with the cloud."""

    ha: bool


@dataclass(frozen=True)
class Undefine:
    """Remove the domain, which is off, with its sockets and its serial log; the disks stay."""


@dataclass(frozen=True)
class RemoveDisk:
    """Remove one disk, for good."""

    serial: str


@dataclass(frozen=True)
class RemoveDisks:
    """Remove all disks, for good."""


@dataclass(frozen=True)
class TakeSnapshot:
    """Make a snapshot of disks, of which none has it, at one moment: a guest that runs stands still for it."""

    snapshot: str
    disks: tuple[str, ...]


@dataclass(frozen=True)
class RemoveSnapshot:
    """Remove a snapshot from all disks that have it: nobody wants it, or it was broken off and is to be taken anew."""

    snapshot: str
    broken_off: bool = False


@dataclass(frozen=True)
class RollBack:
    """Make the disks, whose guest is off, what they were in a snapshot, and remember that by the number of the wish."""

    number: int
    snapshot: str
    disks: tuple[str, ...]


@dataclass(frozen=True)
class MakeFolder:
    """Make the folder of sockets of a VM that comes from another host."""


@dataclass(frozen=True)
class CreateArrivingDisks:
    """Make empty disks for those of another host to be copied into."""

    disks: tuple[DiskSpec, ...]


@dataclass(frozen=True)
class KeepArrivedDisks:
    """The disks that were copied here are whole: they are the VM's from now."""


@dataclass(frozen=True)
class DropArrivingDisks:
    """Remove the disks that were made to be copied into; others stay."""


@dataclass(frozen=True)
class Send:
    """Begin to send the guest to another host."""

    journey: Journey


@dataclass(frozen=True)
class StopSending:
    """Let the guest stay that is being sent."""


@dataclass(frozen=True)
class AllowDowntime:
    """Let the guest that is being sent stand still for longer at the end."""

    downtime_ms: int


@dataclass(frozen=True)
class SendRestLater:
    """Let the guest go on at its new host before all of its memory is there."""


DiskAction = (
    CreateDisks | CreateArrivingDisks | GrowDisks | RemoveDisk | RemoveDisks | KeepArrivedDisks | DropArrivingDisks
)
SendAction = Send | StopSending | AllowDowntime | SendRestLater
DomainAction = SetHa | Define | Start | ShutDown | PowerOff | Suspend | Resume | Undefine | MakeFolder
PlugAction = Plug | Unplug | PlugDisk | UnplugDisk
SnapshotAction = TakeSnapshot | RemoveSnapshot | RollBack
Action = DiskAction | SendAction | DomainAction | PlugAction | SnapshotAction


@dataclass(frozen=True)
class Sent:
    """What this life of the daemon knows of a guest that it began to send, which gets `epoch` at its new host."""

    epoch: int
    under_way: bool = True
    problem: str = ""
    """Why it failed; empty when it did not, or not yet."""


@dataclass(frozen=True)
class Observation:
    """What is here of a VM. `run_files`: its folder of sockets or its serial log; `disk_files`: any part of a disk.

    `disks_mib` are the sizes of the disks that the store has, by their serials; None where it does not answer, while
    the guest is on. `unfinished` are the serials of those that are not whole. `obstacle` says why what is here could
    not be found out.
    """

    console: Console
    domain: Domain | None = None
    disks_mib: Mapping[str, int] | None = field(default_factory=dict)
    unfinished: frozenset[str] = frozenset()
    disk_files: bool = False
    run_files: bool = False
    shutdown_asked_at: datetime | None = None
    """When the power button was last pressed in this life of the guest, as far as this daemon knows."""
    obstacle: str = ""
    ha: bool = True
    """Whether its guest ends when this host loses touch with the cloud."""
    sent: Sent | None = None
    """Looked at before `domain`."""
    told: frozenset[Action] = frozenset()
    """What has been done, in this life of the daemon, with the guest since it is being sent."""
    dock: str | None = None
    """Where this host takes the VM from another one (destination.py); None: nothing is prepared. Empty: it takes no
    guest that runs."""
    disks_arriving: bool = False
    """Its disks were made to be copied into, and nobody has found them whole yet."""
    lacking: Mapping[str, str] = field(default_factory=dict)
    """The networks of its ports, by their uuids, that this host has no bridge of; each with the reason."""
    unplug_asked_at: Mapping[PortId, datetime] = field(default_factory=dict)
    """When this daemon last asked its guest to let go of a port."""
    disk_asked_at: Mapping[str, datetime] = field(default_factory=dict)
    """When it last asked it to let go of a disk, by its serial."""
    snapshots: Mapping[str, Mapping[str, datetime]] | None = None
    """Of each disk that there is, by its serial: its snapshots, by their ids, and when they were taken. None: the store
    does not answer."""
    rolled_back: int = 0
    """The number of the last roll-back that was done with its disks."""

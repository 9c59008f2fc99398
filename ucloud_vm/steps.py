"""What ucloud_vm's plan is told of a VM on this host, and the steps that it can take with it. Data alone."""

from dataclasses import dataclass
from datetime import datetime

from common.schemas.vm import Console, Specs
from ucloud_vm.hypervisor import Domain


@dataclass(frozen=True)
class CreateDisks:
    """Make the disks that are missing."""

    image: str
    specs: Specs


@dataclass(frozen=True)
class GrowDisks:
    """Grow the disks that are smaller than the specs say; a guest that runs sees it at once."""

    specs: Specs


@dataclass(frozen=True)
class Define:
    """Tell the hypervisor of the VM."""

    epoch: int
    specs: Specs


@dataclass(frozen=True)
class Start:
    """Define the VM anew, as its specs may have changed, and start it."""

    epoch: int
    specs: Specs


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
class Undefine:
    """Remove the domain, which is off, with its sockets and its serial log; the disks stay."""


@dataclass(frozen=True)
class RemoveDisks:
    """Remove the disks, for good."""


Action = CreateDisks | GrowDisks | Define | Start | ShutDown | PowerOff | Suspend | Resume | Undefine | RemoveDisks


@dataclass(frozen=True)
class Observation:
    """What is here of a VM. `run_files`: its folder of sockets or its serial log; `disk_files`: any part of a disk.

    `root_mib` and `hdd_mib` are the sizes of its disks; None where there is no disk, or, while the guest is on, where
    the store does not answer. `obstacle` says why what is here could not be found out.
    """

    console: Console
    domain: Domain | None = None
    root_mib: int | None = None
    hdd_mib: int | None = None
    disk_files: bool = False
    run_files: bool = False
    shutdown_asked_at: datetime | None = None
    """When the power button was last pressed in this life of the guest, as far as this daemon knows."""
    obstacle: str = ""

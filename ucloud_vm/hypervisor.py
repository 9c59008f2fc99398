"""What ucloud_vm asks of a hypervisor. It knows domains by the uuids of their VMs and tells ours from others'."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from common.schemas.disk import DiskSpec
from common.schemas.port import PortId
from common.schemas.vm import Specs
from common.storage import Disk


class Power(Enum):
    """What the machine of a domain does."""

    OFF = "off"
    RUNNING = "running"
    PAUSED = "paused"
    STUCK = "stuck"
    """Paused by the hypervisor, because a disk can't be written."""
    STARTING = "starting"
    """Not yet running, and nobody may be going on with the start: the hypervisor may have died in its midst."""
    DYING = "dying"
    """Its guest has died, which the hypervisor has yet to find out."""
    CHANGING = "changing"
    """On its way; to be looked at again soon."""
    BETWEEN = "between"
    """Paused by the hypervisor between two hosts: it is arriving here, or was sent away and may be elsewhere by now."""


class OffCause(Enum):
    """Why a domain is off, as far as the hypervisor remembers."""

    GUEST = "guest"
    """The guest shut down."""
    DESTROYED = "destroyed"
    """Its power was cut, through the hypervisor."""
    CRASHED = "crashed"
    MOVED = "moved"
    """Another host has taken the guest over."""
    FAILED = "failed"
    """It could not be started."""
    UNKNOWN = "unknown"
    """It was never started, or its host was; it may have been lost by the hypervisor as well."""


@dataclass(frozen=True)
class Sending:
    """How far a guest that is being sent to another host has got.

    `percent` is of its memory, and of its disks where they go, too; `passes` is how often its memory was gone through;
    at the end it may stand still for `max_downtime_ms`, 0 where that is not known.
    """

    percent: int
    passes: int
    max_downtime_ms: int


@dataclass(frozen=True)
class Domain:
    """A VM as the hypervisor has it. `epoch` is that of the placement it was defined for."""

    epoch: int
    power: Power
    off_cause: OffCause = OffCause.UNKNOWN
    specs: Specs | None = None
    """What it was defined with; a guest that is on was started with these. None: that is not known."""
    disks: frozenset[str] = frozenset()
    """The serials of the disks that it has: now, if it is on, else from its next start."""
    grows: bool = True
    """Whether its disks can be grown while it is on."""
    ports: frozenset[PortId] = frozenset()
    """Those that it has cards for: now, if it is on, else from its next start."""
    plugs: bool = True
    """Whether ports and disks can be plugged in and unplugged while it is on."""
    takes_snapshots: bool = True
    """Whether snapshots of its disks can be taken and removed while it is on."""
    sending: Sending | None = None
    """It is being sent to another host. Looked at before `power`: None and RUNNING means that it is not, and stays."""


@dataclass(frozen=True)
class Journey:
    """That a guest is to go to `destination` (destination.py), where it gets `epoch`; its disks, too, or not.

    `post_copy`: it may be told to go on there before all of its memory has come.
    """

    epoch: int
    destination: str
    copies_disks: bool
    post_copy: bool


@dataclass(frozen=True)
class Nic:
    """A port as its guest gets it: a card with a MAC address, and a tap that is in a bridge of this host.

    `mtu` is that of the bridge, in octets; 0 while there is none.
    """

    port: PortId
    mac: str
    tap: str
    bridge: str
    mtu: int


@dataclass(frozen=True)
class Machine:
    """What a domain is made of. The sockets and the serial log are the hypervisor's to make, in folders that exist.

    `disks` are by their serials, the root disk first; `seed` is the image of a disk that its guest can only read.
    """

    vm_uuid: str
    epoch: int
    specs: Specs
    disks: Mapping[str, Disk]
    serial_socket: Path
    serial_log: Path
    vnc_socket: Path
    nics: tuple[Nic, ...] = ()
    seed: Path | None = None


class Hypervisor(Protocol):
    """The hypervisor of this host.

    Each method may raise Unavailable (the hypervisor does not answer), TemporaryError or PermanentError (it refuses;
    the text is for the owner). A step whose outcome is there already is done.
    """

    def find(self, vm_uuid: str) -> Domain | None:
        """The domain of a VM; PermanentError when there is one with its uuid that is not ours."""
        ...

    def vms(self) -> frozenset[str]:
        """The VMs that have a domain here."""
        ...

    def define(self, machine: Machine) -> None:
        """Define a domain, or change it for its next start."""
        ...

    def start(self, vm_uuid: str) -> None:
        """Start a domain."""
        ...

    def shut_down(self, vm_uuid: str) -> None:
        """Press the power button; it is the guest's to answer."""
        ...

    def power_off(self, vm_uuid: str) -> None:
        """Cut the power."""
        ...

    def suspend(self, vm_uuid: str) -> None:
        """Pause the guest."""
        ...

    def resume(self, vm_uuid: str) -> None:
        """Let a paused guest go on."""
        ...

    def send(self, vm_uuid: str, journey: Journey) -> None:
        """Send a guest that is on to another host, while it runs. Returns when it is there and its domain here is off.

        Takes minutes, and must not take the connection that the other calls need. TemporaryError or PermanentError
        says why it failed, not where the guest is.
        """
        ...

    def stop_sending(self, vm_uuid: str) -> None:
        """Let a guest stay that is being sent."""
        ...

    def allow_downtime(self, vm_uuid: str, downtime_ms: int) -> None:
        """Let a guest that is being sent stand still for so long at the end."""
        ...

    def send_rest_later(self, vm_uuid: str) -> None:
        """Let a guest that is being sent go on at the other host now; what is left of its memory follows."""
        ...

    def grow_disks(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """Grow those disks of a guest that is on that are smaller than is said; it need not have them all."""
        ...

    def plug_disk(self, vm_uuid: str, serial: str, disk: Disk) -> None:
        """Plug a disk into a guest that is on; it has it from its next start, too."""
        ...

    def unplug_disk(self, vm_uuid: str, serial: str) -> None:
        """Ask a guest that is on to let go of a disk; it goes when the guest has done so."""
        ...

    def take_snapshot(self, vm_uuid: str, snapshot: str, serials: Collection[str]) -> None:
        """Make a snapshot of disks that are files, of a guest that is on: of all at one moment, or of none."""
        ...

    def remove_snapshot(self, vm_uuid: str, snapshot: str, serials: Collection[str]) -> None:
        """Remove a snapshot of disks that are files, each of which has it, of a guest that is on."""
        ...

    def plug(self, vm_uuid: str, nic: Nic) -> None:
        """Plug a card into a guest that is on."""
        ...

    def unplug(self, vm_uuid: str, port: PortId) -> None:
        """Ask a guest that is on to let go of the card of a port; it goes when the guest has done so."""
        ...

    def screenshot(self, vm_uuid: str) -> bytes:
        """What the display of a guest that is on shows, as PNG."""
        ...

    def undefine(self, vm_uuid: str) -> None:
        """Forget a domain that is off."""
        ...

    def socket_owner(self) -> tuple[int, int]:
        """The uid and gid that the hypervisor's processes make their sockets as."""
        ...

    def subscribe(self, listener: Callable[[str | None], None]) -> None:
        """Call `listener` with the uuid of a VM whose domain may have changed, None if it may be any."""
        ...

"""What libvirt's drivers are like where they differ: QEMU's, and its test driver, whose guests are nothing but a state.

The test driver is for volume: thousands of guests that start at once and cost nothing, behind the same libvirtd, daemon
and code as real ones. A harness has it by settings alone:

    [vm]
    libvirt_uri = test+unix:///default?socket=/run/libvirt/libvirt-sock

Its guests live in libvirtd as long as any connection to this URI is open. So the harness holds one of its own, beside
ucloud-vm, which may be killed at any time:

    virsh --quiet --connect URI event --event lifecycle --loop

libvirtd's end is the end of its guests and their domains: they are deployed anew on their disks, which are real.
Such a guest answers its power button at once; `virsh destroy` kills it. It has neither serial line nor log, its display
shows libvirt's logo, its disks don't grow and its ports don't change before it is started again; it has to be off for
a snapshot, and to move to another host. Its ports have no taps, though the bridges of their networks are waited for.
"""

from dataclasses import dataclass

import libvirt


@dataclass(frozen=True)
class Traits:
    """What a driver of libvirt wants, and can. `domain_type` is empty where it is the accelerator's."""

    domain_type: str
    shutdown_flags: int
    undefine_flags: int
    grows_disks: bool
    plugs_ports: bool
    takes_snapshots: bool
    moves_live: bool
    keeps_secrets: bool


_QEMU = Traits(
    domain_type="",
    shutdown_flags=libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
    undefine_flags=libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM,
    grows_disks=True,
    plugs_ports=True,
    takes_snapshots=True,
    moves_live=True,
    keeps_secrets=True,
)
_TEST = Traits(
    domain_type="test",
    shutdown_flags=0,
    undefine_flags=libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
    grows_disks=False,
    plugs_ports=False,
    takes_snapshots=False,
    moves_live=False,
    keeps_secrets=False,
)


def traits_of(connection_type: str) -> Traits:
    """The traits of the driver that virConnectGetType names so."""
    return _TEST if connection_type.upper() == "TEST" else _QEMU

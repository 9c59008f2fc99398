"""Which disks a VM is to get, to have grown and to lose, and what it waits for meanwhile. Pure.

A guest that runs gets a disk once the store has it, and lets go of one when it answers to being asked, as with a port;
one that is off is defined anew. It must never have an empty disk made in the place of one that the VM had, nor one
removed that a domain has or that is requested.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from common.schemas.disk import HDD, ROOT, DiskSpec
from common.schemas.vm import Specs
from ucloud_vm.hypervisor import Domain, Power
from ucloud_vm.planning.plugging import ASK_AGAIN, LOOK_AGAIN_S
from ucloud_vm.planning.steps import Action, CreateDisks, GrowDisks, Observation, PlugDisk, RemoveDisk, UnplugDisk

LATER = "its disks change with its next start: the hypervisor of its host can't plug them in while it runs"
KEEPS = "the guest has not let go of a disk that it is to lose"


@dataclass(frozen=True)
class Chores:
    """What to do about the disks of a VM that is else as it is to be; `reason` is why that is not all, else empty."""

    actions: tuple[Action, ...] = ()
    reason: str = ""
    again_in_s: float | None = None


def called(serial: str) -> str:
    """A disk, as its owner is told of it."""
    return {ROOT: "SSD", HDD: "HDD"}.get(serial, f"disk {serial}")


def missing(disks: Iterable[DiskSpec], observed: Observation) -> tuple[DiskSpec, ...]:
    """Those that the store lacks; none while it does not answer."""
    if observed.disks_mib is None:
        return ()
    return tuple(disk for disk in disks if disk.serial not in observed.disks_mib)


def lost(disks: Iterable[DiskSpec], observed: Observation, domain: Domain) -> list[str]:
    """The disks that are missing though the VM had them; one that it has not had yet is no loss."""
    return [called(disk.serial) for disk in missing(disks, observed) if disk.serial in domain.disks]


def present(specs: Specs, observed: Observation) -> Specs:
    """The specs with those of the disks that the store has."""
    lacks = missing(specs.disks, observed)
    return specs.model_copy(update={"disks": tuple(disk for disk in specs.disks if disk not in lacks)})


def fits(disks: Iterable[DiskSpec], domain: Domain) -> bool:
    """Whether a domain has these disks, and no others."""
    return domain.disks == {disk.serial for disk in disks}


def small(disks: Iterable[DiskSpec], observed: Observation, domain: Domain) -> tuple[DiskSpec, ...]:
    """Those that are smaller than they are to be, and can be grown now."""
    sizes_mib = observed.disks_mib or {}
    is_on = domain.power is not Power.OFF
    if is_on and not domain.grows:
        return ()
    return tuple(
        disk
        for disk in disks
        if sizes_mib.get(disk.serial, disk.size_mib) < disk.size_mib and (not is_on or disk.serial in domain.disks)
    )


def in_use(disks: Iterable[DiskSpec], observed: Observation, domain: Domain, told: Specs | None) -> Specs | None:
    """What a guest that is on was started with, and which disks it has and sees how large by now.

    `told` is what was last told of that: of a disk that is no longer requested nothing else says what it is.
    """
    if domain.power is Power.OFF or domain.specs is None:
        return None
    wanted = {disk.serial: disk for disk in disks}
    known = wanted | {disk.serial: disk for specs in (domain.specs, told) if specs for disk in specs.disks}
    sizes_mib = observed.disks_mib or {}
    # In the order of the request, so that a VM that is as requested says the same.
    has = tuple(
        known[serial].model_copy(update={"size_mib": sizes_mib.get(serial) or known[serial].size_mib})
        for serial in dict.fromkeys((*wanted, *known))
        if serial in domain.disks
    )
    return domain.specs.model_copy(update={"disks": has}) if has and has[0].serial == ROOT else None


def change(image: str, disks: tuple[DiskSpec, ...], observed: Observation, said: str, now: datetime) -> Chores:
    """The next steps with the disks of a VM that is else as it is to be; `said` is the reason that was last told of it.

    One that is off is defined anew by who asks.
    """
    domain = observed.domain
    if domain is None or observed.disks_mib is None:
        return Chores()
    has = domain.disks
    wanted = {disk.serial for disk in disks}
    stored = observed.disks_mib.keys() | observed.unfinished
    actions: tuple[Action, ...] = tuple(RemoveDisk(serial) for serial in sorted(stored - wanted - has))
    if growing := small(disks, observed, domain):
        actions = (GrowDisks(growing), *actions)
    new = [disk for disk in disks if disk.serial not in has]
    lacks = missing(new, observed)
    if domain.power is Power.OFF:
        return Chores((CreateDisks(image, lacks), *actions) if lacks else actions)
    if domain.power is not Power.RUNNING or fits(disks, domain):
        return Chores(actions)
    if not domain.plugs:
        return Chores(actions, LATER)
    if lacks:
        actions = (CreateDisks(image, lacks), *actions)
    actions = (*(PlugDisk(disk.serial) for disk in new if disk not in lacks), *actions)
    return _let_go(sorted(has - wanted), actions, observed, said, now)


def _let_go(serials: list[str], actions: tuple[Action, ...], observed: Observation, said: str, now: datetime) -> Chores:
    """What is done, and that the guest is asked to let go of some disks."""
    asked = {serial: observed.disk_asked_at.get(serial) for serial in serials}
    due = [serial for serial, asked_at in asked.items() if asked_at is None or now - asked_at >= ASK_AGAIN]
    keeps = KEEPS if asked and (KEEPS in said or any(asked[serial] for serial in due)) else ""
    actions = (*actions, *map(UnplugDisk, due))
    since = [asked_at for asked_at in asked.values() if asked_at]
    left_s = min(((asked_at + ASK_AGAIN - now).total_seconds() for asked_at in since), default=LOOK_AGAIN_S)
    return Chores(actions, keeps, None if actions else min(left_s, LOOK_AGAIN_S))

"""The machine as the controller sees it: what is here of a VM, and one step at a time towards what should be."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from common.errors import PermanentError, TemporaryError
from common.schemas.disk import DiskSpec
from common.schemas.port import PortId
from common.schemas.vm import Specs
from common.storage import Disk, DiskStore, RbdDisk, VmDisks
from ucloud_vm.console.access import Access
from ucloud_vm.console.log import SerialLogs
from ucloud_vm.deathwatch import Deathwatch
from ucloud_vm.destination import Files, RbdPlace
from ucloud_vm.hypervisor import Domain, Hypervisor, Machine, Nic, OffCause, Power
from ucloud_vm.migration import Migrations
from ucloud_vm.nics import Nics
from ucloud_vm.planning import disks, steps
from ucloud_vm.planning.plugging import KEEPS
from ucloud_vm.planning.report import NOT_ORDERED
from ucloud_vm.planning.steps import Action, Observation
from ucloud_vm.run_directory import RunDirectory, is_uuid
from ucloud_vm.seeds import Seeds
from ucloud_vm.snapshot_keeper import SnapshotKeeper

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """Each part of the machine that VMs are made of."""

    hypervisor: Hypervisor
    disks: DiskStore
    access: Access
    logs: SerialLogs
    run_directory: RunDirectory
    deathwatch: Deathwatch
    migrations: Migrations
    nics: Nics
    seeds: Seeds


class VmDriver:
    """A common.controller.Driver for VMs."""

    def __init__(self, parts: Parts) -> None:
        self._hypervisor = parts.hypervisor
        self._disks = parts.disks
        self._access = parts.access
        self._logs = parts.logs
        self._run_directory = parts.run_directory
        self._deathwatch = parts.deathwatch
        self._migrations = parts.migrations
        self._nics = parts.nics
        self._seeds = parts.seeds
        self._snapshots = SnapshotKeeper(parts.hypervisor, parts.disks)
        self._shutdown_asked_at: dict[str, datetime] = {}
        self._unplug_asked_at: dict[str, dict[PortId, datetime]] = {}
        self._disk_asked_at: dict[str, dict[str, datetime]] = {}
        self._guests: dict[str, Domain] = {}

    def observe(self, name: str) -> Observation:
        """What is here of the VM `name`."""
        _check(name)
        console = self._access.console(name)
        sent = self._migrations.sent(name)
        try:
            domain = self._find(name)
        except PermanentError as error:
            return Observation(console, obstacle=str(error))
        run_files = self._run_directory.exists(name) or self._logs.exists(name)
        try:
            stored: VmDisks | None = self._disks.disks(name)
        except TemporaryError as error:
            if domain is None or domain.power is Power.OFF:
                return Observation(console, domain, run_files=run_files, obstacle=str(error))
            # A guest that runs has its disks, and can be stopped even when the store does not answer.
            stored = None
        return Observation(
            console,
            domain,
            disks_mib={serial: disk.size_mib for serial, disk in stored.whole.items()} if stored else None,
            unfinished=stored.unfinished if stored else frozenset(),
            disk_files=stored is None or stored.leftovers,
            run_files=run_files,
            shutdown_asked_at=self._shutdown_asked_at.get(name),
            sent=sent,
            told=self._migrations.told(name),
            dock=self._dock(name, stored) if stored else None,
            disks_arriving=stored is not None and stored.arriving,
            lacking=self._nics.lacking(name),
            unplug_asked_at=dict(self._unplug_asked_at.get(name, {})),
            disk_asked_at=dict(self._disk_asked_at.get(name, {})),
            snapshots={serial: disk.snapshots for serial, disk in stored.whole.items()} if stored else None,
            rolled_back=stored.rolled_back if stored else 0,
        )

    def apply(self, name: str, action: Action) -> None:
        """Take one step."""
        _check(name)
        if isinstance(action, steps.DiskAction):
            self._change_disks(name, action)
        elif isinstance(action, steps.SendAction):
            self._migrations.take(name, action)
        elif isinstance(action, steps.PlugAction):
            self._plug(name, action)
        elif isinstance(action, steps.SnapshotAction):
            self._snapshots.apply(name, action)
        else:
            self._change_domain(name, action)

    def _change_domain(self, name: str, action: steps.DomainAction) -> None:
        match action:
            case steps.Define(epoch, specs, ports):
                self._define(name, epoch, specs, self._nics.of(ports))
            case steps.Start(epoch, specs, ports):
                self._shutdown_asked_at.pop(name, None)
                self._forget_asking(name)
                self._define(name, epoch, specs, self._nics.ready(ports))
                self._write_seed(name)
                # Nobody else may use them any more; and of a guest that was killed here, they are to be free.
                self._disks.expel(name)
                self._hypervisor.start(name)
            case steps.ShutDown():
                self._hypervisor.shut_down(name)
                self._shutdown_asked_at[name] = datetime.now(UTC)
            case steps.PowerOff(reason):
                self._power_off(name, reason)
            case steps.Suspend():
                self._hypervisor.suspend(name)
            case steps.Resume():
                self._hypervisor.resume(name)
            case steps.Undefine():
                self._undefine(name)
            case steps.MakeFolder():
                self._run_directory.make(name, self._hypervisor.socket_owner())
                self._write_seed(name)

    def _forget_asking(self, name: str) -> None:
        self._unplug_asked_at.pop(name, None)
        self._disk_asked_at.pop(name, None)

    def _plug(self, name: str, action: steps.PlugAction) -> None:
        match action:
            case steps.Plug(port):
                (nic,) = self._nics.ready((port,))
                self._hypervisor.plug(name, nic)
            case steps.Unplug(port_id):
                self._unplug_asked_at.setdefault(name, {})[port_id] = datetime.now(UTC)
                try:
                    self._hypervisor.unplug(name, port_id)
                except TemporaryError as error:
                    # It may well say that the guest has been asked before.
                    _log.warning("VM %s keeps port %s: %s", name, port_id, error)
                    raise TemporaryError(KEEPS) from error
            case steps.PlugDisk(serial):
                (disk,) = self._stored(name, (serial,)).values()
                self._hypervisor.plug_disk(name, serial, disk)
            case steps.UnplugDisk(serial):
                self._disk_asked_at.setdefault(name, {})[serial] = datetime.now(UTC)
                try:
                    self._hypervisor.unplug_disk(name, serial)
                except TemporaryError as error:
                    _log.warning("VM %s keeps disk %s: %s", name, serial, error)
                    raise TemporaryError(disks.KEEPS) from error

    def _stored(self, name: str, serials: Iterable[str]) -> dict[str, Disk]:
        """Disks that the store has; TemporaryError when it lacks one."""
        whole = self._disks.disks(name).whole
        if lost := [disks.called(serial) for serial in serials if serial not in whole]:
            raise TemporaryError(f"its {' and '.join(lost)} is gone from this host's store")
        return {serial: whole[serial] for serial in serials}

    def _dock(self, name: str, stored: VmDisks) -> str | None:
        seed = self._seeds.of(name)
        if stored.root is None or not self._run_directory.exists(name) or (seed and not seed.exists()):
            return None
        files = Files(
            disks={serial: _locator(disk) for serial, disk in stored.whole.items()},
            serial_socket=str(self._run_directory.serial_socket(name)),
            serial_log=str(self._logs.path(name)),
            vnc_socket=str(self._run_directory.vnc_socket(name)),
            seed=str(seed) if seed else "",
        )
        return self._migrations.dock(files)

    def _find(self, name: str) -> Domain | None:
        """The domain of a VM, as the hypervisor has it or is about to find it.

        libvirt answers nothing of a guest that has died until its process has been reaped. So the first look at such
        a guest goes without libvirt; the later ones wait for it.
        """
        known = self._guests.pop(name, None)
        if known is None or not self._deathwatch.is_dead(name):
            known = self._hypervisor.find(name)
            if known is None or known.power is Power.OFF:
                self._deathwatch.forget(name)
                return known
        if self._deathwatch.is_dead(name):
            return replace(known, power=Power.DYING, off_cause=OffCause.CRASHED, sending=None)
        if known.power in (Power.RUNNING, Power.PAUSED, Power.STUCK):
            self._deathwatch.watch(name)
            self._guests[name] = known
        return known

    def known(self) -> frozenset[str]:
        """The VMs of which there is a domain, a folder of sockets or a serial log here."""
        return self._hypervisor.vms() | self._logs.vms() | self._run_directory.vms()

    def _define(self, name: str, epoch: int, specs: Specs, nics: tuple[Nic, ...]) -> None:
        stored = self._stored(name, [disk.serial for disk in specs.disks])
        self._run_directory.make(name, self._hypervisor.socket_owner())
        self._hypervisor.define(
            Machine(
                vm_uuid=name,
                epoch=epoch,
                specs=specs,
                disks=stored,
                serial_socket=self._run_directory.serial_socket(name),
                serial_log=self._logs.path(name),
                vnc_socket=self._run_directory.vnc_socket(name),
                nics=nics,
                seed=self._seeds.of(name),
            )
        )

    def _write_seed(self, name: str) -> None:
        if self._seeds.of(name):
            self._seeds.write(name, self._hypervisor.socket_owner())

    def _change_disks(self, name: str, action: steps.DiskAction) -> None:
        match action:
            case steps.CreateDisks(image, wanted):
                self._disks.create(name, image, wanted)
            case steps.CreateArrivingDisks(wanted):
                self._disks.prepare_arrival(name, wanted)
            case steps.KeepArrivedDisks():
                self._disks.keep_arrival(name)
            case steps.DropArrivingDisks():
                self._disks.drop_arrival(name)
            case steps.GrowDisks(wanted):
                self._grow_disks(name, wanted)
            case steps.RemoveDisk(serial):
                self._disks.remove_disk(name, serial)
            case steps.RemoveDisks():
                self._disks.remove(name)

    def _grow_disks(self, name: str, wanted: tuple[DiskSpec, ...]) -> None:
        domain = self._hypervisor.find(name)
        if domain and domain.power is not Power.OFF:
            self._disks.check_growth(name, wanted)
            self._hypervisor.grow_disks(name, wanted)
        else:
            self._disks.grow(name, wanted)

    def _power_off(self, name: str, reason: str) -> None:
        if reason == NOT_ORDERED:
            _log.warning("VM %s is powered off: %s; its disks stay", name, reason)
        self._hypervisor.power_off(name)

    def _undefine(self, name: str) -> None:
        self._hypervisor.undefine(name)
        self._shutdown_asked_at.pop(name, None)
        self._forget_asking(name)
        self._migrations.forget(name)
        self._run_directory.remove(name)
        try:
            self._logs.remove(name)
        except OSError as error:
            raise TemporaryError(f"can't remove the VM's serial log: {error.strerror}") from error


def _locator(disk: Disk) -> str:
    """A disk as other hosts are told of it."""
    if isinstance(disk, RbdDisk):
        return str(RbdPlace(str(disk.conf), f"{disk.pool}/{disk.image}"))
    return str(disk.path)


def _check(name: str) -> None:
    """PermanentError unless `name`, which becomes part of paths, is a uuid."""
    if not is_uuid(name):
        raise PermanentError(f"{name!r} is not the uuid of a VM")

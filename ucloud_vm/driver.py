"""The machine as the controller sees it: what is here of a VM, and one step at a time towards what should be."""

import logging
import os
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

from common.errors import PermanentError, TemporaryError
from common.schemas.vm import Specs
from common.storage import DiskStore
from ucloud_vm import plan
from ucloud_vm.hypervisor import Hypervisor, Machine, Power
from ucloud_vm.plan import Action, Observation
from ucloud_vm.serial_log import SerialLogs

_log = logging.getLogger(__name__)


class VmDriver:
    """A common.controller.Driver for VMs. `run_directory` gets a folder of sockets for each VM.

    Paths of sockets are short because sun_path has 108 bytes: unix(7).
    """

    def __init__(self, hypervisor: Hypervisor, disks: DiskStore, logs: SerialLogs, run_directory: Path) -> None:
        self._hypervisor = hypervisor
        self._disks = disks
        self._logs = logs
        self._run_directory = run_directory
        self._shutdown_asked_at: dict[str, datetime] = {}

    def observe(self, name: str) -> Observation:
        """What is here of the VM `name`."""
        _check(name)
        console = self._logs.console(name)
        try:
            domain = self._hypervisor.find(name)
        except PermanentError as error:
            return Observation(console, obstacle=str(error))
        run_files = self._sockets(name).exists() or self._logs.exists(name)
        asked_at = self._shutdown_asked_at.get(name)
        if domain and domain.power is not Power.OFF:
            # A guest that runs has its disks, and can be stopped even when the store does not answer.
            return Observation(console, domain, True, True, True, run_files, asked_at)
        try:
            stored = self._disks.disks(name)
        except TemporaryError as error:
            return Observation(console, domain, run_files=run_files, obstacle=str(error))
        root, hdd = stored.root is not None, stored.hdd is not None
        return Observation(console, domain, root, hdd, stored.leftovers, run_files, asked_at)

    def apply(self, name: str, action: Action) -> None:
        """Take one step."""
        _check(name)
        match action:
            case plan.CreateDisks(image, specs):
                self._disks.create(name, image, specs.ssd_mib, specs.hdd_mib)
            case plan.Define(epoch, specs):
                self._define(name, epoch, specs)
            case plan.Start(epoch, specs):
                self._shutdown_asked_at.pop(name, None)
                self._define(name, epoch, specs)
                self._hypervisor.start(name)
            case plan.ShutDown():
                self._hypervisor.shut_down(name)
                self._shutdown_asked_at[name] = datetime.now(UTC)
            case plan.PowerOff(reason):
                self._power_off(name, reason)
            case plan.Suspend():
                self._hypervisor.suspend(name)
            case plan.Resume():
                self._hypervisor.resume(name)
            case plan.Undefine():
                self._undefine(name)
            case plan.RemoveDisks():
                self._disks.remove(name)

    def known(self) -> frozenset[str]:
        """The VMs of which there is a domain, a folder of sockets or a serial log here."""
        folders = frozenset(path.name for path in self._run_directory.iterdir() if _is_uuid(path.name))
        return self._hypervisor.vms() | self._logs.vms() | folders

    def _define(self, name: str, epoch: int, specs: Specs) -> None:
        stored = self._disks.disks(name)
        if stored.root is None:
            raise TemporaryError("its SSD is gone from this host's store")
        self._make_socket_folder(name)
        sockets = self._sockets(name)
        self._hypervisor.define(
            Machine(
                vm_uuid=name,
                epoch=epoch,
                specs=specs,
                root=stored.root,
                hdd=stored.hdd if specs.hdd_mib else None,
                serial_socket=sockets / "serial.sock",
                serial_log=self._logs.path(name),
                vnc_socket=sockets / "vnc.sock",
            )
        )

    def _make_socket_folder(self, name: str) -> None:
        """A folder that only root and the hypervisor's processes get into: VNC asks for no password."""
        owner = self._hypervisor.socket_owner()
        try:
            self._sockets(name).mkdir(0o700, exist_ok=True)
            os.chown(self._sockets(name), *owner)
        except OSError as error:
            raise TemporaryError(f"can't make a folder for the VM's sockets: {error.strerror}") from error

    def _power_off(self, name: str, reason: str) -> None:
        if reason == plan.NOT_ORDERED:
            _log.warning("VM %s is powered off: %s; its disks stay", name, reason)
        self._hypervisor.power_off(name)

    def _undefine(self, name: str) -> None:
        self._hypervisor.undefine(name)
        self._shutdown_asked_at.pop(name, None)
        try:
            if self._sockets(name).exists():
                shutil.rmtree(self._sockets(name))
            self._logs.remove(name)
        except OSError as error:
            raise TemporaryError(f"can't remove the VM's sockets and serial log: {error.strerror}") from error

    def _sockets(self, name: str) -> Path:
        return self._run_directory / name


def _is_uuid(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _check(name: str) -> None:
    """PermanentError unless `name`, which becomes part of paths, is a uuid."""
    if not _is_uuid(name):
        raise PermanentError(f"{name!r} is not the uuid of a VM")

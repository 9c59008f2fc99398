"""The disks of VMs in one directory: qcow2 files in a folder for each VM. It knows nothing of templates.

Files appear by a rename, so a process that is killed at any point leaves nothing that looks whole and is not.
"""

import errno
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import PermanentError, TemporaryError
from common.schemas.disk import SERIAL_PATTERN
from common.schemas.host import StoreCapacity
from common.storage import FileDisk, capacity_of, qcow2_snapshots
from common.storage.names import UUID, checked
from common.storage.qcow2 import read_header
from common.storage.qemu_img import qemu_img

DIRECTORY_MODE = 0o711
"""QEMU may run as a user of its own, who must get through to its disks but need not list them."""
MIB = 1024 * 1024
_ARRIVING = ".arriving"
_ROLLED_BACK = ".rolled-back"
_DISK = re.compile(rf"({SERIAL_PATTERN})\.qcow2")
_DRAFT = re.compile(rf"\.({SERIAL_PATTERN})\.{UUID.pattern}")
_ID_FILE = ".ucloud-store"


class DiskDirectory:
    """The disks of VMs in one directory, and the id that tells it from another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._id_file = path / _ID_FILE
        with os_errors(f"set up {path}"):
            (path / "vms").mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
            self._store_id = self._read_or_make_id()
            self._direct_io = _can_direct_io(self._id_file)

    def _read_or_make_id(self) -> str:
        if not self._id_file.exists():
            draft = self._path / f"{_ID_FILE}.{uuid.uuid4()}"
            draft.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
            try:
                # Unlike a rename, a link fails when another host was faster.
                os.link(draft, self._id_file)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return self._id_file.read_text(encoding="ascii").strip()

    def identity(self) -> str:
        """The id of the directory, which is mounted."""
        self.check()
        return self._store_id

    def check(self) -> None:
        """TemporaryError when the directory is not the one that it was at the start."""
        with os_errors(f"use {self._path}, is it mounted?"):
            store_id = self._id_file.read_text(encoding="ascii").strip()
        if store_id != self._store_id:
            raise TemporaryError(f"{self._path} is another store than when this daemon started")

    @contextmanager
    def lock(self, kind: int) -> Iterator[None]:
        """Hold a lock of flock(2) on the store, over all hosts that share it."""
        self.check()
        with os_errors(f"lock {self._path}"):
            # Written to, as locks over NFS require; nothing is ever written.
            descriptor = os.open(self._id_file, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def vm(self, vm_uuid: str) -> Path:
        """The folder of a VM."""
        return self._path / "vms" / checked(vm_uuid)

    def vms(self) -> frozenset[str]:
        """The VMs that have a folder."""
        self.check()
        with os_errors(f"list {self._path}"):
            return frozenset(path.name for path in (self._path / "vms").iterdir() if UUID.fullmatch(path.name))

    def disks(self, vm_uuid: str) -> dict[str, FileDisk]:
        """The disks of a VM that are whole, by their serials."""
        return {match[1]: self._disk(path) for path, match in self._matches(vm_uuid, _DISK)}

    def disk(self, vm_uuid: str, serial: str) -> FileDisk | None:
        """A disk that is whole."""
        self.check()
        path = self._file(vm_uuid, serial)
        return self._disk(path) if path.exists() else None

    def drafts(self, vm_uuid: str) -> frozenset[str]:
        """The serials of the disks that were begun to be made, whether they are whole by now or not."""
        return frozenset(match[1] for _, match in self._matches(vm_uuid, _DRAFT))

    def _disk(self, path: Path) -> FileDisk:
        try:
            size_mib = read_header(path).virtual_size_bytes // MIB
        except PermanentError:
            size_mib = 0  # it can still be removed
        return FileDisk(path, self._direct_io, size_mib, qcow2_snapshots.read(path))

    def _file(self, vm_uuid: str, serial: str) -> Path:
        return self.vm(vm_uuid) / f"{_checked_serial(serial)}.qcow2"

    def _matches(self, vm_uuid: str, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
        return [(path, match) for path in self.files(vm_uuid) if (match := pattern.fullmatch(path.name))]

    def files(self, vm_uuid: str) -> list[Path]:
        """All files of a VM: its disks, and drafts of such."""
        self.check()
        folder = self.vm(vm_uuid)
        return list(folder.iterdir()) if folder.exists() else []

    def is_arriving(self, vm_uuid: str) -> bool:
        """Whether the disks of a VM here were made to be copied into."""
        self.check()
        return (self.vm(vm_uuid) / _ARRIVING).exists()

    def mark_arriving(self, vm_uuid: str) -> None:
        """Make the folder of a VM, with the mark; PermanentError when there is anything else in it."""
        self.check()
        folder = self.vm(vm_uuid)
        with os_errors(f"make a folder for the disks of VM {vm_uuid}"):
            folder.mkdir(DIRECTORY_MODE, exist_ok=True)
            if not (folder / _ARRIVING).exists() and any(folder.iterdir()):
                raise PermanentError("there are disks of this VM in the store of the host that it is to be copied to")
            (folder / _ARRIVING).touch()

    def rolled_back(self, vm_uuid: str) -> int:
        """The number of the last roll-back that was done; 0: none was."""
        self.check()
        with os_errors(f"look at the disks of VM {vm_uuid}"):
            try:
                return int((self.vm(vm_uuid) / _ROLLED_BACK).read_text(encoding="ascii"))
            except FileNotFoundError:
                return 0

    def note_rolled_back(self, vm_uuid: str, number: int) -> None:
        """Say that a roll-back was done, for good."""
        self.check()
        with os_errors(f"roll VM {vm_uuid} back"):
            draft = self.vm(vm_uuid) / f"{_ROLLED_BACK}.{uuid.uuid4()}"
            draft.write_text(f"{number}\n", encoding="ascii")
            rename_durably(draft, self.vm(vm_uuid) / _ROLLED_BACK)

    def keep(self, vm_uuid: str) -> None:
        """Take the mark away."""
        self.check()
        with os_errors(f"keep the disks of VM {vm_uuid}"):
            (self.vm(vm_uuid) / _ARRIVING).unlink(missing_ok=True)

    def remove(self, vm_uuid: str) -> None:
        """Remove the folder of a VM. The mark of arriving disks goes last, lest a part of them looks like the VM's."""
        self.check()
        folder = self.vm(vm_uuid)
        with os_errors(f"remove the disks of VM {vm_uuid}"):
            if not folder.exists():
                return
            for path in folder.iterdir():
                if path.name != _ARRIVING:
                    path.unlink()
            shutil.rmtree(folder)

    def create_disk(self, vm_uuid: str, serial: str, size_mib: int, options: tuple[str, ...] = ()) -> None:
        """Make a disk under another name, then give it its own."""
        self.check()
        target = self._file(vm_uuid, serial)
        with os_errors(f"make the disks of VM {vm_uuid}"):
            target.parent.mkdir(DIRECTORY_MODE, exist_ok=True)
            self._remove_drafts(vm_uuid, serial)
            # A name of its own: the qemu-img of a killed daemon may still be at work on the last one.
            draft = target.parent / f".{serial}.{uuid.uuid4()}"
            qemu_img("create", "-q", "-f", "qcow2", *options, str(draft), f"{size_mib}M")
            draft.chmod(0o600)  # what libvirtd hands to QEMU's user is still nobody else's to read
            rename_durably(draft, target)

    def remove_disk(self, vm_uuid: str, serial: str) -> None:
        """Remove a disk, and what was begun of it; nothing is fine."""
        self.check()
        with os_errors(f"remove a disk of VM {vm_uuid}"):
            self._file(vm_uuid, serial).unlink(missing_ok=True)
            self._remove_drafts(vm_uuid, serial)

    def _remove_drafts(self, vm_uuid: str, serial: str) -> None:
        for draft, match in self._matches(vm_uuid, _DRAFT):
            if match[1] == serial:
                draft.unlink(missing_ok=True)

    def capacity(self) -> StoreCapacity:
        """The size of the file system."""
        numbers = self._measure()
        total_mib, free_mib = (blocks * numbers.f_frsize // MIB for blocks in (numbers.f_blocks, numbers.f_bavail))
        return capacity_of(self._store_id, total_mib, free_mib)

    def free_mib(self) -> int:
        """What is left of the file system."""
        numbers = self._measure()
        return numbers.f_bavail * numbers.f_frsize // MIB

    def _measure(self) -> os.statvfs_result:
        self.check()
        with os_errors(f"measure {self._path}"):
            return os.statvfs(self._path)


def _checked_serial(serial: str) -> str:
    """`serial`, which becomes a part of a path, if it is one."""
    if not re.fullmatch(SERIAL_PATTERN, serial):
        raise PermanentError(f"{serial!r} is not the serial of a disk")
    return serial


def rename_durably(source: Path, target: Path) -> None:
    """rename(2) that holds over a loss of power, contents included."""
    _sync(source)
    source.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _can_direct_io(path: Path) -> bool:
    """Whether the file system takes O_DIRECT; some (older tmpfs, some FUSE) refuse it."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


@contextmanager
def os_errors(task: str) -> Iterator[None]:
    """Turn errors of the operating system into TemporaryError: disks fill up and empty, mounts go and come."""
    try:
        yield
    except OSError as error:
        raise TemporaryError(f"can't {task}: {error.strerror}") from error

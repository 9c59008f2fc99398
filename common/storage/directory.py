"""The directory store: qcow2 files in a directory, which hosts may share if its file system has locks (as NFS has).

    <ssd>/templates/<image>.qcow2         read-only
    <ssd>/vms/<vm>/root.qcow2             an overlay on its template
    <hdd>/vms/<vm>/hdd.qcow2
    <ssd|hdd>/vms/<vm>/.arriving          says that the disks were made for another host's to be copied into
    <ssd|hdd>/.ucloud-store               the store's id; its absence says that the file system is not mounted

Files appear by a rename, so a process that is killed at any point leaves nothing that looks whole and is not.
"""

import errno
import fcntl
import logging
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from common.errors import PermanentError, TemporaryError
from common.schemas.host import StoreCapacity
from common.settings import StorageSettings
from common.storage import Capacities, CephSecret, FileDisk, VmDisks, capacity_of
from common.storage.qcow2 import read_header
from common.storage.qemu_locks import is_locked

_log = logging.getLogger(__name__)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ID_FILE = ".ucloud-store"
_ARRIVING = ".arriving"
_MIB = 1024 * 1024
_QEMU_IMG_TIMEOUT_S = 60
# QEMU may run as a user of its own, who must get through to its disks but need not list them.
_DIRECTORY_MODE = 0o711


class DirectoryStore:
    """An ImageStore and a DiskStore in one directory, or two: `hdd_directory` may be on larger, slower disks."""

    def __init__(self, settings: StorageSettings) -> None:
        """Set the directories up where they are not yet; TemporaryError when that can't be done."""
        self._ssd = _Directory(settings.ssd_directory)
        self._hdd = _Directory(settings.hdd_directory) if settings.hdd_directory else None
        self._templates = settings.ssd_directory / "templates"
        with _os_errors("set up the store"):
            self._templates.mkdir(_DIRECTORY_MODE, exist_ok=True)

    def stage(self, image_uuid: str, prepared: Path) -> str:
        """See ImageStore. `prepared` must be on the store's file system, and is moved."""
        draft = self._templates / f".{_checked(image_uuid)}.{uuid.uuid4()}"
        if read_header(prepared).backing_file:
            raise PermanentError(f"image {image_uuid} has a backing file: a template must be whole")
        self._ssd.check()
        with _os_errors(f"import image {image_uuid}"):
            prepared.chmod(0o444)
            prepared.rename(draft)
        return draft.name

    def publish(self, image_uuid: str, draft: str) -> None:
        """See ImageStore."""
        self._ssd.check()
        with _os_errors(f"import image {image_uuid}"):
            _rename_durably(self._templates / draft, self._template(image_uuid))

    def drafts(self) -> Mapping[str, frozenset[str]]:
        """See ImageStore."""
        self._ssd.check()
        found: dict[str, frozenset[str]] = {}
        with _os_errors("list the drafts of images"):
            for path in self._templates.glob(".*.*"):
                image = path.name.split(".")[1]
                found[image] = found.get(image, frozenset()) | {path.name}
        return found

    def drop_drafts(self, image_uuid: str) -> None:
        """See ImageStore."""
        self._ssd.check()
        with _os_errors(f"remove the drafts of image {image_uuid}"):
            for path in self._templates.glob(f".{_checked(image_uuid)}.*"):
                path.unlink(missing_ok=True)

    def has_template(self, image_uuid: str) -> bool:
        """See ImageStore."""
        self._ssd.check()
        return self._template(image_uuid).exists()

    def remove_template(self, image_uuid: str) -> None:
        """See ImageStore."""
        template = self._template(image_uuid)
        with self._ssd.lock(fcntl.LOCK_EX), _os_errors(f"remove image {image_uuid}"):
            users = [vm for vm in sorted(self.vms()) if self._rests_on(vm, template)]
            if users:
                raise PermanentError(f"image {image_uuid} is in use by VM {', '.join(users)}")
            template.unlink(missing_ok=True)
        self.drop_drafts(image_uuid)

    def templates(self) -> frozenset[str]:
        """See ImageStore."""
        self._ssd.check()
        with _os_errors("list the images"):
            return frozenset(path.stem for path in self._templates.iterdir() if _UUID.fullmatch(path.stem))

    def create(self, vm_uuid: str, image_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore."""
        present = self.disks(vm_uuid)
        if present.root is None:
            self._create_root(vm_uuid, image_uuid, ssd_mib)
        if hdd_mib and present.hdd is None:
            self._hdd_part().create_disk(vm_uuid, "hdd", hdd_mib, ())

    def _create_root(self, vm_uuid: str, image_uuid: str, ssd_mib: int) -> None:
        # Shared with other clones, exclusive with the removal of a template.
        with self._ssd.lock(fcntl.LOCK_SH):
            template = self._template(image_uuid)
            if not template.exists():
                raise PermanentError(f"image {image_uuid} is not in the store of this host")
            size_mib = -(-read_header(template).virtual_size_bytes // _MIB)
            if size_mib > ssd_mib:
                raise PermanentError(f"image {image_uuid} takes {size_mib} MiB, the VM's SSD has only {ssd_mib} MiB")
            # A relative name, so that the whole store can be moved.
            backing = os.path.relpath(template, self._ssd.vm(vm_uuid))
            self._ssd.create_disk(vm_uuid, "root", ssd_mib, ("-F", "qcow2", "-b", backing))

    def prepare_arrival(self, vm_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore. The mark comes first: a store that others share has none, and is left as it is."""
        wanted = [(self._ssd, "root", ssd_mib)]
        if hdd_mib:
            wanted.append((self._hdd_part(), "hdd", hdd_mib))
        for part, _, _ in wanted:
            part.mark_arriving(vm_uuid)
        for part, name, size_mib in wanted:
            if part.disk(vm_uuid, name) is None:
                part.create_disk(vm_uuid, name, size_mib, ())

    def keep_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for part in self._parts():
            part.check()
            with _os_errors(f"keep the disks of VM {vm_uuid}"):
                (part.vm(vm_uuid) / _ARRIVING).unlink(missing_ok=True)

    def drop_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for part in self._parts():
            if part.is_arriving(vm_uuid):
                part.remove(vm_uuid)

    def _hdd_part(self) -> "_Directory":
        if self._hdd is None:
            raise PermanentError("this host has no store for HDDs")
        return self._hdd

    def disks(self, vm_uuid: str) -> VmDisks:
        """See DiskStore."""
        return VmDisks(
            root=self._ssd.disk(vm_uuid, "root"),
            hdd=self._hdd.disk(vm_uuid, "hdd") if self._hdd else None,
            leftovers=any(part.vm(vm_uuid).exists() for part in self._parts()),
            arriving=any(part.is_arriving(vm_uuid) for part in self._parts()),
        )

    def is_in_use(self, vm_uuid: str) -> bool | None:
        """See DiskStore. Disks that are only being made count as well."""
        try:
            return any(is_locked(file) for part in self._parts() for file in part.files(vm_uuid))
        except (OSError, TemporaryError) as error:
            _log.warning("can't tell whether the disks of VM %s are in use: %s", vm_uuid, error)
            return None

    def expel(self, vm_uuid: str) -> None:
        """See DiskStore. QEMU's locks of files can't be taken away."""

    def grow(self, vm_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore. qemu-img writes the new size last, and takes the lock of the image, which a guest holds."""
        self.check_growth(vm_uuid, ssd_mib, hdd_mib)
        for _, disk, size_mib in self._growths(vm_uuid, ssd_mib, hdd_mib):
            _qemu_img("resize", "-q", "-f", "qcow2", str(disk.path), f"{size_mib}M")

    def check_growth(self, vm_uuid: str, ssd_mib: int, hdd_mib: int) -> None:
        """See DiskStore. Disks are sparse; still, what a file system has no room for now must not be promised."""
        for part, disk, size_mib in self._growths(vm_uuid, ssd_mib, hdd_mib):
            if part.free_mib() < size_mib - disk.size_mib:
                raise TemporaryError(
                    f"can't grow the {disk.path.stem} disk to {size_mib} MiB: its host's store has not that much room"
                )

    def _growths(self, vm_uuid: str, ssd_mib: int, hdd_mib: int) -> list[tuple["_Directory", FileDisk, int]]:
        """The disks that are too small, each with where it is and the size that it is to have."""
        root = self._ssd.disk(vm_uuid, "root")
        hdd = self._hdd.disk(vm_uuid, "hdd") if self._hdd else None
        wanted = ((self._ssd, root, ssd_mib), (self._hdd, hdd, hdd_mib))
        return [(part, disk, size) for part, disk, size in wanted if part and disk and disk.size_mib < size]

    def remove(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for part in self._parts():
            part.remove(vm_uuid)

    def vms(self) -> frozenset[str]:
        """See DiskStore."""
        return frozenset[str]().union(*(part.vms() for part in self._parts()))

    def capacity(self) -> Capacities:
        """See DiskStore. Directories on one file system are two stores: don't do that, or name one directory twice."""
        return Capacities(self._ssd.capacity(), self._hdd.capacity() if self._hdd else None)

    def store_ids(self) -> tuple[str, str | None]:
        """See DiskStore."""
        return self._ssd.identity(), self._hdd.identity() if self._hdd else None

    def secrets(self) -> tuple[CephSecret, ...]:
        """See DiskStore. Files need none."""
        return ()

    def _parts(self) -> tuple["_Directory", ...]:
        return (self._ssd, self._hdd) if self._hdd else (self._ssd,)

    def _template(self, image_uuid: str) -> Path:
        return self._templates / f"{_checked(image_uuid)}.qcow2"

    def _rests_on(self, vm_uuid: str, template: Path) -> bool:
        root = self._ssd.disk(vm_uuid, "root")
        return root is not None and Path(read_header(root.path).backing_file).name == template.name


class _Directory:
    """The disks of VMs in one directory, and the id that tells it from another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._id_file = path / _ID_FILE
        with _os_errors(f"set up {path}"):
            (path / "vms").mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
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
        with _os_errors(f"use {self._path}, is it mounted?"):
            store_id = self._id_file.read_text(encoding="ascii").strip()
        if store_id != self._store_id:
            raise TemporaryError(f"{self._path} is another store than when this daemon started")

    @contextmanager
    def lock(self, kind: int) -> Iterator[None]:
        """Hold a lock of flock(2) on the store, over all hosts that share it."""
        self.check()
        with _os_errors(f"lock {self._path}"):
            # Written to, as locks over NFS require; nothing is ever written.
            descriptor = os.open(self._id_file, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    def vm(self, vm_uuid: str) -> Path:
        """The folder of a VM."""
        return self._path / "vms" / _checked(vm_uuid)

    def vms(self) -> frozenset[str]:
        """The VMs that have a folder."""
        self.check()
        with _os_errors(f"list {self._path}"):
            return frozenset(path.name for path in (self._path / "vms").iterdir() if _UUID.fullmatch(path.name))

    def disk(self, vm_uuid: str, name: str) -> FileDisk | None:
        """A disk that is whole."""
        self.check()
        path = self.vm(vm_uuid) / f"{name}.qcow2"
        if not path.exists():
            return None
        try:
            size_mib = read_header(path).virtual_size_bytes // _MIB
        except PermanentError:
            size_mib = 0  # it can still be removed
        return FileDisk(path, self._direct_io, size_mib)

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
        with _os_errors(f"make a folder for the disks of VM {vm_uuid}"):
            folder.mkdir(_DIRECTORY_MODE, exist_ok=True)
            if not (folder / _ARRIVING).exists() and any(folder.iterdir()):
                raise PermanentError("there are disks of this VM in the store of the host that it is to be copied to")
            (folder / _ARRIVING).touch()

    def remove(self, vm_uuid: str) -> None:
        """Remove the folder of a VM. The mark of arriving disks goes last, lest a part of them looks like the VM's."""
        self.check()
        folder = self.vm(vm_uuid)
        with _os_errors(f"remove the disks of VM {vm_uuid}"):
            if not folder.exists():
                return
            for path in folder.iterdir():
                if path.name != _ARRIVING:
                    path.unlink()
            shutil.rmtree(folder)

    def create_disk(self, vm_uuid: str, name: str, size_mib: int, options: tuple[str, ...]) -> None:
        """Make a disk under another name, then give it its own."""
        self.check()
        folder = self.vm(vm_uuid)
        with _os_errors(f"make the disks of VM {vm_uuid}"):
            folder.mkdir(_DIRECTORY_MODE, exist_ok=True)
            for remains in folder.glob(f".{name}.*"):
                remains.unlink()
            # A name of its own: the qemu-img of a killed daemon may still be at work on the last one.
            draft = folder / f".{name}.{uuid.uuid4()}"
            _qemu_img("create", "-q", "-f", "qcow2", *options, str(draft), f"{size_mib}M")
            draft.chmod(0o600)  # what libvirtd hands to QEMU's user is still nobody else's to read
            _rename_durably(draft, folder / f"{name}.qcow2")

    def capacity(self) -> StoreCapacity:
        """The size of the file system."""
        numbers = self._measure()
        total_mib, free_mib = (blocks * numbers.f_frsize // _MIB for blocks in (numbers.f_blocks, numbers.f_bavail))
        return capacity_of(self._store_id, total_mib, free_mib)

    def free_mib(self) -> int:
        """What is left of the file system."""
        numbers = self._measure()
        return numbers.f_bavail * numbers.f_frsize // _MIB

    def _measure(self) -> os.statvfs_result:
        self.check()
        with _os_errors(f"measure {self._path}"):
            return os.statvfs(self._path)


def _checked(name: str) -> str:
    """`name`, which becomes a part of a path, if it is a uuid."""
    if not _UUID.fullmatch(name):
        raise PermanentError(f"{name!r} is not a uuid in lower case")
    return name


def _rename_durably(source: Path, target: Path) -> None:
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


def _qemu_img(*arguments: str) -> None:
    try:
        subprocess.run(
            ("qemu-img", *arguments),
            check=True,
            capture_output=True,
            text=True,
            timeout=_QEMU_IMG_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise TemporaryError("qemu-img is not installed on this host") from error
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"qemu-img {arguments[0]} took longer than {_QEMU_IMG_TIMEOUT_S} s") from error
    except subprocess.CalledProcessError as error:
        raise TemporaryError(f"qemu-img {arguments[0]} failed: {error.stderr.strip()}") from error


@contextmanager
def _os_errors(task: str) -> Iterator[None]:
    """Turn errors of the operating system into TemporaryError: disks fill up and empty, mounts go and come."""
    try:
        yield
    except OSError as error:
        raise TemporaryError(f"can't {task}: {error.strerror}") from error

"""The directory store: qcow2 files in a directory, which hosts may share if its file system has locks (as NFS has).

    <ssd>/templates/<image>.qcow2         read-only
    <ssd>/templates/.drafts/<image>.<random>
    <ssd>/vms/<vm>/root.qcow2             an overlay on its template
    <ssd|hdd>/vms/<vm>/<serial>.qcow2     another disk
    <ssd|hdd>/vms/<vm>/.arriving          says that the disks were made for another host's to be copied into
    <ssd>/vms/<vm>/.rolled-back           the number of the last roll-back that was done
    <ssd|hdd>/.ucloud-store               the store's id; its absence says that the file system is not mounted

Files appear by a rename, so a process that is killed at any point leaves nothing that looks whole and is not.
"""

import fcntl
import logging
import os
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from common.errors import PermanentError, TemporaryError
from common.schemas.disk import ROOT, DiskKind, DiskSpec
from common.settings import StorageSettings
from common.storage import (
    SNAPSHOT_GONE,
    Capacities,
    CephSecret,
    Convert,
    Disk,
    FileDisk,
    Layers,
    NewFile,
    Staged,
    Target,
    VmDisks,
    qcow2_snapshots,
)
from common.storage.disk_directory import (
    DIRECTORY_MODE,
    MIB,
    DiskDirectory,
    os_errors,
    rename_durably,
)
from common.storage.growth import check_room
from common.storage.names import UUID, checked
from common.storage.qcow2 import read_header
from common.storage.qemu_img import qemu_img
from common.storage.qemu_locks import is_locked

_log = logging.getLogger(__name__)


class DirectoryStore:
    """An ImageStore and a DiskStore in one directory, or two: `hdd_directory` may be on larger, slower disks."""

    def __init__(self, settings: StorageSettings) -> None:
        """Set the directories up where they are not yet; TemporaryError when that can't be done."""
        self._ssd = DiskDirectory(settings.ssd_directory)
        self._hdd = DiskDirectory(settings.hdd_directory) if settings.hdd_directory else None
        self._templates = settings.ssd_directory / "templates"
        self._drafts = self._templates / ".drafts"
        with os_errors("set up the store"):
            self._templates.mkdir(DIRECTORY_MODE, exist_ok=True)
            # Drafts are written by a user that other programs run as, too.
            self._drafts.mkdir(0o700, exist_ok=True)

    def stage(self, image_uuid: str, size_bytes: int, write: Callable[[Target], None]) -> str:
        """See ImageStore. PermanentError when what was written is no whole qcow2 file of that size."""
        draft = self._drafts / f"{checked(image_uuid)}.{uuid.uuid4()}"
        self._ssd.check()
        with os_errors(f"import image {image_uuid}"):
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        write(NewFile(draft))
        header = read_header(draft)
        if header.backing_file or header.virtual_size_bytes != size_bytes:
            raise PermanentError("what was written is another disk than it was to be")
        with os_errors(f"import image {image_uuid}"):
            draft.chmod(0o444)
        return draft.name

    def stage_snapshot(
        self, image_uuid: str, vm_uuid: str, snapshot: str, convert: Convert, tell: Callable[[int], None]
    ) -> Staged:
        """See ImageStore. Whoever converts knows how far that is."""
        root = self._ssd.disk(vm_uuid, ROOT)
        entry = qcow2_snapshots.table(root.path).get(snapshot) if root else None
        if root is None or entry is None:
            raise PermanentError(SNAPSHOT_GONE)
        # QEMU shows a snapshot as large as the disk is now.
        if root.size_mib * MIB < entry.size_bytes:
            raise TemporaryError("the disk of the VM is yet to grow to what it was in the snapshot")
        layers = Layers(root.path, self._backing(root.path), entry.size_bytes)

        def write(target: Target) -> None:
            if isinstance(target, NewFile):
                convert(layers, target.path)
                qemu_img("resize", "-q", "--shrink", "-f", "qcow2", str(target.path), str(layers.size_bytes))

        return Staged(self.stage(image_uuid, layers.size_bytes, write), -(-layers.size_bytes // MIB))

    def publish(self, image_uuid: str, draft: str) -> None:
        """See ImageStore."""
        self._ssd.check()
        with os_errors(f"import image {image_uuid}"):
            rename_durably(self._drafts / draft, self._template(image_uuid))

    def drafts(self) -> Mapping[str, frozenset[str]]:
        """See ImageStore."""
        self._ssd.check()
        found: dict[str, frozenset[str]] = {}
        with os_errors("list the drafts of images"):
            for path in self._drafts.iterdir():
                image = path.name.partition(".")[0]
                found[image] = found.get(image, frozenset()) | {path.name}
        return found

    def drop_drafts(self, image_uuid: str) -> None:
        """See ImageStore."""
        self._ssd.check()
        with os_errors(f"remove the drafts of image {image_uuid}"):
            for path in self._drafts.glob(f"{checked(image_uuid)}.*"):
                path.unlink(missing_ok=True)

    def has_template(self, image_uuid: str) -> bool:
        """See ImageStore."""
        self._ssd.check()
        return self._template(image_uuid).exists()

    def remove_template(self, image_uuid: str) -> None:
        """See ImageStore."""
        template = self._template(image_uuid)
        with self._ssd.lock(fcntl.LOCK_EX), os_errors(f"remove image {image_uuid}"):
            users = [vm for vm in sorted(self.vms()) if self._rests_on(vm, template)]
            if users:
                raise PermanentError(f"image {image_uuid} is in use by VM {', '.join(users)}")
            template.unlink(missing_ok=True)
        self.drop_drafts(image_uuid)

    def templates(self) -> frozenset[str]:
        """See ImageStore."""
        self._ssd.check()
        with os_errors("list the images"):
            return frozenset(path.stem for path in self._templates.iterdir() if UUID.fullmatch(path.stem))

    def create(self, vm_uuid: str, image_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore."""
        for disk in disks:
            part = self._part(disk.kind)
            if part.disk(vm_uuid, disk.serial):
                continue
            if disk.serial == ROOT:
                self._create_root(vm_uuid, image_uuid, disk.size_mib)
            else:
                part.create_disk(vm_uuid, disk.serial, disk.size_mib)

    def _create_root(self, vm_uuid: str, image_uuid: str, size_mib: int) -> None:
        # Shared with other clones, exclusive with the removal of a template.
        with self._ssd.lock(fcntl.LOCK_SH):
            template = self._template(image_uuid)
            if not template.exists():
                raise PermanentError(f"image {image_uuid} is not in the store of this host")
            needed_mib = -(-read_header(template).virtual_size_bytes // MIB)
            if needed_mib > size_mib:
                raise PermanentError(f"image {image_uuid} takes {needed_mib} MiB, the VM's SSD has only {size_mib} MiB")
            # A relative name, so that the whole store can be moved.
            backing = os.path.relpath(template, self._ssd.vm(vm_uuid))
            self._ssd.create_disk(vm_uuid, ROOT, size_mib, ("-F", "qcow2", "-b", backing))

    def prepare_arrival(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore. The mark comes first: a store that others share has none, and is left as it is."""
        wanted = [(self._part(disk.kind), disk) for disk in disks]
        for part in dict.fromkeys(part for part, _ in wanted):
            part.mark_arriving(vm_uuid)
        for part, disk in wanted:
            if part.disk(vm_uuid, disk.serial) is None:
                part.create_disk(vm_uuid, disk.serial, disk.size_mib)

    def keep_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for part in self._parts():
            part.keep(vm_uuid)

    def drop_arrival(self, vm_uuid: str) -> None:
        """See DiskStore."""
        for part in self._parts():
            if part.is_arriving(vm_uuid):
                part.remove(vm_uuid)

    def _part(self, kind: DiskKind) -> DiskDirectory:
        if kind is DiskKind.SSD:
            return self._ssd
        if self._hdd is None:
            raise PermanentError("this host has no store for HDDs")
        return self._hdd

    def disks(self, vm_uuid: str) -> VmDisks:
        """See DiskStore."""
        drafts = frozenset[str]().union(*(part.drafts(vm_uuid) for part in self._parts()))
        # In this order: a draft that became a disk meanwhile is one.
        whole: dict[str, Disk] = {}
        for part in self._parts():
            whole |= part.disks(vm_uuid)
        return VmDisks(
            whole,
            unfinished=drafts - whole.keys(),
            leftovers=any(part.vm(vm_uuid).exists() for part in self._parts()),
            arriving=any(part.is_arriving(vm_uuid) for part in self._parts()),
            rolled_back=self._ssd.rolled_back(vm_uuid),
        )

    def take_snapshot(self, vm_uuid: str, snapshot: str, disks: Collection[str]) -> None:
        """See SnapshotStore."""
        for disk in self._files(vm_uuid, disks):
            qcow2_snapshots.take(disk.path, snapshot)

    def remove_snapshot(self, vm_uuid: str, snapshot: str) -> None:
        """See SnapshotStore."""
        for part in self._parts():
            for disk in part.disks(vm_uuid).values():
                if snapshot in disk.snapshots:
                    qcow2_snapshots.remove(disk.path, snapshot)

    def roll_back(self, vm_uuid: str, snapshot: str, disks: Collection[str], number: int) -> None:
        """See SnapshotStore. Of a file, the tables are changed, not the data."""
        if self._ssd.rolled_back(vm_uuid) >= number:
            return
        files = self._files(vm_uuid, disks)
        if any(snapshot not in disk.snapshots for disk in files):
            raise PermanentError(SNAPSHOT_GONE)
        for disk in files:
            qcow2_snapshots.roll_back(disk.path, snapshot)
        self._ssd.note_rolled_back(vm_uuid, number)

    def _files(self, vm_uuid: str, serials: Collection[str]) -> list[FileDisk]:
        """These disks; TemporaryError when one is not there."""
        return [disk for disk in self.disks(vm_uuid).chosen(serials).values() if isinstance(disk, FileDisk)]

    def is_in_use(self, vm_uuid: str) -> bool | None:
        """See DiskStore. Disks that are only being made count as well."""
        try:
            return any(is_locked(file) for part in self._parts() for file in part.files(vm_uuid))
        except (OSError, TemporaryError) as error:
            _log.warning("can't tell whether the disks of VM %s are in use: %s", vm_uuid, error)
            return None

    def expel(self, vm_uuid: str) -> None:
        """See DiskStore. QEMU's locks of files can't be taken away."""

    def grow(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore. qemu-img writes the new size last, and takes the lock of the image, which a guest holds."""
        growths = self._growths(vm_uuid, disks)
        _check_room(growths)
        for _, disk, wanted in growths:
            qemu_img("resize", "-q", "-f", "qcow2", str(disk.path), f"{wanted.size_mib}M")

    def check_growth(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See DiskStore. Disks are sparse; still, what a file system has no room for now must not be promised."""
        _check_room(self._growths(vm_uuid, disks))

    def _growths(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> list[tuple[DiskDirectory, FileDisk, DiskSpec]]:
        """The disks that are too small, each with where it is and as it is to be."""
        found = []
        for wanted in disks:
            part = self._ssd if wanted.kind is DiskKind.SSD else self._hdd
            disk = part.disk(vm_uuid, wanted.serial) if part else None
            if part and disk and disk.size_mib < wanted.size_mib:
                found.append((part, disk, wanted))
        return found

    def remove_disk(self, vm_uuid: str, serial: str) -> None:
        """See DiskStore."""
        for part in self._parts():
            part.remove_disk(vm_uuid, serial)

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

    def _parts(self) -> tuple[DiskDirectory, ...]:
        return (self._ssd, self._hdd) if self._hdd else (self._ssd,)

    def _template(self, image_uuid: str) -> Path:
        return self._templates / f"{checked(image_uuid)}.qcow2"

    def _backing(self, disk: Path) -> Path | None:
        """The template that a disk rests on, and no other file, whatever is written in it."""
        name = Path(read_header(disk).backing_file)
        return self._template(name.stem) if name.name else None

    def _rests_on(self, vm_uuid: str, template: Path) -> bool:
        root = self._ssd.disk(vm_uuid, ROOT)
        return root is not None and Path(read_header(root.path).backing_file).name == template.name


def _check_room(growths: Iterable[tuple[DiskDirectory, FileDisk, DiskSpec]]) -> None:
    more = ((part, wanted.size_mib - disk.size_mib, wanted) for part, disk, wanted in growths)
    check_room(more, DiskDirectory.free_mib)

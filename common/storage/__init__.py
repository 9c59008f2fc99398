"""Where disks live: templates, which images become, and the disks of VMs, which are made from templates.

One Protocol for each of the two users (ucloud_image imports templates, ucloud_vm makes disks). Every store passes the
same contract tests. A store must never remove the template that a disk rests on, nor a disk without being asked to.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from common.errors import TemporaryError
from common.schemas.disk import ROOT, DiskSpec
from common.schemas.host import StoreCapacity

_STEPS = 128


@dataclass(frozen=True)
class FileDisk:
    """A disk that is a qcow2 file. `direct_io` says whether its file system can do without the page cache.

    `size_mib` is what a guest sees, in whole MiB; 0 when the file is not what it should be. `snapshots` are those of
    ucloud, by their ids, each with when it was taken.
    """

    path: Path
    direct_io: bool
    size_mib: int
    snapshots: Mapping[str, datetime] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class RbdDisk:
    """A disk that is an image of RBD, in a pool of the cluster that `conf` tells of; `client` may use it.

    `size_mib` and `snapshots` are as in FileDisk. The client's key is a secret of the hypervisor, `secret_uuid`.
    """

    pool: str
    image: str
    size_mib: int
    client: str
    conf: Path
    secret_uuid: str
    snapshots: Mapping[str, datetime] = field(default_factory=dict, hash=False)


Disk = FileDisk | RbdDisk


@dataclass(frozen=True)
class CephSecret:
    """The key of a client of Ceph, which a hypervisor is told by its API and by nothing else. `name` is unique."""

    uuid: str
    name: str
    value: bytes = field(repr=False)


@dataclass(frozen=True)
class NewFile:
    """An empty file, to become a whole qcow2 file that names no other."""

    path: Path


@dataclass(frozen=True)
class NbdServer:
    """The unix socket of an NBD server that takes one client, with a disk of nothing but zeros to write to, as raw."""

    socket: Path


Target = NewFile | NbdServer
"""Where the contents of an image are written to."""


@dataclass(frozen=True)
class VmDisks:
    """What a store holds of a VM: its disks that are whole, by their serials, and the serials of those that are not.

    `leftovers`: there is something, if only the beginning of a disk. `arriving`: the disks were made to be copied into,
    and not kept yet. `rolled_back` is the number of the last roll-back that was done with them; 0: none was.
    """

    whole: Mapping[str, Disk] = field(default_factory=dict)
    unfinished: frozenset[str] = frozenset()
    leftovers: bool = False
    arriving: bool = False
    rolled_back: int = 0

    @property
    def root(self) -> Disk | None:
        """The root disk."""
        return self.whole.get(ROOT)

    def chosen(self, serials: Iterable[str]) -> dict[str, Disk]:
        """Some of those that are whole; TemporaryError when one is not there."""
        wanted = tuple(serials)
        if missing := set(wanted) - self.whole.keys():
            raise TemporaryError(f"the disk {', '.join(sorted(missing))} is gone from this host's store")
        return {serial: self.whole[serial] for serial in wanted}


@dataclass(frozen=True)
class Capacities:
    """The size of the store of each class of disks; None where the host has no such store."""

    ssd: StoreCapacity
    hdd: StoreCapacity | None


def capacity_of(store_id: str, total_mib: int, free_mib: int) -> StoreCapacity:
    """What is told of a store: how much is free in steps, as each change is written down and watched."""
    step_mib = 2 ** (total_mib // _STEPS).bit_length()
    return StoreCapacity(store_id=store_id, total_mib=total_mib, free_mib=free_mib // step_mib * step_mib)


class Layers(NamedTuple):
    """The file of a disk, that of the template which it rests on, if it does, and how large the disk is to be."""

    disk: Path
    template: Path | None
    size_bytes: int


Convert = Callable[[Layers, Path], None]
"""Writes what they hold into a file, which is there and empty, as qcow2."""


@dataclass(frozen=True)
class Staged:
    """A draft, and the size of the disk that it is, in MiB."""

    draft: str
    size_mib: int


SNAPSHOT_GONE = "the snapshot is gone from the store"


class ImageStore(Protocol):
    """The templates. TemporaryError when the store can't do its work now."""

    def stage(self, image_uuid: str, size_bytes: int, write: Callable[[Target], None]) -> str:
        """Have `write` write the contents of a disk of that size to where it is told; returns the name of a draft.

        What `write` raises is raised, and leaves a draft that is not whole.
        """
        ...

    def stage_snapshot(
        self, image_uuid: str, vm_uuid: str, snapshot: str, convert: Convert, tell: Callable[[int], None]
    ) -> Staged:
        """Take the contents of a VM's root disk, whose guest may be on, as it was in a snapshot: a draft of its own.

        Where disks are files, `convert` writes it into another one; else `tell` hears how far it is, in percent.
        PermanentError when there is no such snapshot here.
        """
        ...

    def publish(self, image_uuid: str, draft: str) -> None:
        """Make a draft the template, at once and for good; it is read-only from now."""
        ...

    def drafts(self) -> Mapping[str, frozenset[str]]:
        """The drafts of each image, of this process or another, and what an interrupted import left."""
        ...

    def drop_drafts(self, image_uuid: str) -> None:
        """Remove the drafts of an image; none is fine."""
        ...

    def has_template(self, image_uuid: str) -> bool:
        """Whether there is a template of this image."""
        ...

    def remove_template(self, image_uuid: str) -> None:
        """Remove a template and its drafts; PermanentError names the VMs whose disks rest on it."""
        ...

    def templates(self) -> frozenset[str]:
        """The images that there are templates of."""
        ...


class SnapshotStore(Protocol):
    """The snapshots of VMs' disks. Which there are, and that one was rolled back to, `DiskStore.disks` tells.

    Those of files are changed by the QEMU of a guest that is on: TemporaryError.
    """

    def take_snapshot(self, vm_uuid: str, snapshot: str, disks: Collection[str]) -> None:
        """Make a snapshot of disks, named by their serials, none of which has it. Nothing may write to them meanwhile.

        Whoever is ended in its midst may leave it on some of them.
        """
        ...

    def remove_snapshot(self, vm_uuid: str, snapshot: str) -> None:
        """Remove a snapshot from all disks of a VM; none is fine."""
        ...

    def roll_back(self, vm_uuid: str, snapshot: str, disks: Collection[str], number: int) -> None:
        """Make disks, which nobody uses, what they were in a snapshot, and note `number` beside them.

        Nothing is done where that, or a higher one, has been noted: whoever asks. May take as long as a copy, and be
        cut off at any point: then it is to be done again. PermanentError, and nothing is changed, where a disk has no
        such snapshot.
        """
        ...


class DiskStore(SnapshotStore, Protocol):
    """The disks of VMs. TemporaryError when the store can't do its work now (it is full, or not there)."""

    def create(self, vm_uuid: str, image_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """Make those of the disks that the VM lacks: its root disk, a clone of the template grown to the size wanted,
        and empty ones. PermanentError when there is no such template or it is larger."""
        ...

    def prepare_arrival(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """Make those of the disks that the VM lacks, empty, for another host's to be copied into. PermanentError when
        there is anything of the VM that was not made so: it may be the very disk that is in use."""
        ...

    def keep_arrival(self, vm_uuid: str) -> None:
        """The disks that were made by `prepare_arrival` are whole: they are the VM's from now."""
        ...

    def drop_arrival(self, vm_uuid: str) -> None:
        """Remove the disks that were made by `prepare_arrival`, unless they were kept."""
        ...

    def disks(self, vm_uuid: str) -> VmDisks:
        """What there is of this VM."""
        ...

    def is_in_use(self, vm_uuid: str) -> bool | None:
        """Whether a process on any host has one of the VM's disks here open; None: that can't be told now.

        A store that is not shared knows its own host's processes only, and no disk is in no use: that this is the store
        which the VM's host uses is for the caller to know.
        """
        ...

    def expel(self, vm_uuid: str) -> None:
        """Take a VM's disks away from whoever has them open, for good, where the store can do that.

        Where it can't, QEMU itself holds locks that nobody can take from it, and nothing is done.
        """
        ...

    def grow(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """Grow those disks of a VM that are smaller, while nobody uses them; what has no disk gets none. Never shrinks.
        TemporaryError when there is no room for what they grow by, or a guest holds them."""
        ...

    def check_growth(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """TemporaryError when there is no room for what `grow` would add; for disks that a hypervisor grows."""
        ...

    def remove_disk(self, vm_uuid: str, serial: str) -> None:
        """Remove one disk of a VM, or what there is of it; nothing is fine."""
        ...

    def remove(self, vm_uuid: str) -> None:
        """Remove all that there is of this VM; nothing is fine."""
        ...

    def vms(self) -> frozenset[str]:
        """The VMs of which the store holds something."""
        ...

    def capacity(self) -> Capacities:
        """How large the store is."""
        ...

    def store_ids(self) -> tuple[str, str | None]:
        """Which stores these are, as `capacity` says it: for SSDs, and for HDDs where there is one."""
        ...

    def secrets(self) -> tuple[CephSecret, ...]:
        """What a hypervisor must know to open the disks; TemporaryError when that can't be read."""
        ...


class Store(ImageStore, DiskStore, Protocol):
    """Both, as every store so far is."""

"""Images made from snapshots of VMs: of the root disk, as it was then.

A host removes a snapshot only when the VM's request names it no more. So if that does after the disk was read, what was
read is whole. A disk is written by a guest's QEMU: its file is read in the sandbox, like an upload.
"""

from collections.abc import Callable
from pathlib import Path

from common import keys
from common.errors import PermanentError
from common.schemas.disk import DiskSpec
from common.schemas.snapshot import SnapshotSource
from common.schemas.vm import Requested, VmRequest
from common.settings import ImageSettings
from common.storage import ImageStore, Layers
from common.store import Store
from ucloud_image import qemu_img
from ucloud_image.plan import Facts
from ucloud_image.progress import Progress
from ucloud_image.qcow2_tables import Contents
from ucloud_image.upload import check_written
from ucloud_image.workshop import Workshop

_BLOCK_BYTES = 512
GONE = "was removed before it was copied"


class SnapshotImporter:
    """Makes drafts of snapshots."""

    def __init__(self, store: Store, images: ImageStore, workshop: Workshop, settings: ImageSettings) -> None:
        self._store = store
        self._images = images
        self._workshop = workshop
        self._max_virtual_gib = settings.max_virtual_gib

    def make(self, image_uuid: str, source: SnapshotSource, tell: Callable[[int], None]) -> tuple[str, Facts]:
        """A draft of an image, and what it is; `tell` hears how far it is, in percent.

        PermanentError when there is no such snapshot any more.
        """
        root = self._root_of(source)
        progress = Progress(tell)

        def convert(layers: Layers, target: Path) -> None:
            self._convert(layers, source.snapshot, target, progress)

        staged = self._images.stage_snapshot(image_uuid, source.vm, source.snapshot, convert, progress.reach)
        if self._root_of(source) != root:
            raise PermanentError(f"the snapshot {source.name} of VM {source.vm_name} {GONE}")
        return staged.draft, Facts(staged.size_mib, 0, "")

    def _root_of(self, source: SnapshotSource) -> DiskSpec:
        """The root disk as the snapshot has it, which is still wanted; PermanentError when it is not."""
        entry = self._store.get(keys.vm(source.vm))
        vm = VmRequest.read(entry.key, entry.value) if entry else None
        there = vm.snapshots if vm and vm.requested is not Requested.DELETED else ()
        for snapshot in there:
            if snapshot.id == source.snapshot:
                return snapshot.disks[0]
        raise PermanentError(f"the snapshot {source.name} of VM {source.vm_name} {GONE}")

    def _convert(self, layers: Layers, snapshot: str, target: Path, progress: Progress) -> None:
        files = filter(None, (layers.disk, layers.template))
        written_bytes = sum(path.stat().st_blocks * _BLOCK_BYTES for path in files)
        contents = Contents(layers.size_bytes, min(written_bytes, layers.size_bytes))
        with self._workshop.room(qemu_img.size_of_copy(contents)):
            qemu_img.convert_snapshot(layers, snapshot, target, contents, progress.hear)
        check_written(target, self._max_virtual_gib)

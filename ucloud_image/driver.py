"""The effects of ucloud_image: uploads, the store's templates, and the removal of a request.

Templates change only under a lock and while etcd confirms the leadership, so that a leader that was frozen half-way
and wakes up late can't put its template in place of its successor's.
"""

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from common import admission
from common.cache import Cache
from common.errors import Conflict, LeadershipLost, TemporaryError, UcloudError
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from common.settings import ImageSettings
from common.storage import ImageStore, NewFile, Target
from common.store import Put, Store, unchanged
from ucloud_image import qemu_img
from ucloud_image.from_vm import SnapshotImporter
from ucloud_image.leadership import Leadership
from ucloud_image.plan import (
    Action,
    Discard,
    Facts,
    Install,
    Observed,
    Prepare,
    PrepareSnapshot,
    Release,
    RemoveTemplate,
)
from ucloud_image.progress import Progress
from ucloud_image.qcow2_tables import Contents, check_file
from ucloud_image.stall import told_of_stalls
from ucloud_image.upload import Copied, CopyReader, check_upload, check_written, copy_upload, open_upload, size_of_copy
from ucloud_image.workshop import Workshop

_log = logging.getLogger(__name__)
_MIB = 1024 * 1024
_SECTOR_BYTES = 512


@dataclass(frozen=True)
class _Prepared:
    draft: str
    facts: Facts


@dataclass(frozen=True)
class Records:
    """What of etcd the driver works with: the store, and the records of images."""

    store: Store
    requests: Cache[ImageRequest]
    statuses: Cache[ImageStatus]
    leadership: Leadership


class ImageDriver:
    """See common.controller.Driver."""

    def __init__(self, records: Records, images: ImageStore, workshop: Workshop, settings: ImageSettings) -> None:
        self._records = records
        self._images = images
        self._workshop = workshop
        self._settings = settings
        self._snapshots = SnapshotImporter(records.store, images, workshop, settings)
        self._prepared: dict[str, _Prepared] = {}
        self._will_report: Callable[[str, ImageStatus], None] = lambda name, status: None

    def announce_to(self, will_report: Callable[[str, ImageStatus], None]) -> None:
        """Have it called with each status that a step is about to write by itself."""
        self._will_report = will_report

    def observe(self, name: str) -> Observed:
        """See common.controller.Driver."""
        is_requested = self._records.requests.get(self._records.requests.prefix + name) is not None
        prepared = self._prepared.get(name)
        facts = prepared.facts if prepared else None
        folders = self._workshop.folders(name)
        try:
            has_template = self._images.has_template(name)
            drafts = self._images.drafts().get(name, frozenset()) - ({prepared.draft} if prepared else set())
        except TemporaryError as error:
            return Observed(is_requested, prepared=facts, obstacle=str(error))
        return Observed(is_requested, has_template, facts, has_leftovers=bool(folders or drafts))

    def known(self) -> Iterable[str]:
        """See common.controller.Driver."""
        return self._workshop.images() | self._images.templates() | self._images.drafts().keys()

    def apply(self, name: str, action: Action) -> None:
        """See common.controller.Driver."""
        match action:
            case Prepare() | PrepareSnapshot():
                self._prepare(name, action)
            case Install():
                self._install(name)
            case RemoveTemplate():
                with self._workshop.lock():
                    self._records.leadership.confirm()
                    self._images.remove_template(name)
            case Discard():
                self._discard(name)
            case Release():
                self._release(name)

    def _prepare(self, name: str, action: Prepare | PrepareSnapshot) -> None:
        self._discard(name)
        folder = self._workshop.make_folder(name)
        copy = folder / "upload"
        try:
            with told_of_stalls(self._images.drafts, lambda reason: self._tell(name, reason=reason)):
                draft, facts = self._make_draft(name, action, copy)
        finally:
            self._workshop.remove(folder)
        self._prepared[name] = _Prepared(draft, facts)

    def _make_draft(self, name: str, action: Prepare | PrepareSnapshot, copy: Path) -> tuple[str, Facts]:
        if isinstance(action, PrepareSnapshot):
            return self._snapshots.make(name, action.source, partial(self._tell, name))
        copied, contents = self._copy(action, copy)
        size_bytes = -(-contents.virtual_size_bytes // _SECTOR_BYTES) * _SECTOR_BYTES
        draft = self._images.stage(name, size_bytes, lambda target: self._fill(name, copy, contents, target))
        return draft, Facts(-(-contents.virtual_size_bytes // _MIB), copied.size_bytes, copied.sha256)

    def _fill(self, name: str, copy: Path, contents: Contents, target: Target) -> None:
        progress = Progress(lambda percent: self._tell(name, percent))
        if not isinstance(target, NewFile):
            qemu_img.convert(copy, target, contents, progress.hear)
            return
        with self._workshop.room(qemu_img.size_of_copy(contents)):
            qemu_img.convert(copy, target, contents, progress.hear)
        check_written(target.path, self._settings.max_virtual_gib)

    def _copy(self, action: Prepare, copy: Path) -> tuple[Copied, Contents]:
        """Copy an upload, then check the copy: only that counts, for nobody can change it any more."""
        max_virtual_gib = self._settings.max_virtual_gib
        descriptor = _create(copy)
        try:
            with open_upload(self._settings.upload_directory, action.owner, action.file) as upload:
                check_upload(upload, max_virtual_gib)
                with self._workshop.room(size_of_copy(upload)):
                    copied = copy_upload(upload, descriptor)
            contents = check_file(CopyReader(descriptor), max_virtual_gib)
            # qemu-img reads it as nobody: the folder keeps everybody else out.
            os.fchmod(descriptor, 0o444)
        finally:
            os.close(descriptor)
        return copied, contents

    def _tell(self, name: str, percent: int | None = None, reason: str | None = None) -> None:
        """Say in the status of an image how it goes on; whoever reads it can do without, so nothing depends on it."""
        statuses, guard = self._records.statuses, self._records.leadership.guard()
        known = statuses.get(statuses.prefix + name)
        if known is None or guard is None:
            return
        before, now = known.record, datetime.now(UTC)
        since = before.since if before.actual is ImageActual.IMPORTING else now
        learnt = {"percent": before.percent if percent is None else percent, "reason": reason or ""}
        status = before.model_copy(update={"actual": ImageActual.IMPORTING, "since": since, **learnt})
        key = statuses.prefix + name
        self._will_report(name, status)
        try:
            revision = self._records.store.commit(
                [unchanged(key, known.mod_revision), guard], [Put(key, status.to_json())]
            )
        except UcloudError as error:
            _log.info("%s: %s could not be told: %s", name, learnt, error)
        else:
            statuses.note(key, status, revision)

    def _install(self, name: str) -> None:
        prepared = self._prepared[name]
        with self._workshop.lock():
            self._records.leadership.confirm()
            self._images.publish(name, prepared.draft)
        del self._prepared[name]

    def _discard(self, name: str) -> None:
        self._prepared.pop(name, None)
        for folder in self._workshop.folders(name):
            self._workshop.remove(folder)
        self._images.drop_drafts(name)

    def _release(self, name: str) -> None:
        requests, statuses = self._records.requests, self._records.statuses
        key = requests.prefix + name
        cached = requests.get(key)
        guard = self._records.leadership.guard()
        if cached is None or guard is None or cached.record.requested is not ImageRequested.DELETED:
            return
        step = admission.release_image(cached.record, cached.mod_revision)
        try:
            revision = self._records.store.commit([guard, *step.compares], step.operations)
        except LeadershipLost:
            raise
        except Conflict as error:
            raise TemporaryError("VMs that were made from it still exist") from error
        requests.note(key, None, revision)
        statuses.note(statuses.prefix + name, None, revision)


def _create(path: Path) -> int:
    """A descriptor of a new file that only root can open by its name."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TemporaryError(f"can't make a file in the store's import directory: {error.strerror}") from error

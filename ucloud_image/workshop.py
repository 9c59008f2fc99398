"""Where imports are prepared: `<ssd>/import/<image>.<random>/`, private, on the file system of the templates.

What a killed import left there is worth nothing and is removed.
"""

import fcntl
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import TemporaryError

_PRIVATE = 0o700
_MIB = 1024**2
_GIB = 1024**3


class Workshop:
    """The folders of imports under way."""

    def __init__(self, directory: Path, reserve_gib: int) -> None:
        """Set the directory up; TemporaryError when that can't be done. Imports leave `reserve_gib` of it free."""
        self._directory = directory
        self._reserve_bytes = reserve_gib * _GIB
        self._promised_bytes = 0
        self._promising = threading.Lock()
        with _os_errors("set up"):
            directory.mkdir(_PRIVATE, parents=True, exist_ok=True)

    def make_folder(self, image_uuid: str) -> Path:
        """A new, empty folder for an import."""
        folder = self._directory / f"{image_uuid}.{uuid.uuid4()}"
        with _os_errors("make a folder in"):
            folder.mkdir(_PRIVATE)
        return folder

    def folders(self, image_uuid: str) -> set[Path]:
        """The folders of an image, of this process or another."""
        return {folder for name, folder in self._all() if name == image_uuid}

    def images(self) -> set[str]:
        """The images that have folders."""
        return {name for name, _ in self._all()}

    def remove(self, folder: Path) -> None:
        """Remove a folder with what is in it; one that is gone is fine."""
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def room(self, size_bytes: int) -> Iterator[None]:
        """Write up to `size_bytes` meanwhile; TemporaryError when the store has not that much room.

        Other imports of this process may use what they were promised, and VMs, whose disks grow, keep a reserve.
        """
        with self._promising:
            with _os_errors("measure"):
                numbers = os.statvfs(self._directory)
            free_bytes = numbers.f_bavail * numbers.f_frsize - self._promised_bytes - self._reserve_bytes
            if size_bytes > free_bytes:
                raise TemporaryError(
                    f"the store is full: the import takes up to {-(-size_bytes // _MIB)} MiB, "
                    f"and {max(0, free_bytes) // _MIB} MiB are free for it"
                )
            self._promised_bytes += size_bytes
        try:
            yield
        finally:
            with self._promising:
                self._promised_bytes -= size_bytes

    def _all(self) -> Iterator[tuple[str, Path]]:
        with _os_errors("read"):
            for folder in self._directory.iterdir():
                name, dot, _ = folder.name.partition(".")
                if name and dot:
                    yield name, folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the right to change templates, over all processes and hosts; TemporaryError while another holds it."""
        with _os_errors("lock"):
            descriptor = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TemporaryError("another import is being finished") from error
            yield
        finally:
            os.close(descriptor)


@contextmanager
def _os_errors(task: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TemporaryError(f"can't {task} the store's import directory: {error.strerror}") from error

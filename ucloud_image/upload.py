"""Opens and copies uploads, whatever their owners made of them meanwhile: links, pipes, files that change."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import TemporaryError
from ucloud_image.qcow2 import HEADER_SIZE, Refused, check_header

_CHUNK_BYTES = 1024 * 1024
_GIB = 1024**3


@dataclass(frozen=True)
class Copied:
    """A copy of an upload."""

    size_bytes: int
    sha256: str


@contextmanager
def open_upload(directory: Path, owner: str, name: str) -> Iterator[int]:
    """A descriptor of `<directory>/<owner>/<name>`, a plain file with one name; nothing is followed, nothing blocks.

    Refused says what else it is; TemporaryError that it can't be read now.
    """
    folder = _open_folder(directory, owner)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise _why_not(error, owner, name) from error
    finally:
        os.close(folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{name} is not a plain file")
        if status.st_mode & stat.S_ISVTX:
            raise TemporaryError(f"{name} is still being uploaded")
        if status.st_nlink != 1:
            raise Refused(f"{name} has {status.st_nlink} names (hard links); an upload has one")
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(directory: Path, owner: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        root = os.open(directory, flags)
    except OSError as error:
        raise TemporaryError(f"the folder of all uploads can't be opened: {error.strerror}") from error
    try:
        return os.open(owner, flags | os.O_NOFOLLOW, dir_fd=root)
    except OSError as error:
        raise Refused(f"{owner} has no upload folder") from error
    finally:
        os.close(root)


def _why_not(error: OSError, owner: str, name: str) -> Refused | TemporaryError:
    match error.errno:
        case errno.ENOENT:
            return Refused(f"{name} is not in {owner}'s upload folder")
        case errno.ELOOP:
            return Refused(f"{name} is a symbolic link, not a plain file")
        case errno.ENXIO | errno.ENODEV:
            return Refused(f"{name} is not a plain file")
        case _:
            return TemporaryError(f"{name} can't be opened: {error.strerror}")


def check_upload(descriptor: int, max_virtual_gib: int) -> None:
    """Refuse at a glance what would not be worth a copy; `descriptor` may be of an upload or of its copy."""
    size_bytes = os.fstat(descriptor).st_size
    check_header(os.pread(descriptor, HEADER_SIZE, 0), size_bytes, max_virtual_gib)
    # A file is little larger than the disk that it describes.
    if size_bytes > (max_virtual_gib + 1) * _GIB:
        raise Refused(f"it is of {size_bytes} bytes (allowed: {max_virtual_gib} GiB)")


def copy_upload(source: int, target: int) -> Copied:
    """Copy a file between descriptors, both at their beginnings; TemporaryError if it changes meanwhile."""
    before = os.fstat(source)
    digest = hashlib.sha256()
    left = before.st_size
    try:
        while left and (chunk := os.read(source, min(_CHUNK_BYTES, left))):
            digest.update(chunk)
            _write(target, chunk)
            left -= len(chunk)
    except OSError as error:
        raise TemporaryError(f"the upload can't be copied into the store: {error.strerror}") from error
    after = os.fstat(source)
    if left or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise TemporaryError("the file changed while it was read: is it still being uploaded?")
    return Copied(before.st_size, digest.hexdigest())


def _write(target: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(target, view) :]

"""Opens and copies uploads, whatever their owners made of them meanwhile: links, pipes, files that change."""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.errors import TemporaryError
from ucloud_image.qcow2 import HEADER_SIZE, Refused, check_header
from ucloud_image.qcow2_tables import check_file

_CHUNK_BYTES = 1024 * 1024
_ZEROS = bytes(_CHUNK_BYTES)
_GIB = 1024**3
_MOST_HOLES_GIB = 16
_FICLONE = 0x40049409
"""ioctl_ficlone(2): linux/fs.h, which Python does not know before 3.12."""


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
    status = os.fstat(descriptor)
    check_header(os.pread(descriptor, HEADER_SIZE, 0), status.st_size, max_virtual_gib)
    # A file is little larger than the disk that it describes.
    if status.st_size > (max_virtual_gib + 1) * _GIB:
        raise Refused(f"it is of {status.st_size} bytes (allowed: {max_virtual_gib} GiB)")
    # Holes cost their owner nothing, and are read as zeros for the digest.
    if status.st_size - _stored_bytes(status) > _MOST_HOLES_GIB * _GIB:
        raise Refused(
            f"it is of {status.st_size} bytes, and all but {_stored_bytes(status)} are holes "
            f"(allowed: {_MOST_HOLES_GIB} GiB of holes; qemu-img convert makes it smaller)"
        )


def size_of_copy(descriptor: int) -> int:
    """How many bytes a copy takes in the store."""
    status = os.fstat(descriptor)
    return min(status.st_size, _stored_bytes(status))


def _stored_bytes(status: os.stat_result) -> int:
    return status.st_blocks * 512  # whatever the file system's blocks are: stat(2)


def copy_upload(source: int, target: int) -> Copied:
    """Copy a file between descriptors, both at their beginnings; TemporaryError if it changes meanwhile.

    Where the file system can, the copy shares its blocks until one of them changes (FICLONE). Holes stay holes.
    """
    before = os.fstat(source)
    digest = hashlib.sha256()
    try:
        copied_bytes = _read(target if _clone(source, target) else source, target, before.st_size, digest.update)
    except OSError as error:
        raise TemporaryError(f"the upload can't be copied into the store: {error.strerror}") from error
    after = os.fstat(source)
    is_same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    if copied_bytes != before.st_size or not is_same:
        raise TemporaryError("the file changed while it was read: is it still being uploaded?")
    return Copied(before.st_size, digest.hexdigest())


class CopyReader:
    """A qcow2.Reader of a private copy."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size_bytes = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """See qcow2.Reader. TemporaryError when the store can't read."""
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError as error:
            raise TemporaryError(f"the copy of the upload can't be read: {error.strerror}") from error


def check_written(path: Path, max_virtual_gib: int) -> None:
    """Check what a qemu-img wrote as if it were an upload: Refused when it is not what may be a template.

    Whoever takes qemu-img over writes into the file what they like, and QEMU will open it on the hosts.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        check_file(CopyReader(descriptor), max_virtual_gib)
    finally:
        os.close(descriptor)


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _read(source: int, target: int, size_bytes: int, hand: Callable[[bytes], None]) -> int:
    """Hand out the bytes of `source`, and write them to `target` if it is another file; returns how many there were."""
    position = 0
    for begin, end in _extents(source, size_bytes):
        for hole in range(position, begin, _CHUNK_BYTES):
            hand(_ZEROS[: begin - hole])
        if source != target and begin != position:
            os.truncate(target, begin)
            os.lseek(target, begin, os.SEEK_SET)
        position = begin
        while position < end and (chunk := os.pread(source, min(_CHUNK_BYTES, end - position), position)):
            hand(chunk)
            if source != target:
                _write(target, chunk)
            position += len(chunk)
        if position < end:
            break
    return position


def _extents(descriptor: int, size_bytes: int) -> Iterator[tuple[int, int]]:
    """Where a file's data begin and end, its holes left out; an empty one at its end."""
    end = 0
    while end < size_bytes:
        try:
            begin = min(os.lseek(descriptor, end, os.SEEK_DATA), size_bytes)
            end = min(os.lseek(descriptor, begin, os.SEEK_HOLE), size_bytes)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data from there on
                raise
            break
        yield begin, end
    yield size_bytes, size_bytes


def _write(target: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(target, view) :]

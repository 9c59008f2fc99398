"""The upload folders: `<directory>/<owner>/`, each flat and full of plain files. Only ucloud-image-sftp writes there.

    <directory>/<owner>/<file>            the sticky bit says that it is not whole yet; else it means nothing on a file
    <directory>/<owner>/.part/            uploads over HTTP, as far as they came (ucloud_image.parts)

Every path is one name below a descriptor of its folder, and nothing is followed, so there is no way out of a folder:
no `..`, no link, no rename. An OSError says why something can't be done, in words for the owner.
"""

import errno
import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from common.schemas.file import UPLOAD_NAME_PATTERN

PART = ".part"
_NAME = re.compile(UPLOAD_NAME_PATTERN)
_OWNER = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,61}[a-z0-9_])?")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PRIVATE, _FOLDER_MODE = 0o600, 0o700
_UNFINISHED = stat.S_ISVTX
_STEP_BYTES = 4 * 1024 * 1024
"""How far a file may grow before it is looked again what its owner uses."""


@dataclass(frozen=True)
class FileFacts:
    """A file as it is. `stamp` differs whenever the content may: nobody can set it."""

    name: str
    size_bytes: int
    modified_at_s: float
    is_whole: bool
    stamp: str


def facts_of(name: str, status: os.stat_result) -> FileFacts | None:
    """The facts of a plain file with one name; None for anything else."""
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        return None
    is_whole = not status.st_mode & _UNFINISHED
    stamp = f"{status.st_ino}.{status.st_ctime_ns}"
    return FileFacts(name, status.st_size, status.st_mtime, is_whole, stamp)


def is_name(text: str) -> bool:
    """Whether a file may be called so."""
    return _NAME.fullmatch(text) is not None


class Writer:
    """A file that is open to be written. Who opens it next takes it away: an upload that was cut is resumed at once."""

    def __init__(self, folders: "UploadFolders", owner: str, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self.owner = owner
        self.identity = (status.st_dev, status.st_ino)
        self.size_bytes = self.room_to_bytes = status.st_size
        self._folders = folders
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data`; OSError: EDQUOT when the owner's quota is used up, ESTALE when somebody else writes."""
        with self._lock:
            self._make_room(offset + len(data))
            view = memoryview(data)
            while view:
                written = os.pwrite(self._checked(), view, offset)
                view, offset = view[written:], offset + written
            self.size_bytes = max(self.size_bytes, offset)

    def truncate(self, size_bytes: int) -> None:
        """Make it that long; what is added are zeros, and counts."""
        with self._lock:
            self._make_room(size_bytes)
            os.ftruncate(self._checked(), size_bytes)
            self.size_bytes = size_bytes
            self.room_to_bytes = size_bytes

    def read(self, offset: int, size_bytes: int) -> bytes:
        """What is there."""
        with self._lock:
            return os.pread(self._checked(), size_bytes, offset)

    def status(self) -> os.stat_result:
        """As fstat(2)."""
        with self._lock:
            return os.fstat(self._checked())

    def sync(self) -> None:
        """Have it on the disk."""
        with self._lock:
            os.fsync(self._checked())

    def finish(self) -> None:
        """The file is whole: its writer said so."""
        with self._lock:
            if self._descriptor >= 0:
                mode = stat.S_IMODE(os.fstat(self._descriptor).st_mode)
                os.fchmod(self._descriptor, mode & ~_UNFINISHED)
        self.leave()

    def leave(self) -> None:
        """Close it as it is; it may be gone on with. A second time is fine."""
        self._folders.forget(self)
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _checked(self) -> int:
        if self._descriptor < 0:
            raise OSError(errno.ESTALE, "the file is being written by another session")
        return self._descriptor

    def _make_room(self, end_bytes: int) -> None:
        if end_bytes > max(self.size_bytes, self.room_to_bytes):
            self._folders.reserve(self, end_bytes)


@dataclass(frozen=True)
class FolderLimits:
    """What an owner may have: bytes, partial uploads and holes included, and files."""

    quota_bytes: int
    most_files: int


class UploadFolders:
    """All upload folders. Used by any number of threads of one process."""

    def __init__(self, directory: Path, limits: FolderLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._lock = threading.RLock()
        self._writers: dict[tuple[int, int], Writer] = {}

    # --- looking ------------------------------------------------------------------------------------------------------

    def files(self, owner: str) -> list[FileFacts]:
        """The files of an owner, by name; none where there is no folder."""
        try:
            with self.folder(owner) as folder:
                return sorted(_files_in(folder), key=lambda file: file.name)
        except FileNotFoundError:
            return []

    def look(self, owner: str, name: str) -> FileFacts:
        """A file; FileNotFoundError when there is none that is plain."""
        with self.folder(owner) as folder:
            return _look(folder, name)

    def used_bytes(self, owner: str) -> int:
        """What an owner's files take, holes and partial uploads included."""
        try:
            with self.folder(owner) as folder:
                return sum(size for size, _ in _sizes(folder))
        except FileNotFoundError:
            return 0

    # --- reading and writing ------------------------------------------------------------------------------------------

    def open_to_read(self, owner: str, name: str) -> int:
        """A descriptor of a file."""
        with self.folder(owner) as folder:
            descriptor = os.open(_checked_name(name), os.O_RDONLY | _FILE, dir_fd=folder)
        return _plain(descriptor)

    def open_to_write(self, owner: str, name: str, flags: int) -> Writer:
        """Open a file, which is unfinished from now. `flags`: any of O_CREAT, O_EXCL, O_TRUNC, as open(2) has them."""
        with self._lock, self.folder(owner, make=True) as folder:
            _checked_name(name)
            if not _exists(folder, name):
                if not flags & os.O_CREAT:
                    raise _missing(name)
                self._check_count(folder)
            mode = flags & (os.O_CREAT | os.O_EXCL)
            return self._begin(owner, folder, name, mode, bool(flags & os.O_TRUNC))

    def _begin(self, owner: str, folder: int, name: str, flags: int, truncate: bool) -> Writer:
        """Open a name in a folder, marked as unfinished before anything of it changes."""
        # A new one is born with the mark.
        descriptor = _plain(os.open(name, os.O_RDWR | _FILE | flags, _PRIVATE | _UNFINISHED, dir_fd=folder))
        try:
            status = os.fstat(descriptor)
            if before := self._writers.get((status.st_dev, status.st_ino)):
                before.leave()
            os.fchmod(descriptor, _PRIVATE | _UNFINISHED)
            if truncate:
                os.ftruncate(descriptor, 0)
            writer = Writer(self, owner, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._writers[writer.identity] = writer
        return writer

    def begin_part(self, owner: str, folder: int, name: str) -> Writer:
        """A partial upload `name` in `folder`, one of the owner's `.part` (ucloud_image.parts)."""
        with self._lock:
            if not _exists(folder, name):
                with self.folder(owner) as whole:
                    self._check_count(whole)
            return self._begin(owner, folder, name, os.O_CREAT, truncate=False)

    def place(self, writer: Writer, part_folder: int, part_name: str, name: str) -> FileFacts:
        """Have a partial upload, of which all has come, be the file `name`; returns what that is then."""
        with self._lock, self.folder(writer.owner) as folder:
            writer.finish()
            os.rename(part_name, name, src_dir_fd=part_folder, dst_dir_fd=folder)
            with suppress(OSError):  # another upload of that name has begun
                os.rmdir(f"{PART}/{name}", dir_fd=folder)
            return _look(folder, name)

    def forget(self, writer: Writer) -> None:
        """A writer is closed."""
        with self._lock:
            if self._writers.get(writer.identity) is writer:
                del self._writers[writer.identity]

    def reserve(self, writer: Writer, end_bytes: int) -> None:
        """Let a file grow to `end_bytes`, and a little further where there is room; OSError (EDQUOT) without."""
        with self._lock:
            others = (each for each in self._writers.values() if each.owner == writer.owner and each is not writer)
            promised = sum(max(0, each.room_to_bytes - each.size_bytes) for each in others)
            free = self._limits.quota_bytes - self.used_bytes(writer.owner) - promised
            if end_bytes - writer.size_bytes > free:
                quota = f"{self._limits.quota_bytes / 1024**3:g} GiB"
                raise OSError(errno.EDQUOT, f"all files of {writer.owner} together may have {quota}")
            writer.room_to_bytes = max(end_bytes, writer.size_bytes + min(_STEP_BYTES, free))

    def _check_count(self, folder: int) -> None:
        if sum(1 for _ in _sizes(folder)) >= self._limits.most_files:
            raise OSError(errno.EDQUOT, f"there are {self._limits.most_files} files, which is the most")

    # --- names --------------------------------------------------------------------------------------------------------

    def rename(self, owner: str, old: str, new: str, replace: bool) -> None:
        """Call a file so; FileExistsError where another one is called so and may not be replaced."""
        with self._lock, self.folder(owner) as folder:
            _look(folder, old)
            _checked_name(new)
            if not replace and _exists(folder, new):
                raise FileExistsError(errno.EEXIST, f"there is a file {new} already")
            os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, owner: str, name: str) -> None:
        """Remove a file; what still writes it writes into nothing."""
        with self._lock, self.folder(owner) as folder:
            _look(folder, name)
            os.unlink(name, dir_fd=folder)

    @contextmanager
    def folder(self, owner: str, make: bool = False) -> Iterator[int]:
        """A descriptor of an owner's folder, made when there is none and `make`; FileNotFoundError else."""
        if not _OWNER.fullmatch(owner):
            raise PermissionError(errno.EACCES, "no owner is called so")
        root = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(owner, _FOLDER_MODE, dir_fd=root)
            with opened(owner, root) as folder:
                yield folder
        finally:
            os.close(root)


@contextmanager
def opened(name: str, inside: int) -> Iterator[int]:
    """A descriptor of a folder in another one, which is no link."""
    descriptor = os.open(name, _FOLDER, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names_in(folder: int) -> list[str]:
    """The names of all that is in a folder."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _checked_name(name: str) -> str:
    if not is_name(name):
        raise PermissionError(
            errno.EACCES,
            "a file's name is 1 to 255 letters, digits, dots, hyphens and underscores, no dot or hyphen first; "
            "there are no folders here",
        )
    return name


def _missing(name: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, f"there is no file {name}")


def _look(folder: int, name: str) -> FileFacts:
    if not is_name(name):
        raise _missing(name)
    facts = facts_of(name, os.stat(name, dir_fd=folder, follow_symlinks=False))
    if facts is None:
        raise _missing(name)
    return facts


def _exists(folder: int, name: str) -> bool:
    """Whether there is anything of that name, plain or not."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _plain(descriptor: int) -> int:
    """The descriptor, if it is of a plain file with one name; PermissionError, and it is closed, if not."""
    if facts_of("", os.fstat(descriptor)) is None:
        os.close(descriptor)
        raise PermissionError(errno.EACCES, "this is no plain file")
    return descriptor


def _files_in(folder: int) -> Iterator[FileFacts]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it has just gone
                facts = facts_of(entry.name, entry.stat(follow_symlinks=False)) if is_name(entry.name) else None
                if facts:
                    yield facts


def _sizes(folder: int) -> Iterator[tuple[int, str]]:
    """Sizes and names of all that counts: files, whatever their names, and those of partial uploads."""
    yield from _sizes_below(folder)
    with suppress(FileNotFoundError, NotADirectoryError), opened(PART, folder) as parts:
        for name in names_in(parts):
            with suppress(FileNotFoundError, NotADirectoryError), opened(name, parts) as of_name:
                yield from _sizes_below(of_name)


def _sizes_below(folder: int) -> Iterator[tuple[int, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield entry.stat(follow_symlinks=False).st_size, entry.name

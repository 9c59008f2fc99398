"""Uploads over HTTP, as far as they came: `<owner>/.part/<file>/<length>-<SHA-256>`, "any" where no digest was told.

The name of the part says what it is to become and its size how far it is, so there is nothing else to keep, and nothing
to lose with the process. A file appears by a rename once all of it is there and has the digest.
"""

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from common.errors import PermanentError
from ucloud_image.folders import PART, UploadFolders, Writer, names_in, opened

_PART_NAME = re.compile(r"([0-9]{1,16})-([0-9a-f]{64}|any)")
_MODE = 0o700
_CHUNK_BYTES = 1024 * 1024
_MOST_REMEMBERED = 1000


@dataclass(frozen=True)
class Part:
    """An upload: how long it is to be, its SHA-256 in hexadecimal if that was told, and how far it came."""

    size_bytes: int
    sha256: str | None
    offset_bytes: int = 0
    is_complete: bool = False
    """The file is there, the part is not any more."""

    @property
    def name(self) -> str:
        """How it is called on the disk."""
        return f"{self.size_bytes}-{self.sha256 or 'any'}"


class WrongDigest(PermanentError):
    """What came is not what was announced; it was thrown away."""


class WrongOffset(PermanentError):
    """The upload is not as far as who goes on with it says."""


class Parts:
    """The partial uploads of all owners. Of those who write into one, the last one does."""

    def __init__(self, folders: UploadFolders) -> None:
        self._folders = folders
        self._completed: dict[tuple[str, str], tuple[Part, str]] = {}

    def begin(self, owner: str, name: str, size_bytes: int, sha256: str | None) -> Part:
        """Begin an upload in the place of any other of that name; the same, known by its digest, is gone on with."""
        wanted = Part(size_bytes, sha256)
        if sha256 and self._is_completed(owner, name, wanted):
            return replace(wanted, offset_bytes=size_bytes, is_complete=True)
        with self._folder(owner, name, make=True) as folder:
            for other in _parts_in(folder):
                if sha256 is None or other.name != wanted.name:
                    os.unlink(other.name, dir_fd=folder)
            writer = self._folders.begin_part(owner, folder, wanted.name)
            try:
                if size_bytes > writer.size_bytes:
                    self._folders.reserve(writer, size_bytes)
                return replace(wanted, offset_bytes=writer.size_bytes)
            finally:
                writer.leave()

    def _is_completed(self, owner: str, name: str, wanted: Part) -> bool:
        """Whether this very upload has just come to its end, of which the answer was lost."""
        part, stamp = self._completed.get((owner, name), (None, ""))
        if part is None or part.name != wanted.name:
            return False
        with suppress(OSError):
            return self._folders.look(owner, name).stamp == stamp
        return False

    def look(self, owner: str, name: str) -> Part:
        """The upload under way of a name; FileNotFoundError when there is none."""
        with self._folder(owner, name) as folder:
            return _only_part(folder)

    def append(self, owner: str, name: str, offset_bytes: int, chunks: Iterable[bytes]) -> Part:
        """Go on with an upload, as far as `chunks` go or all of it has come; then the file is there.

        WrongOffset, WrongDigest; whatever `chunks` raises, what came before it is kept.
        """
        with self._folder(owner, name) as folder:
            part = _only_part(folder)
            writer = self._folders.begin_part(owner, folder, part.name)
            try:
                if writer.size_bytes != offset_bytes:
                    raise WrongOffset(writer.size_bytes)
                for chunk in chunks:
                    if offset_bytes + len(chunk) > part.size_bytes:
                        raise OSError(errno.EFBIG, f"more came than the {part.size_bytes} bytes that were announced")
                    writer.write(offset_bytes, chunk)
                    offset_bytes += len(chunk)
                part = replace(part, offset_bytes=offset_bytes)
                if offset_bytes < part.size_bytes:
                    return part
                self._complete(folder, owner, name, part, writer)
                return replace(part, is_complete=True)
            finally:
                writer.leave()

    def _complete(self, folder: int, owner: str, name: str, part: Part, writer: Writer) -> None:
        if part.sha256 and _digest(writer) != part.sha256:
            os.unlink(part.name, dir_fd=folder)
            raise WrongDigest
        facts = self._folders.place(writer, folder, part.name, name)
        if len(self._completed) >= _MOST_REMEMBERED:
            self._completed.pop(next(iter(self._completed)))
        self._completed[owner, name] = (part, facts.stamp)

    def drop(self, owner: str, name: str) -> None:
        """Forget an upload; FileNotFoundError when there is none."""
        with self._folder(owner, name) as folder:
            os.unlink(_only_part(folder).name, dir_fd=folder)
        with self._folders.folder(owner) as whole, suppress(OSError):
            os.rmdir(f"{PART}/{name}", dir_fd=whole)

    def expire(self, owner: str, ttl_s: float) -> list[str]:
        """Forget the uploads of an owner that nobody went on with for so long; returns their names."""
        try:
            with self._folders.folder(owner) as whole, opened(PART, whole) as parts:
                names = names_in(parts)
        except FileNotFoundError:
            return []
        expired = []
        for name in names:
            with suppress(FileNotFoundError, PermissionError):
                with self._folder(owner, name) as folder:
                    stale = time.time() - os.stat(_only_part(folder).name, dir_fd=folder).st_mtime > ttl_s
                if stale:
                    self.drop(owner, name)
                    expired.append(name)
        return expired

    @contextmanager
    def _folder(self, owner: str, name: str, make: bool = False) -> Iterator[int]:
        """The folder of the parts of a name, which the caller has checked to be one."""
        with self._folders.folder(owner, make) as whole:
            if make:
                for path in (PART, f"{PART}/{name}"):
                    with suppress(FileExistsError):
                        os.mkdir(path, _MODE, dir_fd=whole)
            with opened(PART, whole) as parts, opened(name, parts) as folder:
                yield folder


def _parts_in(folder: int) -> list[Part]:
    found = []
    for name in names_in(folder):
        if match := _PART_NAME.fullmatch(name):
            with suppress(FileNotFoundError):
                size_bytes = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
                found.append(Part(int(match[1]), None if match[2] == "any" else match[2], size_bytes))
    return found


def _only_part(folder: int) -> Part:
    parts = _parts_in(folder)
    if not parts:
        raise FileNotFoundError(errno.ENOENT, "there is no such upload")
    return parts[0]


def _digest(writer: Writer) -> str:
    digest = hashlib.sha256()
    offset = 0
    while chunk := writer.read(offset, _CHUNK_BYTES):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()

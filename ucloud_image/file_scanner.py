"""Finds the files in the upload folders: which are there, whole, and with which digest. It only reads."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from common import keys
from common.cache import Cached
from common.errors import TemporaryError
from common.schemas.record import Record
from ucloud_image.file_plan import Seen, TakeDigest
from ucloud_image.folders import UploadFolders, facts_of

_CHUNK_BYTES = 1024 * 1024


class NoRequests:
    """See common.controller.Requests: files are not requested, they are found."""

    prefix = keys.FILE

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Nothing is ever told."""

    def get(self, key: str) -> Cached[Record] | None:
        """Nothing is requested."""
        return None

    def records(self) -> Mapping[str, Cached[Record]]:
        """Nothing is requested."""
        return {}

    def is_malformed(self, key: str) -> bool:
        """What is not there can be read."""
        return False

    def wait_synced(self, timeout_s: float | None = None) -> bool:
        """All is known."""
        return True


class FileDriver:
    """See common.controller.Driver. Names are `<owner>/<file>`."""

    def __init__(self, directory: Path, folders: UploadFolders) -> None:
        self._directory = directory
        self._folders = folders
        self._digests: dict[str, tuple[str, str]] = {}

    def observe(self, name: str) -> Seen | None:
        """See common.controller.Driver."""
        if not self._directory.is_dir():
            raise TemporaryError(f"the folder of all uploads is not there: {self._directory}")
        owner, _, file_name = name.partition("/")
        try:
            facts = self._folders.look(owner, file_name)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            facts = None
        except OSError as error:
            raise TemporaryError(f"{name} can't be looked at: {error.strerror}") from error
        stamp, sha256 = self._digests.get(name, ("", None))
        if facts is None or not facts.is_whole or facts.stamp != stamp:
            self._digests.pop(name, None)
            sha256 = None
        if facts is None or not facts.is_whole:
            return None
        return Seen(owner, file_name, facts.size_bytes, facts.modified_at_s, facts.stamp, sha256)

    def apply(self, name: str, action: TakeDigest) -> None:
        """See common.controller.Driver. What is recorded is on the disk before: it outlives a loss of power."""
        owner, _, file_name = name.partition("/")
        try:
            descriptor = self._folders.open_to_read(owner, file_name)
        except OSError as error:
            raise TemporaryError(f"{name} can't be read: {error.strerror}") from error
        try:
            os.fsync(descriptor)
            digest = hashlib.sha256()
            while chunk := os.read(descriptor, _CHUNK_BYTES):
                digest.update(chunk)
            facts = facts_of(file_name, os.fstat(descriptor))
        except OSError as error:
            raise TemporaryError(f"{name} can't be read: {error.strerror}") from error
        finally:
            os.close(descriptor)
        if facts is None or facts.stamp != action.stamp:
            raise TemporaryError(f"{name} changed while it was read")
        self._digests[name] = (facts.stamp, digest.hexdigest())

    def known(self) -> Iterable[str]:
        """See common.controller.Driver. Of what is recorded while the folders can't be read, `observe` says why."""
        try:
            owners = [path.name for path in self._directory.iterdir()]
        except OSError:
            return []
        return [name for owner in owners for name in self.known_of(owner)]

    def known_of(self, owner: str) -> list[str]:
        """The names of an owner's files."""
        try:
            return [f"{owner}/{file.name}" for file in self._folders.files(owner)]
        except OSError:
            return []  # no upload folder

"""Whether a host is in touch with the cloud: a page of memory that its processes share, so that knowing takes nothing.

    renewed_at   ucloud-host-alive   when it sent the last renewal of the host's lease that etcd accepted
    asked_at     ucloud-host-alive   when it last asked the guard to end what runs here, whatever the deadline
    beat_at      ucloud-host-guard   when it was last seen at work
    clean_at     ucloud-host-guard   when it began its last look that found no HA guest

Each is seconds of common.clock (0: never since the boot), and has one writer. Each is a word of its own that is stored
and loaded at once; nothing here waits, allocates or touches a disk, for the guard must do its work when nothing else
works any more.
"""

import contextlib
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from common import clock
from common.errors import ConfigurationError

_NAME = "lifeline"
_SIZE_BYTES = mmap.PAGESIZE
_BOOT_ID_AT = 64
_RENEWED, _ASKED, _BEAT, _CLEAN = range(4)


class Lifeline:
    """The page in a directory, which goes with the boot; whoever comes first makes it."""

    def __init__(self, directory: Path, boot_id: str) -> None:
        """ConfigurationError when the directory can't be used."""
        try:
            with _alone(directory):
                if _boot_of(directory / _NAME) != boot_id:
                    _make(directory / _NAME, boot_id)
                descriptor = os.open(directory / _NAME, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._words = memoryview(mmap.mmap(descriptor, _SIZE_BYTES)).cast("d")
            finally:
                os.close(descriptor)
        except OSError as error:
            raise ConfigurationError(f"host.run_directory {directory}: {error.strerror}") from error

    @property
    def renewed_at(self) -> float:
        """When the last renewal was sent that etcd accepted."""
        return self._words[_RENEWED]

    @renewed_at.setter
    def renewed_at(self, moment: float) -> None:
        self._words[_RENEWED] = moment

    @property
    def asked_at(self) -> float:
        """When the guard was last asked to end what runs here."""
        return self._words[_ASKED]

    @asked_at.setter
    def asked_at(self, moment: float) -> None:
        self._words[_ASKED] = moment

    @property
    def beat_at(self) -> float:
        """When the guard was last at work."""
        return self._words[_BEAT]

    @beat_at.setter
    def beat_at(self, moment: float) -> None:
        self._words[_BEAT] = moment

    @property
    def clean_at(self) -> float:
        """When the guard began its last look that found no HA guest."""
        return self._words[_CLEAN]

    @clean_at.setter
    def clean_at(self, moment: float) -> None:
        self._words[_CLEAN] = moment

    def is_in_touch(self, ttl_s: float) -> bool:
        """Whether the host's lease, of `ttl_s` seconds, surely holds now."""
        return self.renewed_at > 0 and clock.now() < self.renewed_at + ttl_s


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold a lock on a directory, made if need be."""
    directory.mkdir(0o755, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _boot_of(path: Path) -> str:
    """Of which boot a page is: /run may be kept over a boot. Empty when there is none that is whole."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ""
    return content[_BOOT_ID_AT:].rstrip(b"\0").decode("ascii", "replace") if len(content) == _SIZE_BYTES else ""


def _make(path: Path, boot_id: str) -> None:
    draft = path.with_name(f".{_NAME}.new")
    draft.write_bytes((bytes(_BOOT_ID_AT) + boot_id.encode("ascii")).ljust(_SIZE_BYTES, b"\0"))
    draft.rename(path)

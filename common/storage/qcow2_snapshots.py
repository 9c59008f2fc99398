"""Snapshots within qcow2 files, as QEMU makes them ("internal snapshots"), named by uuids.

They are read from the file itself, which takes no lock and no process and so works on a disk in use; they are changed
by qemu-img, which takes the lock of the file, and fails where a guest has it: there QEMU changes them itself.

Source: QEMU, docs/interop/qcow2.txt, "Snapshots".
"""

import os
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from common.errors import PermanentError, TemporaryError
from common.storage.names import UUID
from common.storage.qemu_img import qemu_img

_HEADER = struct.Struct(">4sI52xIQ")  # magic, version; number of snapshots, where the table of them is
_ENTRY = struct.Struct(">QIHHIIQII")  # L1 table, L1 size, lengths of id and name, s, ns, clock, state, extra
_EXTRA = struct.Struct(">8xQ")  # size of the disk
_MAGIC = b"QFI\xfb"
_MOST_BYTES = 64 * 1024
_TRIES = 5
_LIMIT_S = 60
_BYTES_PER_S = 1024**3
"""What such a change gets time for: it goes through the tables of all that a disk holds, and no data."""


class Entry(NamedTuple):
    """A snapshot: when it was taken, and how large the disk was then."""

    taken_at: datetime
    size_bytes: int


def read(path: Path) -> dict[str, datetime]:
    """Our snapshots of a disk, each with when it was taken; see `table`."""
    return {name: entry.taken_at for name, entry in table(path).items()}


def table(path: Path) -> dict[str, Entry]:
    """Our snapshots of a disk; none of a file that is not what it should be. TemporaryError when it can't be read."""
    try:
        with path.open("rb", buffering=0) as file:
            # QEMU writes a new table, then the header, and uses the old one's place again later.
            for _ in range(_TRIES):
                count, offset = _table(file.fileno())
                raw = os.pread(file.fileno(), _MOST_BYTES, offset) if count else b""
                if (count, offset) == _table(file.fileno()):
                    return _entries(raw, count)
    except OSError as error:
        raise TemporaryError(f"can't read the snapshots in {path.name}: {error.strerror}") from error
    except (struct.error, ValueError, OverflowError):
        return {}
    raise TemporaryError(f"can't read the snapshots in {path.name}: they keep changing")


def _table(descriptor: int) -> tuple[int, int]:
    magic, _, count, offset = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
    if magic != _MAGIC:
        raise ValueError
    return count, offset


def _entries(raw: bytes, count: int) -> dict[str, Entry]:
    found, at = {}, 0
    for _ in range(count):
        _, _, id_length, name_length, seconds, nanoseconds, _, _, extra = _ENTRY.unpack_from(raw, at)
        size_bytes = _EXTRA.unpack_from(raw, at + _ENTRY.size)[0] if extra >= _EXTRA.size else 0
        at += _ENTRY.size + extra + id_length
        name = raw[at : at + name_length].decode("utf-8", "surrogateescape")
        at = (at + name_length + 7) // 8 * 8
        if UUID.fullmatch(name):
            found[name] = Entry(datetime.fromtimestamp(seconds + nanoseconds // 1000 / 1e6, UTC), size_bytes)
    return found


def take(path: Path, snapshot: str) -> None:
    """Make a snapshot, of which there is none yet, of a disk that nobody has open."""
    qemu_img("snapshot", "-q", "-c", snapshot, "--image-opts", _options(path), limit_s=_limit_s(path))


def remove(path: Path, snapshot: str) -> None:
    """Remove a snapshot of a disk that nobody has open."""
    qemu_img("snapshot", "-q", "-d", snapshot, "--image-opts", _options(path), limit_s=_limit_s(path))


def roll_back(path: Path, snapshot: str) -> None:
    """Make a disk, which nobody has open, what it was in a snapshot; PermanentError when there is no such one.

    Where that was begun and broken off before, clusters may be counted that nothing is in: those are found as well.
    """
    if snapshot not in read(path):
        raise PermanentError(f"the snapshot to roll back to is gone from the {path.stem} disk")
    qemu_img("snapshot", "-q", "-a", snapshot, "--image-opts", _options(path), limit_s=_limit_s(path))
    qemu_img("check", "-q", "-f", "qcow2", "-r", "leaks", str(path), limit_s=_limit_s(path))


def _options(path: Path) -> str:
    """A file that is opened as qcow2 and as nothing else, whatever it looks like."""
    return f"driver=qcow2,file.driver=file,file.filename={str(path).replace(',', ',,')}"


def _limit_s(path: Path) -> float:
    try:
        return _LIMIT_S + path.stat().st_blocks * 512 / _BYTES_PER_S
    except OSError as error:
        raise TemporaryError(f"can't look at {path.name}: {error.strerror}") from error

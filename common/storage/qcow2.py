"""The few fields of a qcow2 header that a store needs of its own files. Source: QEMU, docs/interop/qcow2.txt.

Reading them directly takes no image lock and no process, so it works on disks in use. It is no check of a file from
outside: ucloud_image does that.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from common.errors import PermanentError, TemporaryError

_MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQ")  # magic, version, backing file's offset and length, cluster bits, virtual size
_MAX_BACKING_NAME = 1023


@dataclass(frozen=True)
class Header:
    """What a disk describes. `backing_file` is as written in it, relative to its folder; empty when there is none."""

    virtual_size_bytes: int
    backing_file: str


def read_header(path: Path) -> Header:
    """The header of the qcow2 file at `path`; PermanentError when it is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(_HEADER.size)
            if len(raw) < _HEADER.size or not raw.startswith(_MAGIC):
                raise PermanentError(f"{path.name} is not a qcow2 file")
            _, _, name_offset, name_length, _, size = _HEADER.unpack(raw)
            if name_length > _MAX_BACKING_NAME:
                raise PermanentError(f"{path.name} is not a qcow2 file: its backing file's name is too long")
            file.seek(name_offset)
            name = file.read(name_length) if name_offset else b""
    except OSError as error:
        raise TemporaryError(f"can't read {path.name}: {error.strerror}") from error
    return Header(size, name.decode("utf-8", "surrogateescape"))

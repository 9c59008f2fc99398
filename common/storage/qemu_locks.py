"""Whether a process of QEMU, on any host that shares the file system, has an image open.

QEMU locks single bytes of each image with open file description locks: 100 + n for a permission that it uses, 200 + n
for one that it refuses to others. They go when the last process that has the image open is gone, and not before: a
frozen one keeps them. QEMU with locking=off or --force-share has none; libvirt starts no guest so.

Source: QEMU, block/file-posix.c (RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE, raw_check_lock_bytes); fcntl(2) on
F_OFD_GETLK.
"""

import fcntl
import os
import struct
from pathlib import Path

_FIRST, _LAST = 100, 263
_LOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid


def is_locked(image: Path) -> bool:
    """Whether QEMU has the file open; OSError when that can't be told, of a file system without locks for example."""
    descriptor = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _FIRST, _LAST - _FIRST + 1, 0)
        return bool(_LOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
    finally:
        os.close(descriptor)

"""Ends this host's HA guests by their processes, without libvirt, which may hang with the rest of the host.

For each domain libvirt has a file with a process id, `/run/libvirt/qemu/<domain>.pid`. What is written in it is not
looked at: an id may have been used again since. But libvirt has that very process lock the file, before it executes
QEMU in it, and the lock lasts until the last thread of the process has ended. So whoever holds the lock is the guest,
also one that is just being started, and where nobody holds it nothing of the guest writes any more.

The /proc of a process is not looked at: its cmdline waits for locks of that process, and so for its hung disks.

Source: libvirt 9.0, src/util/vircommand.c (virExec), src/util/virpidfile.c; fcntl(2) on F_GETLK; pidfd_open(2).
"""

import fcntl
import logging
import os
import signal
import struct
from pathlib import Path

from common.guests import DOMAIN_PREFIX, HaMarks

_log = logging.getLogger(__name__)
PID_DIRECTORY = Path("/run/libvirt/qemu")
_LOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid


class Guests:
    """The guests of this host whose files are in `pid_directory`."""

    def __init__(self, pid_directory: Path, marks: HaMarks) -> None:
        self._pid_directory = pid_directory
        self._marks = marks

    def end_ha(self) -> list[str]:
        """Kill each guest that is HA; returns the uuids of those that were there, or may be."""
        try:
            files = list(self._pid_directory.iterdir())
        except FileNotFoundError:  # no guest was ever started
            return []
        found = []
        for file in files:
            vm_uuid = file.stem.removeprefix(DOMAIN_PREFIX)
            is_ours = file.name == f"{DOMAIN_PREFIX}{vm_uuid}.pid"
            if is_ours and self._marks.is_ha(vm_uuid) and _end(file):
                found.append(vm_uuid)
        return found


def _end(file: Path) -> bool:
    """Kill the guest of a `file`; whether there may be one."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        _log.error("can't open %s: %s", file, error.strerror)
        return True
    try:
        return _kill_holder(descriptor)
    except OSError as error:
        _log.error("can't end the process of %s: %s", file, error.strerror)
        return True
    finally:
        os.close(descriptor)


def _kill_holder(descriptor: int) -> bool:
    """Kill the process that holds the lock on a file; False when nobody does."""
    pid = _holder(descriptor)
    if pid == 0:
        return False
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True  # it is just ending: the next look tells
    try:
        if _holder(descriptor) == pid:  # still: so `process` is no other that has got its id
            signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)
    return True


def _holder(descriptor: int) -> int:
    """The process that holds a lock on a file; 0: nobody does."""
    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    kind, _, _, _, pid = _LOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else int(pid)

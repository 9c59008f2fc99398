"""The serial logs of VMs, kept within bounds.

QEMU writes them through a descriptor opened for appending, so they can be cut under its hands. They are whole while
somebody uses the console, too: QEMU writes to the log what it sends to the socket.
"""

import logging
import os
import re
import threading
from pathlib import Path

_log = logging.getLogger(__name__)
DEFAULT_TAIL_BYTES = 64 * 1024
MAX_TAIL_BYTES = 1024 * 1024
_LONGEST_BYTES = 16 * 1024 * 1024
_CHECK_INTERVAL_S = 10.0
_FILE_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.log(\.[0-9]+)?")


class SerialLogs:
    """The logs in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, vm_uuid: str) -> Path:
        """The log of a VM; it may not exist yet."""
        return self._directory / f"{vm_uuid}.log"

    def exists(self, vm_uuid: str) -> bool:
        """Whether there is a log of a VM."""
        return self.path(vm_uuid).exists()

    def vms(self) -> frozenset[str]:
        """The VMs that have logs here."""
        return frozenset(match[1] for path in self._directory.iterdir() if (match := _FILE_NAME.fullmatch(path.name)))

    def remove(self, vm_uuid: str) -> None:
        """Remove the log of a VM, and what virtlogd rotated away of it."""
        for path in self._directory.glob(f"{vm_uuid}.log*"):
            path.unlink(missing_ok=True)

    def tail(self, vm_uuid: str, size_bytes: int) -> bytes | None:
        """The end of the log of a VM, at most `size_bytes`; None when there is none."""
        try:
            with self.path(vm_uuid).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - size_bytes))
                return file.read(size_bytes)
        except FileNotFoundError:
            return None

    def keep_bounded(self, stop: threading.Event) -> None:
        """Cut logs that grow too long; the body of a thread.

        There is no event for a file's growth short of one for each write. What a guest writes in the instant of the
        cut is lost.
        """
        while not stop.wait(_CHECK_INTERVAL_S):
            self.cut_long_ones()

    def cut_long_ones(self) -> None:
        """Cut each log that has grown too long to its end."""
        for vm_uuid in self.vms():
            self._cut(vm_uuid)

    def _cut(self, vm_uuid: str) -> None:
        try:
            if self.path(vm_uuid).stat().st_size <= _LONGEST_BYTES:
                return
            end = self.tail(vm_uuid, MAX_TAIL_BYTES) or b""
            with self.path(vm_uuid).open("r+b") as file:
                file.truncate(0)
                file.write(end)
        except FileNotFoundError:
            return
        except OSError as error:
            _log.warning("can't cut the serial log of VM %s: %s", vm_uuid, error.strerror)

"""A guest that tells each moment that it runs, and for how long it was not heard of while it moved.

The guest writes a number to its disk and to its serial line ten times a second. Its own clock stands still while it is
moved, so when it is heard of is taken here: from the logs of its serial line, on whichever host it is.
"""

import re
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from devcloud.waiting import wait_for

_LOOK_EVERY_S = 0.002
_DEADLINE_S = 180.0
_BEAT = re.compile(rb"beat ([0-9]+)\r?\n")
_LOOP = b"n=0; while :; do n=$((n+1)); echo $n > /root/n; echo beat $n; sleep 0.1; done > /dev/ttyS0 &\n"


class Heartbeat:
    """Listens to the serial logs at `paths`, one for each host that the guest may be on."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._lock = threading.Lock()
        self._last_at = 0.0
        self._last = 0
        self._longest_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def begin(self, serial_socket: Path) -> None:
        """Log in at the serial line of a guest that asks for it, have it beat, and listen."""
        wait_for("a login prompt", lambda: any(b"login:" in _read(path) for path in self._paths), _DEADLINE_S)
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(str(serial_socket))
            console.sendall(b"root\n")
            wait_for("a shell", lambda: any(b"# " in _read(path) for path in self._paths), _DEADLINE_S)
            console.sendall(_LOOP)
            self._thread.start()
            # What the guest has not taken yet would be lost with the connection.
            wait_for("the guest's first beats", lambda: self._last > 3, _DEADLINE_S)

    def reset(self) -> int:
        """Forget the longest silence; returns the number of the last beat."""
        with self._lock:
            self._longest_s = 0.0
            return self._last

    def longest_silence_s(self, after: int) -> float:
        """The longest silence since `reset`, once there are some beats more than `after`."""
        wait_for("beats of the guest", lambda: self._last > after + 10, _DEADLINE_S)
        with self._lock:
            return self._longest_s

    def close(self) -> None:
        """Listen no more."""
        self._stop.set()

    def _listen(self) -> None:
        offsets = dict.fromkeys(self._paths, 0)
        while not self._stop.wait(_LOOK_EVERY_S):
            for path in self._paths:
                content = _read(path, offsets[path])
                beats = list(_BEAT.finditer(content))
                if not beats:
                    # A log that is shorter than it was is that of a new stay on that host.
                    offsets[path] = min(offsets[path], path.stat().st_size) if path.exists() else 0
                    continue
                offsets[path] += beats[-1].end()
                self._note(int(beats[-1][1]))

    def _note(self, number: int) -> None:
        now = time.monotonic()
        with self._lock:
            if number <= self._last:
                return
            if self._last:
                self._longest_s = max(self._longest_s, now - self._last_at)
            self._last, self._last_at = number, now


def _read(path: Path, offset: int = 0) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""

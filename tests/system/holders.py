"""Which processes hold the disks of VMs: not what anybody says of them, but what the kernel knows of their locks."""

import re
import threading
from collections.abc import Mapping
from pathlib import Path

_QEMU = "qemu-system-x86"
_WRITES = 101  # the byte of an image that QEMU locks to write to it: block/file-posix.c
_LOCK = re.compile(
    r"^lock:\s+\d+: OFDLCK\s+ADVISORY\s+\w+ -?\d+ [0-9a-f]+:[0-9a-f]+:(\d+) (\d+) (\d+|EOF)$", re.MULTILINE
)


def holders(disks: Mapping[str, Path]) -> dict[str, set[int]]:
    """The processes that hold each of `disks` for writing, by the name that is given to the disk."""
    inodes = {disk.stat().st_ino: name for name, disk in disks.items() if disk.exists()}
    found: dict[str, set[int]] = {name: set() for name in disks}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _text(process / "comm").strip() == _QEMU:
            for inode in _written_by(process):
                if inode in inodes:
                    found[inodes[inode]].add(int(process.name))
    return found


def _written_by(process: Path) -> set[int]:
    """The inodes on which a process holds QEMU's lock of a writer."""
    try:
        descriptors = list((process / "fdinfo").iterdir())
    except OSError:  # it has ended
        return set()
    locks = (lock for descriptor in descriptors for lock in _LOCK.findall(_text(descriptor)))
    return {int(inode) for inode, first, last in locks if last == "EOF" or int(first) <= _WRITES <= int(last)}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Watch:
    """Looks all the time, `with` it, for disks that two processes hold."""

    def __init__(self, disks: Mapping[str, Path]) -> None:
        self.errors: list[str] = []
        self.looks = 0
        self.held: set[str] = set()
        """The disks that were ever seen held: without those it would prove nothing."""
        self._disks = disks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for name, pids in holders(self._disks).items():
                self.held |= {name} if pids else set()
                if len(pids) > 1:
                    self.errors.append(f"the disk of {name} is held by processes {sorted(pids)}")
            self.looks += 1

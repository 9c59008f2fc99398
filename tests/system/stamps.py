"""The stamps that guests leave on their disks (tests/guest/root/etc/init.d/stamp), and what is wrong with them.

Whoever boots on a disk goes on with the numbers that it finds there, so the numbers of each boot follow those of the
one before. Two that were at work at one time have begun at the same number and written over each other's stamps, or
one has gone on from a number that the other did not end at.
"""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

_SECTOR = 512
_MARK_SECTOR, _FIRST, _COUNT = 64, 65, 1983


@dataclass(frozen=True, order=True)
class Stamp:
    """A stamp: its number, the boot that left it, and the number that this boot found when it began."""

    number: int
    boot: str
    began: int


def ask_for_stamps(disk: Path) -> None:
    """Have the guests of a disk, which no guest may be using, leave stamps from their next boot on."""
    mark = f"write -P {ord('S')} {_MARK_SECTOR * _SECTOR} {_SECTOR}"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", mark, str(disk)], check=True, capture_output=True)


def read_stamps(disk: Path) -> list[Stamp]:
    """The stamps on a disk, by their numbers. It may be in use: what is written meanwhile is left out."""
    before = _scan(disk)
    last = before[-1].number if before else 0
    return [stamp for stamp in _scan(disk) if stamp.number <= last]


def _scan(disk: Path) -> list[Stamp]:
    command = ["qemu-img", "map", "-U", "--output=json", str(disk)]
    extents = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    stamps = []
    with disk.open("rb") as file:
        for sector in range(_FIRST, _FIRST + _COUNT):
            at = sector * _SECTOR
            extent = next(each for each in extents if each["start"] <= at < each["start"] + each["length"])
            if extent["depth"] == 0 and "offset" in extent:
                file.seek(extent["offset"] + at - extent["start"])
                stamps += _read(file.read(_SECTOR))
    return sorted(stamps)


def _read(sector: bytes) -> list[Stamp]:
    words = sector.replace(b"\0", b"").split()
    return [Stamp(int(words[0]), words[1].decode(), int(words[2]))] if len(words) == 3 else []


def errors(stamps: Iterable[Stamp]) -> list[str]:
    """Where stamps tell of two guests at one time. Older stamps may have been written over: that is no error."""
    found, seen, last = [], set[str](), None
    for boot, group in groupby(stamps, key=lambda stamp: stamp.boot):
        mine = list(group)
        if boot in seen:
            found.append(f"boot {boot} goes on at {mine[0].number} though another boot had begun")
        elif last is not None and mine[0].began != last.number:
            found.append(f"boot {boot} found {mine[0].began} when it began, the boot before it ended at {last.number}")
        seen.add(boot)
        numbers = [stamp.number for stamp in ([last] if last else []) + mine]
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            found.append(f"stamps of boot {boot} are missing")
        last = mine[-1]
    return found

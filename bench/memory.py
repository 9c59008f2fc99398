"""How much memory and processor time a process takes. Source: proc(5)."""

import os
from dataclasses import dataclass
from pathlib import Path

_KIB_PER_MB = 1000 / 1.024


@dataclass(frozen=True)
class Usage:
    """Megabytes that are a process's own with its part of what is shared (PSS), and all of them (RSS); CPU seconds."""

    pss_mb: float
    rss_mb: float
    cpu_s: float


def usage(pid: int) -> Usage:
    """What a process takes now."""
    fields = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        if line.endswith(" kB")
    )
    pss, rss = (int(fields[name].split()[0]) / _KIB_PER_MB for name in ("Pss", "Rss"))
    return Usage(pss, rss, cpu_s(pid))


def cpu_s(pid: int) -> float:
    """The seconds of processor time that a process has taken so far."""
    numbers = _stat(pid)
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that run."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                parent = int(_stat(int(directory.name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found.append(int(directory.name))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on: the name before it may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()

"""Which process one is, said so that another on the same machine can tell for certain that it is dead.

Source: proc(5), /proc/<pid>/stat and /proc/sys/kernel/random/boot_id; namespaces(7).
"""

import os
from pathlib import Path

_PROC = Path("/proc")
_DEAD_STATES = "ZX"


def boot_id() -> str:
    """The id that the kernel chose for this boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def identity() -> str:
    """This process, for `is_surely_dead`: the boot, the PID namespace, the PID and when the process began."""
    return f"{_scope()}/{os.getpid()}/{_start_of(os.getpid())}"


def is_surely_dead(process: str) -> bool:
    """Whether the process of that `identity` is known to be dead; False of one on another machine, or in doubt."""
    scope, _, rest = process.partition("/")
    pid, _, start = rest.partition("/")
    if scope != _scope() or not pid.isdigit() or not start.isdigit():
        return False
    return _start_of(int(pid)) != start


def _scope() -> str:
    """PIDs mean something within one PID namespace of one boot only."""
    return f"{boot_id()}:{(_PROC / 'self/ns/pid').stat().st_ino}"


def _start_of(pid: int) -> str | None:
    """When a process began, in clock ticks since the boot; None when there is none that lives."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in _DEAD_STATES else fields[18]

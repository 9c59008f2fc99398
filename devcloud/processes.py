"""Finding and ending processes by their ids, as /proc shows them."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from devcloud.errors import DeadlineExceeded
from devcloud.waiting import wait_for


def is_alive(pid: int) -> bool:
    """Whether process `pid` runs; one that has ended but was not yet reaped by its parent does not."""
    try:
        return _state(Path(f"/proc/{pid}/stat")) not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def name(pid: int) -> str:
    """The name of the program that process `pid` runs; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def with_variable(variable: str, value: str) -> set[int]:
    """The processes that were started with the environment variable `variable` set to `value`."""
    entry = f"{variable}={value}".encode()
    found = set()
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                environment = (directory / "environ").read_bytes().split(b"\0")
            except OSError:  # it has ended since
                continue
            if entry in environment:
                found.add(int(directory.name))
    return found - {os.getpid()}


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to those of `pids` that still exist."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def freeze(pid: int) -> None:
    """Stop a process with SIGSTOP; returns when each of its threads stands still, or it has ended."""
    send([pid], signal.SIGSTOP)
    wait_for(f"process {pid} standing still", lambda: all(state in "TtZX" for state in _states(pid)), 10.0, 0.002)


def _states(pid: int) -> list[str]:
    """The state of each thread of a process, as in proc(5); none when it has ended."""
    states = []
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            states.append(_state(thread))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return states


def _state(stat: Path) -> str:
    """What a file /proc/.../stat says; FileNotFoundError or ProcessLookupError when there is no such thing."""
    return stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]


def end(pids: Iterable[int], grace_s: float = 5.0) -> None:
    """End `pids`, the stopped ones too: politely first, with SIGKILL after `grace_s`; returns when all are gone."""
    pids = set(pids)
    send(pids, signal.SIGTERM)
    send(pids, signal.SIGCONT)
    try:
        wait_until_gone(pids, grace_s)
    except DeadlineExceeded:
        send((pid for pid in pids if is_alive(pid)), signal.SIGKILL)
        wait_until_gone(pids, 10.0)


def wait_until_gone(pids: Iterable[int], timeout_s: float) -> None:
    """Wait until none of `pids` runs."""
    wait_for(f"the end of processes {sorted(pids)}", lambda: not any(map(is_alive, pids)), timeout_s)

"""wrk, a load generator that costs little processor time itself: a closed loop over connections that are kept open."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import memory

_SCRIPT = Path(__file__).resolve().parent / "wrk.lua"
CONNECTIONS = 16
_STARTS_AND_ENDS_S = 10


@dataclass(frozen=True)
class Load:
    """Requests to send in turn: lines of a path and, if any is wanted, a bearer token behind a space.

    `server_pid` is the process whose children answer, or that answers itself if it has none. `enter` is what a command
    begins with that runs where the client is to be. With `reconnects`, each request is on a connection of its own.
    """

    name: str
    server_pid: int
    base_url: str
    lines: Sequence[str]
    method: str = "GET"
    body: str = ""
    connections: int = CONNECTIONS
    enter: Sequence[str] = ()
    reconnects: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a load: successes a second, and which part of the answers were refusals (4xx, 5xx).

    `cpu_us` is the server's processor time for each answer, `busiest` the part of it that its busiest worker took.
    """

    per_second: float
    refused: float = 0.0
    p99_ms: float = 0.0
    cpu_us: float = 0.0
    busiest: float = 0.0


def need() -> None:
    """End the program, saying so, where wrk is not installed."""
    if shutil.which("wrk") is None:
        print("SKIPPED: wrk is not installed (make setup)")
        sys.exit(0)


def send(load: Load, directory: Path, duration_s: float) -> Outcome:
    """Send a load for a while; no answer ends the measurement."""
    file = directory / "requests.txt"  # not arguments: tokens stay out of process lists
    file.write_text("\n".join(load.lines), encoding="ascii")
    file.chmod(0o600)
    arguments = [str(file), load.method, *([load.body] if load.body else [])]
    options = [f"--connections={load.connections}", f"--duration={duration_s:g}s", "--timeout=10s"]
    command = [
        *load.enter,
        "wrk",
        "--threads=1",
        *options,
        *(["--header=Connection: close"] if load.reconnects else []),
    ]
    before = _cpu_s(load)
    done = subprocess.run(
        [*command, f"--script={_SCRIPT}", load.base_url, "--", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=duration_s + _STARTS_AND_ENDS_S,
    )
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    answered, refused = told["requests"], told["refused"]
    if told["broken"] or answered == refused:
        raise RuntimeError(f"{load.name}: {told}")
    per_second = (answered - refused) / (told["duration_us"] / 1e6)
    took_s = [after - before[pid] for pid, after in _cpu_s(load).items()]
    all_s = sum(took_s)
    return Outcome(per_second, refused / answered, told["p99_us"] / 1000, 1e6 * all_s / answered, max(took_s) / all_s)


def _cpu_s(load: Load) -> dict[int, float]:
    """The processor time of each worker so far."""
    return {pid: memory.cpu_s(pid) for pid in memory.children(load.server_pid) or [load.server_pid]}

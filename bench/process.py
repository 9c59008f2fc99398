"""Programs that a measurement runs beside itself: started, waited for, ended with it whatever happens."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from devcloud.waiting import wait_for

_END_S = 15.0


def end_cleanly() -> None:
    """Have SIGTERM end this program as Ctrl-C does: with everything that it started removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))


@contextmanager
def running(module: str, *arguments: str, log: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """Run `python -m MODULE ARGUMENTS`, its output in `log`; gives the process id, and ends it in the end."""
    # setpriv: a measurement that is killed leaves nothing behind.
    command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", module, *arguments]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=output, stdin=subprocess.DEVNULL
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_answering(url: str, log: Path, timeout_s: float) -> None:
    """Wait until `url` answers with a success."""

    def look() -> bool:
        try:
            return requests.get(url, timeout=5).ok
        except requests.RequestException:
            return False

    wait_for(f"{url} answering, see {log}", look, timeout_s, interval_s=0.2)

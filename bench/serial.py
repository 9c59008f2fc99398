"""The moment at which a guest first says something on its serial port."""

import time
from pathlib import Path

from devcloud.waiting import wait_for

_LOOK_EVERY_S = 0.002
_DEADLINE_S = 60.0


def wait_first_byte(log: Path) -> float:
    """Wait until the serial log `log` holds anything; returns when, in seconds of the epoch."""

    def look() -> bool:
        try:
            return log.stat().st_size > 0
        except FileNotFoundError:
            return False

    wait_for(f"a first byte in {log}", look, _DEADLINE_S, _LOOK_EVERY_S)
    return time.time()

"""Waiting for what another process does, where nothing tells of it."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from devcloud.errors import DeadlineExceeded

T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], timeout_s: float, interval_s: float = 0.05) -> T:
    """The first true result of `look`, tried each `interval_s`; DeadlineExceeded names `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    never = threading.Event()
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"not in {timeout_s:g} s: {what}")
        never.wait(interval_s)

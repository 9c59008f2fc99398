"""How far the conversion of an image is, by how much of its target is there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_S = 1.0
_BLOCK_BYTES = 512
"""What st_blocks counts in, whatever the file system's own blocks are: stat(2)."""


@contextmanager
def progress(target: Path, expected_bytes: int, report: Callable[[int], None]) -> Iterator[None]:
    """Call `report` with 0, and with each other percentage that `target` is at while the body runs, at most 99."""
    done = threading.Event()

    def watch() -> None:
        last = 0
        while not done.wait(_LOOK_S):
            percent = _percent(target, expected_bytes)
            if percent > last:
                report(percent)
                last = percent

    report(0)
    watcher = threading.Thread(target=watch, name=f"progress {target.parent.name}", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _percent(target: Path, expected_bytes: int) -> int:
    try:
        written = target.stat().st_blocks * _BLOCK_BYTES
    except OSError:
        return 0
    return min(99, written * 100 // max(1, expected_bytes))

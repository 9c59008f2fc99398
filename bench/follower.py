"""When each VM of a cloud was placed, and what its host said of it, as two watches tell it."""

import threading
import time
from collections.abc import Callable, Collection

from common import keys
from common.schemas.vm import Actual
from common.store import Store
from devcloud.waiting import wait_for

_LOOK_S = 0.05
_Note = Callable[[str, bytes, float], None]


class Follower:
    """The last time (seconds, monotonic) that each VM was placed, said to run, and said to have died."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self.placed_at: dict[str, float] = {}
        self.running_at: dict[str, float] = {}
        self.killed_at: dict[str, float] = {}
        notes: tuple[tuple[str, _Note], ...] = (
            (keys.PLACEMENT, self._note_placement),
            (keys.STATUS_VM, self._note_status),
        )
        revision = revision_of(store) + 1
        self._threads = [
            threading.Thread(target=self._follow, args=(prefix, revision, note), daemon=True) for prefix, note in notes
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the watches."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def wait_running(self, vms: Collection[str], since: float, timeout_s: float) -> float:
        """Wait until all of `vms` were said to run after `since`; returns when the last was."""
        left = set(vms)

        def look() -> bool:
            left.difference_update([vm for vm in left if self.running_at.get(vm, 0) > since])
            return not left

        wait_for(f"{len(vms)} VMs running", look, timeout_s, _LOOK_S)
        return max(self.running_at[vm] for vm in vms)

    def _follow(self, prefix: str, revision: int, note: _Note) -> None:
        for news in self._store.watch(prefix, revision, self._stop):
            now = time.monotonic()
            for change in news.changes:
                if change.value is not None:
                    note(keys.last_part(change.key), change.value, now)

    def _note_placement(self, vm: str, _: bytes, now: float) -> None:
        self.placed_at[vm] = now

    def _note_status(self, vm: str, value: bytes, now: float) -> None:
        if _says(Actual.RUNNING, value):
            self.running_at[vm] = now
        elif _says(Actual.KILLED, value):
            self.killed_at[vm] = now


def revision_of(store: Store) -> int:
    """The revision that etcd is at."""
    return store.list("/none/").revision


def _says(actual: Actual, status: bytes) -> bool:
    """Without reading all of it: there are thousands a second."""
    return b'"actual":"%s"' % actual.encode() in status

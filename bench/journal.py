"""When what became of a VM: from etcd, as a watch tells it, and from the log of the daemon on its host."""

import re
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from common import keys
from common.schemas.vm import Actual, VmStatus
from common.store import Change, Store

PLACED = "placed"
_ACTION = re.compile(r"(?P<at>\S+ \S+) INFO common\.controller: (?P<vm>[0-9a-f-]{36}): (?P<action>\w+)")


class Journal:
    """Follows the placements and the statuses of one host, until it is closed."""

    def __init__(self, store: Store, host: str) -> None:
        self._store = store
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._at: dict[tuple[str, str], float] = {}
        self._threads = [
            threading.Thread(target=self._follow, args=(prefix, store.list(prefix).revision + 1), daemon=True)
            for prefix in (keys.placements(host), keys.vm_statuses(host))
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the watches."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)

    def times(self, vm_uuid: str) -> Mapping[str, float]:
        """Seconds of the epoch at which a VM was PLACED, and was reported in each state, the first time."""
        with self._lock:
            return {what: at for (vm, what), at in self._at.items() if vm == vm_uuid}

    def _follow(self, prefix: str, revision: int) -> None:
        for news in self._store.watch(prefix, revision, self._stop):
            now = time.time()
            for change in news.changes:
                if change.value is not None:
                    self._note(change, change.value, now)

    def _note(self, change: Change, value: bytes, now: float) -> None:
        what: str | Actual = PLACED
        if change.key.startswith(keys.STATUS_VM):
            what = VmStatus.read(change.key, value).actual
        with self._lock:
            self._at.setdefault((keys.last_part(change.key), str(what)), now)


def actions(log: Path, vm_uuid: str) -> list[tuple[str, float]]:
    """The steps that a controller's log tells of a VM, in order, each with its beginning in seconds of the epoch."""
    found = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        match = _ACTION.match(line)
        if match and match["vm"] == vm_uuid:
            at = datetime.strptime(match["at"], "%Y-%m-%d %H:%M:%S,%f").astimezone()
            found.append((match["action"], at.timestamp()))
    return found

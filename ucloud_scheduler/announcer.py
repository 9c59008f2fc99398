"""Tells of what the scheduler did, when it has nothing else to do: an event costs etcd as much as a placement does.

So it is told after the commit, and what a scheduler has not told when it dies, nobody tells.
"""

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime

from common.errors import Refused
from common.events import EventLog
from common.store import MAX_OPERATIONS, Compare, Put, Store
from ucloud_scheduler.told import told
from ucloud_scheduler.writes import Write

_MOST_UNTOLD = 50_000
_AT_ONCE = MAX_OPERATIONS


class Announcer:
    """Keeps what is to be told. When it is too much, the oldest is not told."""

    def __init__(self, store: Store, log: EventLog) -> None:
        self._store = store
        self._log = log
        self._untold: deque[tuple[Write, datetime]] = deque(maxlen=_MOST_UNTOLD)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return len(self._untold) > 0

    def note(self, written: Iterable[Write]) -> None:
        """These writes were carried out."""
        now = datetime.now(UTC)
        self._untold.extend((write, now) for write in written)

    def tell(self, guard: Compare) -> None:
        """Write the events that are the oldest, one transaction of them; LeadershipLost, StoreError or Unavailable."""
        batch = [self._untold.popleft() for _ in range(min(_AT_ONCE, len(self._untold)))]
        puts: list[Put] = []
        for write, at in batch:
            if event := told(write, at):
                puts += self._log.tell("vm", write.vm.uuid, event)
        if not puts:
            return
        try:
            self._store.commit([guard], puts)
        except Refused:
            self._log.forget_leases(puts)
            raise

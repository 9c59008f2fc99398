"""Election of one instance of a daemon: who created the leader's key leads, for as long as its lease lasts.

Leading is a belief that can be out of date (a process may be stopped for a minute between two lines). What makes it
safe is `guard()`: a compare on the key's create revision in each transaction of the leader, which etcd refuses once
another instance leads.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from common import keys, process
from common.errors import Conflict, LeadershipLost, MalformedRecord, StoreError, Unavailable
from common.lease import Lease
from common.metrics import Metrics
from common.schemas.leader import Leader
from common.store import Compare, Delete, Entry, Put, Store, absent, led_by, unchanged

_log = logging.getLogger(__name__)
DEFAULT_TTL_S = 3
_RETRY_S = 0.5


class Election:
    """One instance's part in the election of `daemon`. `instance` names it for people."""

    def __init__(self, store: Store, daemon: str, instance: str, metrics: Metrics, ttl_s: int = DEFAULT_TTL_S) -> None:
        self.key = keys.leader(daemon)
        self._store = store
        self._instance = instance
        self._metrics = metrics
        self._ttl_s = ttl_s
        self._create_revision = 0
        self._listeners: list[Callable[[], None]] = []

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when this instance begins or ceases to lead; it must not block."""
        self._listeners.append(listener)

    @property
    def is_leader(self) -> bool:
        """Whether this instance believes that it leads."""
        return self._create_revision > 0

    def guard(self) -> Compare | None:
        """The compare that each write of this leader carries; None while another leads."""
        revision = self._create_revision
        return led_by(self.key, revision) if revision else None

    def run(self, stop: threading.Event) -> None:
        """Stand for election until `stop`; the body of a thread. A clean stop hands over at once."""
        while not stop.is_set():
            try:
                self._stand(stop)
            except (Unavailable, StoreError) as error:
                _log.warning("election of %s: %s", self.key, error)
                stop.wait(_RETRY_S)

    def _stand(self, stop: threading.Event) -> None:
        lease = Lease.grant(self._store, self._ttl_s)
        try:
            record = Leader(instance=self._instance, since=datetime.now(UTC), process=process.identity())
            self._store.commit([absent(self.key)], [Put(self.key, record.to_json(), lease.id)])
        except Conflict:
            lease.revoke()
            self._wait_for_vacancy(stop)
            return
        # Read it back: when an answer got lost, `commit` reports a later revision than that of the key.
        entry = self._store.get(self.key)
        if entry is None or entry.lease != lease.id:
            return
        self._set(entry.create_revision)
        try:
            lease.keep(stop, needed=lambda: self.is_leader)
        finally:
            self._set(0)
        lease.revoke()

    def confirm(self, guard: Compare) -> None:
        """LeadershipLost unless etcd says that the term of `guard` lasts: before an effect that etcd can't fence."""
        entry = self._store.get(self.key)
        if not guard.holds([entry] if entry else []):
            raise LeadershipLost((self.key,))

    def step_down(self, guard: Compare) -> None:
        """etcd refused a write that carried `guard` because another leads: believe it at once."""
        self._metrics.refused_writes.inc()
        _log.warning("a write was refused: another instance leads %s", self.key)
        self._end_term(guard)

    def resign(self, guard: Compare, why: str) -> None:
        """Cease to lead, and stand again: once this instance is elected anew, no write with `guard` can be accepted.

        For a leader that does not know what became of a write: it may be carried out at any later time, except after
        this.
        """
        _log.warning("resigning from %s: %s", self.key, why)
        self._end_term(guard)

    def _end_term(self, guard: Compare) -> None:
        if guard == self.guard():
            self._set(0)

    def _set(self, create_revision: int) -> None:
        if create_revision == self._create_revision:
            return
        self._create_revision = create_revision
        self._metrics.leading.set(1 if create_revision else 0)
        _log.info("%s: %s", self.key, "leading" if create_revision else "not leading")
        for listener in self._listeners:
            listener()

    def _succeed(self, leader: Entry) -> bool:
        """Have nobody lead if the leader was a process of this machine that is dead; so nobody waits for its lease.

        Were it not dead, this would do no harm: as soon as the key is gone, no write of that leader is accepted.
        """
        try:
            record = Leader.read(leader.key, leader.value)
        except MalformedRecord:
            return False
        if not process.is_surely_dead(record.process):
            return False
        _log.info("%s: %s is dead", self.key, record.instance)
        with suppress(Conflict):
            self._store.commit([unchanged(leader.key, leader.mod_revision)], [Delete(leader.key)])
        return True

    def _wait_for_vacancy(self, stop: threading.Event) -> None:
        entry = self._store.get(self.key)
        if entry is None or self._succeed(entry):
            return
        # `key` as a prefix: no daemon's name is the beginning of another's.
        for news in self._store.watch(self.key, entry.mod_revision + 1, stop):
            if any(change.value is None for change in news.changes):
                return

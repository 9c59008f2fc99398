"""A prefix of etcd held in memory: list, then watch; whatever goes wrong with the watch, list again.

Records that can't be read are kept apart: they are logged and counted once, named in `malformed`, and a caller must
not take their keys for absent. The last good record of such a key stays.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from common.errors import Compacted, MalformedRecord, UcloudError, Unavailable
from common.metrics import Metrics
from common.schemas.record import Record
from common.store import PROBE_INTERVAL_S, Change, Entry, Listing, News, Store, Watch

_log = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)
R_co = TypeVar("R_co", bound=Record, covariant=True)
_RETRY_S = 1.0
# A watch that stands gives a sign of life each second; this one has had time to notice, and to find another member.
_SILENT_S = 4.0
# An event needs less; after that long it pays to ask how far etcd is.
_ASK_AFTER_S = 0.05


@dataclass(frozen=True, slots=True)
class Cached(Generic[R_co]):
    """A record with the revisions that a later write is compared with."""

    record: R_co
    create_revision: int
    mod_revision: int


class Cache(Generic[R]):
    """The records of one kind below a prefix. Reading never blocks on etcd."""

    def __init__(
        self,
        store: Store,
        prefix: str,
        kind: type[R],
        metrics: Metrics,
        probe_interval_s: float = PROBE_INTERVAL_S,
    ) -> None:
        """`probe_interval_s`: see Store.watch."""
        self.prefix = prefix
        self._probe_interval_s = probe_interval_s
        self._store = store
        self._kind = kind
        self._metrics = metrics
        self._lock = threading.Lock()
        self._records: dict[str, Cached[R]] = {}
        self._malformed: dict[str, MalformedRecord] = {}
        self._malformed_revisions: dict[str, int] = {}
        self._removed: dict[str, int] = {}
        self._expected: dict[str, tuple[bytes, R]] = {}
        self._revision = 0
        self._listed_at = 0
        self._listing = threading.Lock()
        self._told = 0
        self._telling: list[set[str]] = []
        self._untold: dict[str, int] = {}
        self._progress = threading.Condition(self._lock)
        self._listeners: list[Callable[[str], None]] = []
        self._synced = threading.Event()
        self._watch: Watch | None = None
        self._watching = threading.Event()
        self._heard_at_s = 0.0

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each key that may have changed: a hint to look, never data. It must not block."""
        self._listeners.append(listener)

    def run(self, stop: threading.Event) -> None:
        """Keep the cache until `stop`; the body of a thread."""
        while not stop.is_set():
            try:
                revision = self._list_anew()
                self._watch = self._store.watch(self.prefix, revision + 1, stop, self._probe_interval_s)
                for news in self._watch:
                    self._heard_at_s = time.monotonic()
                    self._watching.set()
                    self._apply(news)
            except Compacted as error:
                _log.info("listing %s again: %s", self.prefix, error)
            except Unavailable as error:
                _log.warning("can't list %s: %s", self.prefix, error)
                stop.wait(_RETRY_S)
            finally:
                self._watching.clear()

    def keep(self, stop: threading.Event) -> None:
        """As `run`, for who does not end by what ends that (a password that is wrong, say); `problem` tells of it."""
        while not stop.is_set():
            try:
                self.run(stop)
            except UcloudError as error:
                _log.error("%s can't be watched: %s", self.prefix, error)
                stop.wait(_RETRY_S)

    def refresh(self) -> None:
        """List the prefix now, beside the watch: afterwards the cache knows all that was written before this call.

        The listeners have been called with all of it. Unavailable if etcd does not answer.
        """
        with self._listing:
            listing = self._store.list(self.prefix)
            with self._lock:
                touched = set() if listing.revision <= self._revision else self._enter_all(listing)
                # What the watch has entered and is about to tell counts as known here: tell of it, too.
                touched = touched.union(*self._telling)
                self._telling.append(touched)
        self._tell(touched)

    def get(self, key: str) -> Cached[R] | None:
        """The record at `key`, as far as this cache knows."""
        with self._lock:
            return self._records.get(key)

    def look(self, key: str) -> tuple[Cached[R] | None, bool]:
        """Both answers, of `get` and of `is_malformed`, as of one moment."""
        with self._lock:
            return self._records.get(key), key in self._malformed

    def records(self) -> dict[str, Cached[R]]:
        """All records by key, a copy."""
        with self._lock:
            return dict(self._records)

    def is_malformed(self, key: str) -> bool:
        """Whether `key` holds something that can't be read; `get` may still have the last good record."""
        with self._lock:
            return key in self._malformed

    @property
    def malformed(self) -> dict[str, str]:
        """The keys whose records can't be read, with the problem of each."""
        with self._lock:
            return {key: error.problem for key, error in self._malformed.items()}

    def wait_synced(self, timeout_s: float | None = None) -> bool:
        """Wait until the prefix has been listed once; False when it took too long."""
        return self._synced.wait(timeout_s)

    @property
    def revision(self) -> int:
        """An etcd revision up to which everything below the prefix has been entered, and told to the listeners."""
        return self._told

    @property
    def listed_at(self) -> int:
        """The revision of the last listing (0: there was none); what came and went before it may be untold for ever."""
        return self._listed_at

    def ask(self, revision: int) -> None:
        """Have etcd tell how far it is, if that is not known to be `revision`: `wait_revision` then waits for less."""
        if self._watch and self._told < revision:
            self._watch.ask()

    def wait_revision(self, revision: int, timeout_s: float) -> bool:
        """Wait until a write below the prefix at `revision` has been entered and told; False when it took too long.

        For writes below other prefixes, which bring no event, etcd is asked how far it is. Where it is too old for its
        answers to be believed, that takes for ever.
        """
        deadline = time.monotonic() + timeout_s
        with self._progress:
            while self._told < revision:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                self._progress.wait(min(left_s, _ASK_AFTER_S))
                if self._watch and self._told < revision:
                    self._watch.ask()
        return True

    def problem(self) -> str | None:
        """What is wrong with the cache, for /healthz; None while it is listed and its watch stands."""
        if not self._synced.is_set():
            return f"{self.prefix} has not been listed yet"
        stands = self._watching.is_set() and time.monotonic() - self._heard_at_s < _SILENT_S
        return None if stands else f"{self.prefix} is not watched at the moment"

    def expect(self, key: str, record: R, value: bytes) -> None:
        """`record` is about to be written as `value`: should the watch tell of it before `note` does, it is not parsed.

        Whether it is written is still to be seen. `expect_nothing` ends it.
        """
        with self._lock:
            self._expected[key] = value, record

    def expect_nothing(self) -> None:
        """What was expected is written by now, or won't be."""
        with self._lock:
            self._expected.clear()

    def note(self, key: str, record: R | None, revision: int) -> None:
        """Enter an own write (None: a removal) at once, before the watch tells of it."""
        with self._lock:
            self._untold[key] = max(revision, self._untold.get(key, 0))
            if record is None:
                if self._records.get(key) and self._records[key].mod_revision < revision:
                    del self._records[key]
                self._malformed.pop(key, None)
                self._removed[key] = revision
                return
            known = self._records.get(key)
            if max(known.mod_revision if known else 0, self._removed.get(key, 0)) >= revision:
                return
            self._malformed.pop(key, None)
            self._records[key] = Cached(record, known.create_revision if known else revision, revision)

    def _list_anew(self) -> int:
        """List before a watch begins; returns the revision that the watch goes on from."""
        with self._listing:
            listing = self._store.list(self.prefix)
            with self._lock:
                touched: set[str] = set()
                if listing.revision < self._revision:
                    # A store restored from a backup: what is younger than it never was.
                    touched = set(self._records)
                    self._records, self._removed = {}, {}
                touched |= self._enter_all(listing)
                self._telling.append(touched)
        self._synced.set()
        self._tell(touched)
        return listing.revision

    def _enter_all(self, listing: Listing) -> set[str]:
        """Make the listing what this cache knows; returns the keys that have changed, or of which nobody was told."""
        before, malformed_before = self._records, set(self._malformed)
        # Own writes that are younger than the listing survive it.
        self._records = {key: cached for key, cached in before.items() if cached.mod_revision > listing.revision}
        listed = {entry.key for entry in listing.entries}
        self._malformed = {key: error for key, error in self._malformed.items() if key in listed}
        changed = malformed_before - listed
        for entry in listing.entries:
            if self._removed.get(entry.key, 0) >= entry.mod_revision or entry.key in self._records:
                continue
            known = before.get(entry.key)
            if known and known.mod_revision == entry.mod_revision:
                self._records[entry.key] = known
            else:
                self._enter(entry, known)
                changed.add(entry.key)
        changed.update(key for key in before if key not in self._records)
        changed.update(key for key, revision in self._untold.items() if revision <= listing.revision)
        self._untold = {key: revision for key, revision in self._untold.items() if revision > listing.revision}
        self._revision = self._listed_at = listing.revision
        self._metrics.lists.labels(self.prefix).inc()
        return changed

    def _apply(self, news: News) -> None:
        with self._lock:
            self._enter_changes(news.changes)
            self._revision = max(self._revision, news.revision)
            if self._removed:
                self._removed = {key: at for key, at in self._removed.items() if at > self._revision}
            touched = {change.key for change in news.changes}
            self._telling.append(touched)
        self._tell(touched)

    def _enter_changes(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            if self._untold and self._untold.get(change.key, change.revision + 1) <= change.revision:
                del self._untold[change.key]
            if change.revision <= self._listed_at:
                continue  # a listing beside the watch has told of it, and of what came after
            known = self._records.get(change.key)
            if max(known.mod_revision if known else 0, self._removed.get(change.key, 0)) >= change.revision:
                continue
            if change.value is None:
                self._records.pop(change.key, None)
                self._malformed.pop(change.key, None)
            else:
                self._enter(Entry(change.key, change.value, change.create_revision, change.revision), known)

    def _enter(self, entry: Entry, last_good: Cached[R] | None) -> None:
        try:
            value, record = self._expected.get(entry.key, (None, None))
            if record is None or value != entry.value:
                record = self._kind.read(entry.key, entry.value)
        except MalformedRecord as error:
            self._malformed[entry.key] = error
            if last_good:
                self._records[entry.key] = last_good
            if self._malformed_revisions.get(entry.key) != entry.mod_revision:
                self._malformed_revisions[entry.key] = entry.mod_revision
                self._metrics.malformed.labels(self.prefix).inc()
                _log.error("malformed record, left alone: %s", error)
            return
        self._malformed.pop(entry.key, None)
        self._malformed_revisions.pop(entry.key, None)
        self._records[entry.key] = Cached(record, entry.create_revision, entry.mod_revision)

    def _tell(self, keys: set[str]) -> None:
        """Call the listeners. `keys` were added to what is being told when they were entered."""
        for listener in self._listeners:
            for key in keys:
                listener(key)
        with self._progress:
            self._telling.remove(keys)
            # A listing beside the watch is no progress as long as the watch still tells what it entered before.
            if not self._telling:
                self._told = self._revision
                self._progress.notify_all()

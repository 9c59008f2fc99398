"""What the judge knows: caches of one term of office, and since when it has known of each silence.

A silence is told from the next one of the same host by its verdict: the host removes that when it is back. So the clock
of a silence begins when this judge knows its verdict, and stands for a time in which the host was never alive.
"""

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from common import keys
from common.cache import Cache, Cached
from common.metrics import Metrics
from common.schemas.host import Alive, ConfirmedDead, HostRequest, HostStatus
from common.schemas.record import Record
from common.schemas.verdict import Sentence, Verdict
from common.store import Compare, Store, absent, present, unchanged
from ucloud_host.fences import Silence
from ucloud_host.inquiries import Inquiries, Subject
from ucloud_host.sentence import Asked, Sight

R = TypeVar("R", bound=Record)
_RETRY_S = 1.0


class Caches:
    """All that the judge watches, for one term."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self.store = store
        self.alive = Cache(store, keys.ALIVE, Alive, metrics)
        self.last_alive = Cache(store, keys.STATUS_ALIVE, Alive, metrics)
        self.statuses = Cache(store, keys.STATUS_HOST, HostStatus, metrics)
        self.hosts = Cache(store, keys.HOST, HostRequest, metrics)
        self.verdicts = Cache(store, keys.VERDICT, Verdict, metrics)
        self._all: tuple[Cache[Any], ...] = (self.alive, self.last_alive, self.statuses, self.hosts, self.verdicts)

    def start(self, end: threading.Event, tell: Callable[[], None]) -> None:
        """List and watch until `end`; `tell` is called with each news."""
        for cache in self._all:
            cache.subscribe(lambda _: tell())
            threading.Thread(target=cache.keep, args=(end,), name=f"judge {cache.prefix}", daemon=True).start()

    def wait_listed(self, is_over: Callable[[], bool]) -> bool:
        """Wait until all are listed; False when it is over before."""
        for cache in self._all:
            while not cache.wait_synced(_RETRY_S):
                if is_over():
                    return False
        return True

    def problem(self) -> str | None:
        """What is wrong with any of them."""
        return next((problem for cache in self._all if (problem := cache.problem())), None)

    def malformed(self) -> Mapping[str, str]:
        """The records that can't be read."""
        return {key: problem for cache in self._all for key, problem in cache.malformed.items()}


class Docket:
    """The hosts as this judge sees them, in this term. Belongs to one thread."""

    def __init__(self, caches: Caches, inquiries: Inquiries) -> None:
        self._caches = caches
        self._inquiries = inquiries
        self._known_since: dict[Subject, float] = {}
        self._dead_since: dict[Subject, float] = {}
        self._silences: dict[str, tuple[Subject, Silence]] = {}
        self._asked: dict[str, Mapping[str, Asked]] = {}
        self._fallen: set[str] = set()
        """The hosts that had a verdict in this term, and whose return was not told since."""
        self.returned: tuple[str, ...] = ()
        """Of these, who was alive at the last sights. Caches may be ahead of one another: a verdict may go first."""

    def sights(self) -> tuple[Sight, ...]:
        """All registered hosts as they are now. One that was never alive has never had a VM, and is none yet."""
        names = sorted(_names(self._caches.statuses) & _names(self._caches.last_alive))
        now_s = time.monotonic()
        self._silences, self._asked = {}, {}
        sights = tuple(self._look(name, now_s) for name in names)
        self._fallen.update(self._silences)
        self.returned = tuple(sight.host for sight in sights if sight.is_alive and sight.host in self._fallen)
        subjects = {subject for subject, _ in self._silences.values()}
        self._known_since = {subject: at for subject, at in self._known_since.items() if subject in subjects}
        self._dead_since = {subject: at for subject, at in self._dead_since.items() if subject in subjects}
        self._inquiries.keep_only(subjects)
        return sights

    def _look(self, host: str, now_s: float) -> Sight:
        alive, cached = self._caches.alive, self._verdict(host)
        if alive.get(keys.alive(host)) or alive.is_malformed(keys.alive(host)):
            return Sight(host, is_alive=True, verdict=cached.record if cached else None)
        last, status = _readable(self._caches.last_alive, keys.last_alive(host)), self._status(host)
        boot_id = last.record.boot_id if last else status.boot_id if status else ""
        if cached is None:
            return Sight(host, is_alive=False, boot_id=boot_id)
        subject = (host, cached.create_revision)
        seen_s = now_s - self._known_since.setdefault(subject, now_s)
        guarded_s = last.record.guarded_s if last else None
        silence = Silence(host, seen_s, guarded_s, status, self._confirmed(host, cached.record))
        asked = self._inquiries.asked(subject, silence, now_s)
        self._silences[host], self._asked[host] = (subject, silence), asked
        dead_for_s = self._dead_for_s(subject, cached.record, now_s)
        return Sight(host, False, cached.record, boot_id, seen_s, dead_for_s, asked)

    def _verdict(self, host: str) -> Cached[Verdict] | None:
        """One that can't be read is none: it is written over."""
        return _readable(self._caches.verdicts, keys.verdict(host))

    def _status(self, host: str) -> HostStatus | None:
        status = _readable(self._caches.statuses, keys.host_status(host))
        return status.record if status else None

    def _confirmed(self, host: str, verdict: Verdict) -> ConfirmedDead | None:
        word = _readable(self._caches.hosts, keys.host(host))
        confirmed = word.record.confirmed_dead if word else None
        is_meant = confirmed and (confirmed.boot_id, confirmed.since) == (verdict.boot_id, verdict.since)
        return confirmed if is_meant else None

    def _dead_for_s(self, subject: Subject, verdict: Verdict, now_s: float) -> float:
        """For how long a host has been DEAD: by the wall clock up to when this judge saw it, by its own from there."""
        if verdict.sentence is not Sentence.DEAD:
            return 0.0
        age_s = (datetime.now(UTC) - verdict.judged_at).total_seconds() if verdict.judged_at else 0.0
        return now_s - self._dead_since.setdefault(subject, now_s - max(0.0, age_s))

    def compares(self, host: str, verdict: Verdict | None) -> list[Compare]:
        """What must be so in etcd for a verdict to be written (None: removed) from the last sights."""
        key = keys.verdict(host)
        cached, entry = self._verdict(host), None
        if self._caches.verdicts.is_malformed(key):
            entry = self._caches.store.get(key)
        known = cached or entry
        compares = [unchanged(key, known.mod_revision if known else 0)]
        compares.append(absent(keys.alive(host)) if verdict else present(keys.alive(host)))
        if verdict and verdict.sentence is Sentence.DEAD:
            if not self._caches.last_alive.is_malformed(keys.last_alive(host)):
                last = self._caches.last_alive.get(keys.last_alive(host))
                compares.append(unchanged(keys.last_alive(host), last.mod_revision if last else 0))
            for fence in verdict.fenced_by.split("+"):
                answer = self._asked[host][fence].answer
                compares += answer.rests_on if answer else ()
        return compares

    def verdict(self, host: str) -> Verdict | None:
        """The verdict on a host as it is known now."""
        cached = self._verdict(host)
        return cached.record if cached else None

    def note(self, host: str, verdict: Verdict | None, revision: int) -> None:
        """A verdict was written."""
        self._caches.verdicts.note(keys.verdict(host), verdict, revision)
        if verdict:
            self._fallen.add(host)

    def note_told(self, host: str) -> None:
        """That a host is back was told."""
        self._fallen.discard(host)

    def ask(self, host: str, fence: str) -> None:
        """Ask a fence about a host's silence, as it was seen last."""
        subject, silence = self._silences[host]
        self._inquiries.ask(subject, fence, silence)

    def reconsider(self, host: str) -> None:
        """Something about a host is not as it was seen: what fences said of it counts no more."""
        if host in self._silences:
            self._inquiries.forget(self._silences[host][0])

    def seen_s(self, host: str) -> float:
        """For how long a host's silence had been seen at the last sights."""
        return self._silences[host][1].seen_s if host in self._silences else 0.0


def _names(cache: Cache[Any]) -> set[str]:
    return {keys.last_part(key) for key in (*cache.records(), *cache.malformed)}


def _readable(cache: Cache[R], key: str) -> Cached[R] | None:
    """The record at `key`, unless what stands there now can't be read."""
    cached, is_malformed = cache.look(key)
    return None if is_malformed else cached

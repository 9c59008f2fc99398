"""The loop that every reconciling daemon runs: look at a request and at the machine, decide, act, report.

An event is a hint to look, never data to act on. One name is worked on by one thread at a time. What fails is tried
again with exponential, jittered backoff. What exists on the machine is looked through now and then, so that orphans
are found. A name whose request can't be read is left exactly as it is.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from common.cache import Cache, Cached
from common.decision import Decision, Failure
from common.errors import Conflict, LeadershipLost, PermanentError, Refused, StoreError, UcloudError, Unavailable
from common.events import StatusEvents
from common.metrics import Metrics
from common.queue import WorkQueue
from common.schemas.record import Record
from common.store import Compare, Delete, Operation, Put, Store, unchanged

_log = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Record)
O = TypeVar("O")  # noqa: E741 - observed; the letters are those of the type parameters below
A = TypeVar("A")
R_co = TypeVar("R_co", bound=Record, covariant=True)
R_contra = TypeVar("R_contra", bound=Record, contravariant=True)
O_co = TypeVar("O_co", covariant=True)
O_contra = TypeVar("O_contra", contravariant=True)
A_contra = TypeVar("A_contra", contravariant=True)

_FIRST_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0
_STORE_PAUSE_S = 1.0
_MAX_ROUNDS = 10
_LOOK_THROUGH_S = 60.0
_LOOK_APART_S = 0.05


class Plan(Protocol[R_contra, O_contra, S, A]):
    """Decides from what is requested and what is. Pure: everything it needs is an argument."""

    def __call__(
        self,
        request: R_contra | None,
        observed: O_contra,
        previous: S | None,
        failure: Failure | None,
        now: datetime,
    ) -> Decision[S, A]:
        """`previous` is the status reported last; `failure` the last step's, None when it worked."""
        ...


class Driver(Protocol[O_co, A_contra]):
    """The machine, for one kind of object."""

    def observe(self, name: str) -> O_co:
        """What is true of `name` now."""
        ...

    def apply(self, name: str, action: A_contra) -> None:
        """Take one idempotent step; TemporaryError or PermanentError, with the reason for the owner, if it fails."""
        ...

    def known(self) -> Iterable[str]:
        """The names of all objects of ours that exist here, wanted or not."""
        ...


class Requests(Protocol[R_co]):
    """What is requested, by key: a Cache, or what is seen in one."""

    @property
    def prefix(self) -> str:
        """What all keys begin with."""
        ...

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """See Cache."""
        ...

    def get(self, key: str) -> Cached[R_co] | None:
        """See Cache."""
        ...

    def records(self) -> Mapping[str, Cached[R_co]]:
        """See Cache."""
        ...

    def is_malformed(self, key: str) -> bool:
        """Whether nobody can say what is requested at `key`: then all stays as it is."""
        ...

    def wait_synced(self, timeout_s: float | None = None) -> bool:
        """See Cache."""
        ...


class Controller(Generic[R, S, O, A]):
    """Brings each object below `requests.prefix` to its requested state, and reports below `statuses.prefix`."""

    def __init__(
        self,
        store: Store,
        requests: Requests[R],
        statuses: Cache[S],
        plan: Plan[R, O, S, A],
        driver: Driver[O, A],
        metrics: Metrics,
        guard: Callable[[], Compare | None] | None = None,
    ) -> None:
        """`guard` is the leader's compare for a daemon of which one is elected; it works only while there is one."""
        self._store = store
        self._requests = requests
        self._statuses = statuses
        self._plan = plan
        self._driver = driver
        self._metrics = metrics
        self._guard = guard
        self._failures: dict[str, tuple[int, Failure]] = {}
        self._queue = WorkQueue()
        self._reported: dict[str, tuple[S | None, ...]] = {}
        self._events: StatusEvents[R, S] | None = None
        requests.subscribe(lambda key: self.look(key.removeprefix(requests.prefix)))
        statuses.subscribe(self._look_unless_reported)

    def tell_events(self, events: StatusEvents[R, S]) -> None:
        """Have what is new in a status told as events, too, in the transaction that writes it."""
        self._events = events

    def will_report(self, name: str, status: S) -> None:
        """The driver is about to report this by itself, in the midst of a step: an echo of it is no news either."""
        self._note_report(name, status)

    def _note_report(self, name: str, status: S) -> None:
        # The echo of the one before may still be on its way.
        self._reported[name] = (*self._reported.get(name, ())[-1:], status)

    def look(self, name: str, after_s: float = 0) -> None:
        """Something may have happened to `name`: look at it."""
        self._queue.add(name, after_s)

    def _look_unless_reported(self, status_key: str) -> None:
        """A status has changed: look, unless it says what this controller reported. An echo must cut no pause short."""
        name = status_key.removeprefix(self._statuses.prefix)
        cached = self._statuses.get(status_key)
        is_own = (cached.record if cached else None) in self._reported.get(name, (None,))
        if not is_own or self._statuses.is_malformed(status_key):
            self.look(name)

    def look_at_all(self, apart_s: float = 0) -> None:
        """Look at everything that is requested, reported or present: one by one, so that news need not wait for it."""
        names = {key.removeprefix(self._requests.prefix) for key in self._requests.records()}
        names |= {key.removeprefix(self._statuses.prefix) for key in self._statuses.records()}
        for number, name in enumerate(names.union(self._driver.known())):
            self.look(name, number * apart_s)

    def work(self, stop: threading.Event) -> None:
        """Work off the queue until it is closed; the body of each worker thread."""
        for wait_synced in (self._requests.wait_synced, self._statuses.wait_synced):
            while not wait_synced(0.5):
                if stop.is_set():
                    return
        while (name := self._queue.get()) is not None:
            try:
                with self._metrics.reconcile_seconds.time():
                    self._reconcile(name)
            finally:
                self._queue.done(name)
                self._metrics.queue_length.set(len(self._queue))

    def look_through(self, stop: threading.Event) -> None:
        """Look at everything now and then; the body of a thread."""
        apart_s = 0.0
        while not stop.is_set():
            try:
                self.look_at_all(apart_s)
            except UcloudError as error:
                _log.warning("can't look through what exists: %s", error)
                stop.wait(_FIRST_BACKOFF_S * 10)
            else:
                apart_s = _LOOK_APART_S
                stop.wait(_LOOK_THROUGH_S)

    def close(self) -> None:
        """Let the workers end after what they are at."""
        self._queue.close()

    def _reconcile(self, name: str) -> None:
        cached = self._requests.get(self._requests.prefix + name)
        try:
            again_in_s = self._converge(name, cached)
        except UcloudError as error:
            if _is_of_the_store(error):
                again_in_s = self._put_off(name, error)
            else:
                again_in_s = self._fail(name, cached.mod_revision if cached else 0, error)
        if again_in_s is not None:
            self.look(name, again_in_s)

    def _put_off(self, name: str, error: UcloudError) -> float:
        """etcd does not answer, or knows better: nothing has failed on `name`. Returns when to try again."""
        self._metrics.failures.labels(type(error).__name__).inc()
        _log.warning("%s: %s", name, error)
        return _STORE_PAUSE_S * random.uniform(0.5, 1.0)  # noqa: S311 - jitter

    def _fail(self, name: str, request_revision: int, error: UcloudError) -> float:
        """Note a failure; returns when to try again."""
        before = self._failure(name, request_revision)
        count = before.count + 1 if before else 1
        failure = Failure(count, str(error), isinstance(error, PermanentError), datetime.now(UTC))
        self._failures[name] = (request_revision, failure)
        self._metrics.failures.labels(type(error).__name__).inc()
        backoff_s = min(_FIRST_BACKOFF_S * 2.0 ** min(count, 16), _MAX_BACKOFF_S)
        backoff_s *= random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        _log.warning("%s: %s (again in %.1f s)", name, error, backoff_s)
        return backoff_s

    def _failure(self, name: str, request_revision: int) -> Failure | None:
        """The last failure on `name`, unless the request has changed since: a new wish is a new try."""
        revision, failure = self._failures.get(name, (0, None))
        return failure if revision == request_revision else None

    def _converge(self, name: str, cached: Cached[R] | None) -> float | None:
        """Decide and act until nothing is left to do; returns when to look again."""
        if self._guard is not None and self._guard() is None:
            return None
        if self._requests.is_malformed(self._requests.prefix + name):
            return None
        for _ in range(_MAX_ROUNDS):
            previous = self._statuses.get(self._statuses.prefix + name)
            failure = self._failure(name, cached.mod_revision if cached else 0)
            decision = self._plan(
                cached.record if cached else None,
                self._driver.observe(name),
                previous.record if previous else None,
                failure,
                datetime.now(UTC),
            )
            self._carry_out(name, decision)
            if decision.actions or not (failure and failure.permanent):
                self._failures.pop(name, None)
            if not decision.actions:
                return decision.again_in_s
        return _FIRST_BACKOFF_S

    def _carry_out(self, name: str, decision: Decision[S, A]) -> None:
        """Report what is decided, then do it; a repair is done at once, and reported only if a step of it fails."""
        if not decision.is_repair:
            self._publish(name, decision.status)
        try:
            for action in decision.actions:
                _log.info("%s: %s", name, action)
                self._driver.apply(name, action)
        except UcloudError:
            if decision.is_repair:
                self._publish(name, decision.status)
            raise

    def _publish(self, name: str, status: S | None) -> None:
        """Report, if that says anything new."""
        key = self._statuses.prefix + name
        known = self._statuses.get(key)
        is_malformed = self._statuses.is_malformed(key)
        if status == (known.record if known else None) and not is_malformed:
            return
        revision = known.mod_revision if known else 0
        if is_malformed:
            entry = self._store.get(key)
            revision = entry.mod_revision if entry else 0
        guard = self._guard() if self._guard else None
        compares = [unchanged(key, revision)] + ([guard] if guard else [])
        operations: list[Operation] = [Delete(key)]
        if status is None:
            self._reported.pop(name, None)
        else:
            operations = [Put(key, status.to_json())]
            self._note_report(name, status)
        operations += self._news(name, known.record if known else None, status)
        try:
            revision = self._store.commit(compares, operations)
        except LeadershipLost:
            raise
        except Refused:
            if self._events:
                self._events.forget_leases(operations)
            raise
        except Unavailable:
            # It may be written all the same, after what comes next has been decided: then it is news.
            self._reported.pop(name, None)
            raise
        except Conflict:
            # This daemon is the key's only writer, so what the cache holds is not what etcd has.
            self._statuses.refresh()
            raise
        self._statuses.note(key, status, revision)

    def _news(self, name: str, before: S | None, after: S | None) -> tuple[Put, ...]:
        """The events of a change of status."""
        if self._events is None:
            return ()
        request = self._requests.get(self._requests.prefix + name)
        return self._events.tell(name, request.record if request else None, before, after)


def _is_of_the_store(error: UcloudError) -> bool:
    return isinstance(error, StoreError) or (isinstance(error, Unavailable) and error.what == "etcd")

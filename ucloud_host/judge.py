"""The judge: of all ucloud-host, the elected one, which finds silent hosts DEAD once fences have made sure of it.

A term of office has caches of its own: hosts that stand by watch nothing but the leader's key. Nothing is remembered
from one term to the next; what a verdict rests on is in etcd, or was seen by this judge in this term. docs/fencing.md
proves why no VM gets a second runner by it. It must never write a verdict without comparing all that it was found from.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from common import keys
from common.errors import Conflict, LeadershipLost, Refused, StoreError, TemporaryError, Unavailable
from common.events import EventLog
from common.leader import Election
from common.schemas.event import EventRecord
from common.schemas.verdict import Sentence, Verdict
from common.store import Compare, Delete, Operation, Put, Store
from ucloud_host.fences import Answer, Fence, Silence
from ucloud_host.fences.methods import HARMFUL
from ucloud_host.inquiries import Inquiries
from ucloud_host.metrics import JudgeMetrics
from ucloud_host.sentence import Rules, judge
from ucloud_host.sights import Caches, Docket

_log = logging.getLogger(__name__)
_RETRY_S = 1.0


class Judge:
    """One instance, elected or standing by."""

    def __init__(
        self,
        store: Store,
        election: Election,
        rules: Rules,
        fences: Mapping[str, Fence],
        metrics: JudgeMetrics,
        events: EventLog,
    ) -> None:
        """`fences` are all that `rules.methods` names."""
        self._store = store
        self._election = election
        self._rules = rules
        self._fences = fences
        self._metrics = metrics
        self._events = events
        self._news = threading.Event()
        self._caches: Caches | None = None
        self._limit = ""
        self._problem: str | None = None
        election.subscribe(self._news.set)

    def problem(self) -> str | None:
        """What keeps this instance from its work, for /healthz."""
        caches = self._caches
        return self._problem or (caches.problem() if caches else None)

    def role(self) -> str:
        """Whether this instance is the elected one, for /healthz."""
        return "leading" if self._election.is_leader else "standby"

    def malformed(self) -> Mapping[str, str]:
        """The records that it can't read, with the problem of each."""
        return self._caches.malformed() if self._caches else {}

    def wake(self) -> None:
        """Have the loop look whether it is to stop."""
        self._news.set()

    def run(self, stop: threading.Event) -> None:
        """Judge until `stop`, whenever this instance is elected; the body of a thread."""
        while not stop.is_set():
            self._news.wait()
            self._news.clear()
            guard = self._election.guard()
            if guard is not None and not stop.is_set():
                self._serve(guard, stop)

    def _serve(self, guard: Compare, stop: threading.Event) -> None:
        """One term of office."""
        end = threading.Event()
        fences = dict(self._fences)
        for name in HARMFUL & fences.keys():
            fences[name] = _Confirmed(fences[name], lambda silence: self._confirm(guard, silence))
        caches = Caches(self._store, self._metrics.common)
        inquiries = Inquiries(fences, self._rules.timeout_s, self._news.set, self._metrics.answers)
        docket = Docket(caches, inquiries)
        caches.start(end, self._news.set)
        self._caches = caches

        def is_over() -> bool:
            return stop.is_set() or self._election.guard() != guard

        try:
            is_listed = caches.wait_listed(is_over)
            while is_listed and not is_over():
                self._news.wait(self._round(guard, docket))
                self._news.clear()
        finally:
            end.set()
            self._news.set()  # a term that began meanwhile
            self._caches, self._problem = None, None
            self._tell({}, "")

    def _confirm(self, guard: Compare, silence: Silence) -> None:
        """TemporaryError unless this judge is still the one, and the host still silent: before harm is done."""
        self._election.confirm(guard)
        if self._store.get(keys.alive(silence.host)):
            raise TemporaryError(f"{silence.host} is alive")

    def _round(self, guard: Compare, docket: Docket) -> float | None:
        """Do what is to be done now; returns when to look again without news."""
        sights = docket.sights()
        judgement = judge(sights, self._rules, datetime.now(UTC))
        self._tell({sight.host: sight.verdict for sight in sights}, judgement.limit)
        try:
            self._tell_of_returned(guard, docket)
            has_failed = [not self._write(guard, docket, *each) for each in judgement.verdicts.items()]
        except LeadershipLost:
            self._election.step_down(guard)
            return None
        except (Unavailable, StoreError) as error:
            self._problem = str(error)
            _log.warning("%s", error)
            return _RETRY_S
        self._problem = None
        for host, fence in judgement.asks:
            docket.ask(host, fence)
        if any(has_failed):
            return _RETRY_S
        # The clock of a silence begins with its verdict: look at once what its fences say.
        return 0.0 if judgement.verdicts else judgement.again_in_s

    def _write(self, guard: Compare, docket: Docket, host: str, verdict: Verdict | None) -> bool:
        """Write or remove a verdict, if all that it was found from is still so."""
        compares = [guard, *docket.compares(host, verdict)]
        key = keys.verdict(host)
        operations: list[Operation] = [Put(key, verdict.to_json()) if verdict else Delete(key)]
        before = docket.verdict(host)
        operations += self._news_of(host, before, verdict)
        try:
            revision = self._commit(compares, operations)
        except LeadershipLost:
            raise
        except Conflict as error:
            _log.info("%s: the verdict is put off: %s", host, error)
            docket.reconsider(host)
            return False
        docket.note(host, verdict, revision)
        if verdict:
            self._tell_change(host, before, verdict, docket.seen_s(host))
        return True

    def _commit(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int:
        try:
            return self._store.commit(compares, operations)
        except Refused:
            self._events.forget_leases(operations)
            raise

    def _tell_of_returned(self, guard: Compare, docket: Docket) -> None:
        """Remember that hosts are back; they have removed their verdicts by themselves."""
        for host in docket.returned:
            news = self._events.tell("host", host, EventRecord(at=datetime.now(UTC), what="it is alive again"))
            if news:
                self._commit([guard], news)
            _log.info("%s is alive again", host)
            docket.note_told(host)

    def _news_of(self, host: str, before: Verdict | None, verdict: Verdict | None) -> tuple[Operation, ...]:
        """What remembers that a host fell silent, or was found dead."""
        if verdict is None or (before and before.sentence is verdict.sentence):
            return ()
        is_dead = verdict.sentence is Sentence.DEAD
        what = f"found dead, fenced by {verdict.fenced_by}" if is_dead else "its sign of life is gone"
        return self._events.tell("host", host, EventRecord(at=datetime.now(UTC), what=what))

    def _tell_change(self, host: str, before: Verdict | None, verdict: Verdict, seen_s: float) -> None:
        if verdict.sentence is Sentence.DEAD:
            self._metrics.found_dead_seconds.observe(seen_s)
            _log.warning("%s is DEAD, fenced by %s after %.1f s", host, verdict.fenced_by, seen_s)
        elif before is None or before.waits_for != verdict.waits_for:
            _log.warning("%s is silent, it waits for: %s", host, verdict.waits_for)

    def _tell(self, verdicts: Mapping[str, Verdict | None], limit: str) -> None:
        """Have the metrics say what is so, and the log what is new."""
        for sentence in Sentence:
            count = sum(verdict is not None and verdict.sentence is sentence for verdict in verdicts.values())
            self._metrics.verdicts.labels(sentence.value).set(count)
        self._metrics.limit.set(1 if limit else 0)
        if limit and limit != self._limit:
            _log.error("%s", limit)
        self._limit = limit


class _Confirmed:
    """A fence that does harm, asked only after a last look."""

    def __init__(self, fence: Fence, confirm: Callable[[Silence], None]) -> None:
        self._fence = fence
        self._confirm = confirm

    def ask(self, silence: Silence) -> Answer:
        """See Fence."""
        self._confirm(silence)
        return self._fence.ask(silence)

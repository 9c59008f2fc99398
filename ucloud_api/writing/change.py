"""One change of one record: read what etcd has, decide, write it if it is still so; and again if it is not."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

from common.admission import Step
from common.cache import Cache
from common.errors import Conflict, LeaseExpired
from common.schemas.event import EventRecord
from common.schemas.record import Record
from common.store import Put, unchanged
from ucloud_api.access.auth import current_caller
from ucloud_api.problems import ApiProblem
from ucloud_api.told import asked, subject
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import STORE_TIMEOUT_S, State
from ucloud_api.writing import idempotency
from ucloud_api.writing.preconditions import check_if_match

R = TypeVar("R", bound=Record)
TRIES = 5
_MAX_PAUSE_S = 0.05


@dataclass(frozen=True)
class Changed(Generic[R]):
    """A record as it is now, and the revision that it was written at (0: it never was)."""

    record: R
    revision: int


def attempts(what: str) -> Iterator[int]:
    """Tries of a transaction that others are in the way of, a moment apart; ApiProblem (409) when time is over."""
    deadline_s = time.monotonic() + STORE_TIMEOUT_S
    pause = threading.Event()
    attempt = 0
    while attempt < TRIES or time.monotonic() < deadline_s:
        attempt += 1
        yield attempt
        pause.wait(random.uniform(0, min(_MAX_PAUSE_S, 0.002 * 2**attempt)))  # noqa: S311 - spreads the load
    raise ApiProblem(409, "changed-meanwhile", f"{what} keeps changing; try again")


def told(state: State, before: Record | None, after: Record | None) -> Step:
    """A step that remembers that the caller asked for `before` to become `after`."""
    known = after or before
    about = subject(known) if known and before != after else None
    if about is None:
        return Step((), ())
    event = EventRecord(at=datetime.now(UTC), what=asked(before, after), owner=about.owner, by=current_caller().user)
    return Step((), state.events.tell(about.kind, about.name, event))


def write(record: R, key: str, revision: int) -> Step:
    """A step that writes the record, if it is as it was at `revision`."""
    return Step((unchanged(key, revision),), (Put(key, record.to_json()),))


@dataclass(frozen=True)
class Plan(Generic[R]):
    """How the record at `key` is changed.

    `decide` gets the record as etcd has it (None: absent) and returns it as it should be; it raises an ApiProblem to
    refuse. `step(before, after, revision)` is the transaction, by default one that writes the record. `refuse(conflict,
    after)` raises an ApiProblem where a condition failed for good; else it is tried again. `answer_of` gives the answer
    (202) of a POST, to be kept for repetitions.
    """

    cache: Cache[R]
    kind: type[R]
    key: str
    decide: Callable[[R | None], R]
    step: Callable[[R, R, int], Step] | None = None
    refuse: Callable[[Conflict, R], None] | None = None
    answer_of: Callable[[R], bytes] | None = None


def change(state: State, plan: Plan[R]) -> Changed[R]:
    """Change a record; ApiProblem: 412 as If-Match says, 409 when others were faster each time."""
    for _ in attempts("it"):
        entry = state.store.get(plan.key)
        current = plan.kind.read(plan.key, entry.value) if entry else None
        revision = entry.mod_revision if entry else 0
        if current:
            check_if_match(revision)
        wanted = plan.decide(current)
        if not current:
            check_if_match(revision)
        part = _part(state, plan, current, wanted, revision)
        if not part.operations:
            return Changed(wanted, revision)
        try:
            written = commit(state, part)
        except LeaseExpired:
            continue
        except Conflict as conflict:
            if idempotency.is_repetition(conflict):
                raise
            if plan.refuse:
                plan.refuse(conflict, wanted)
            continue
        if wanted == current:
            return Changed(wanted, revision)
        state.wrote(plan.cache, written)
        return Changed(wanted, written)
    raise AssertionError("attempts ends with an error")


def _part(state: State, plan: Plan[R], current: R | None, wanted: R, revision: int) -> Step:
    """The transaction; it writes nothing where nothing changes and no answer is to be kept."""
    if wanted == current:
        part = Step((unchanged(plan.key, revision),), ())
    elif plan.step and current:
        part = plan.step(current, wanted, revision)
    else:
        part = write(wanted, plan.key, revision)
    if wanted != current:
        part += told(state, current, wanted)
    if plan.answer_of:
        unwritten = revision if wanted == current else 0
        part += idempotency.step(state, 202, plan.answer_of(wanted), revision=unwritten)
    return part

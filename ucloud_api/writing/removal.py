"""Removing a record for good: tried until it is done or refused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from common.admission import Step
from common.cache import Cache
from common.errors import Conflict, LeaseExpired
from common.schemas.record import Record
from ucloud_api.problems import ApiProblem
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import State
from ucloud_api.writing.change import attempts, told
from ucloud_api.writing.preconditions import check_if_match

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Removal(Generic[R]):
    """How the record at `key` is removed.

    `missing` is raised where there is none. `step(record, revision)` is the transaction; it raises an ApiProblem to
    refuse. `refuse(conflict)` raises one where a condition failed for good; else it is tried again.
    """

    kind: type[R]
    key: str
    missing: ApiProblem
    step: Callable[[R, int], Step]
    refuse: Callable[[Conflict], None] | None = None
    cache: Cache[Any] | None = None


def remove(state: State, removal: Removal[R]) -> None:
    """Remove it; ApiProblem: 412 as If-Match says, 409 when others were faster each time."""
    for _ in attempts("it"):
        entry = state.store.get(removal.key)
        if entry is None:
            raise removal.missing
        record = removal.kind.read(entry.key, entry.value)
        check_if_match(entry.mod_revision)
        step = removal.step(record, entry.mod_revision) + told(state, record, None)
        try:
            revision = commit(state, step)
        except LeaseExpired:
            continue
        except Conflict as conflict:
            if removal.refuse:
                removal.refuse(conflict)
            continue
        if removal.cache:
            state.wrote(removal.cache, revision)
        return
    raise AssertionError("attempts ends with an error")

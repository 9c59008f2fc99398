"""One change of one record: read what etcd has, decide, write it if it is still so; and again if it is not."""

from collections.abc import Callable
from typing import TypeVar

from common.admission import Step
from common.cache import Cache
from common.errors import Conflict
from common.schemas.record import Record
from common.store import Put, Store, unchanged

R = TypeVar("R", bound=Record)
TRIES = 5


def change(
    store: Store,
    cache: Cache[R],
    kind: type[R],
    key: str,
    decide: Callable[[R | None], R],
    step: Callable[[R, int], Step] | None = None,
) -> R:
    """Change the record at `key` to what `decide` makes of it, and return it.

    `decide` gets the record as etcd has it (None: absent) and returns it as it should be; it raises an ApiProblem to
    refuse. `step(record, revision)` is the transaction, by default one that writes the record. Conflict when others
    were faster each time.
    """
    attempt = 0
    while True:
        attempt += 1
        entry = store.get(key)
        current = kind.read(key, entry.value) if entry else None
        wanted = decide(current)
        if wanted == current:
            return wanted
        revision = entry.mod_revision if entry else 0
        part = step(wanted, revision) if step else Step((unchanged(key, revision),), (Put(key, wanted.to_json()),))
        try:
            written = store.commit(part.compares, part.operations)
        except Conflict as conflict:
            # Another condition than the record's own revision: only the caller knows what that means.
            if attempt == TRIES or any(each != key for each in conflict.keys):
                raise
            continue
        cache.note(key, wanted, written)
        return wanted

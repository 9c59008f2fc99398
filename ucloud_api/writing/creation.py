"""Making something new: tried until it is done or refused, and answered with what it is and where."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Response

from common.admission import Step
from common.cache import Cache
from common.errors import Conflict, LeaseExpired
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import State
from ucloud_api.writing import idempotency
from ucloud_api.writing.answers import etag, json_answer
from ucloud_api.writing.change import attempts


@dataclass(frozen=True)
class Creation:
    """Something new, whose path will be `location`; `what` is what others may change meanwhile, in words.

    `draft` gives the resource as JSON and the transaction that makes it, anew for each try. `refuse(conflict)` raises
    an ApiProblem where a condition failed for good; else it is tried again. `cache` follows it, if any does.
    """

    cache: Cache[Any] | None
    location: str
    what: str
    draft: Callable[[], tuple[bytes, Step]]
    refuse: Callable[[Conflict], None]
    status: int = 202


def make(state: State, creation: Creation) -> Response:
    """Make it, and keep the answer for repetitions; ApiProblem (409) when others were faster each time."""
    for _ in attempts(creation.what):
        resource, step = creation.draft()
        try:
            revision = commit(state, step + idempotency.step(state, creation.status, resource, creation.location))
        except LeaseExpired:
            continue
        except Conflict as conflict:
            if idempotency.is_repetition(conflict):
                raise
            creation.refuse(conflict)
            continue
        if creation.cache:
            state.wrote(creation.cache, revision)
        return json_answer(resource, creation.status, {"Location": creation.location, "ETag": etag(revision)})
    raise AssertionError("attempts ends with an error")

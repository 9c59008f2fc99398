"""Idempotency-Key: a POST that is repeated with the same key is carried out once, and answered the same each time.

The answer is written in the transaction of what was asked for, so there is one if and only if it was done; whichever
process gets the repetition finds it. Refusals are not kept: the same key may be used again once the reason is gone.
Source: draft-ietf-httpapi-idempotency-key-header.

It must never keep an answer that holds a secret: a login takes no key.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import cast

from flask import Response, g, request

from common import keys
from common.admission import Step
from common.errors import Conflict
from common.schemas.answered import Answered
from common.store import Put, absent
from ucloud_api.access.auth import current_caller
from ucloud_api.problems import ApiProblem, FieldProblem
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import etag, json_answer

HEADER = "Idempotency-Key"
ALLOWED = "1 to 255 printable ASCII characters."
PATTERN = r"^[ -~]{1,255}$"
KEYLESS = frozenset((keys.SESSION.rstrip("/"), f"{keys.ROOT}doctor"))
"""The paths that take no key: an answer with a secret is not kept, and who is mended twice is no worse off."""


@dataclass(frozen=True)
class _Question:
    """A request that may be repeated."""

    key: str
    body_sha256: str


def begin() -> Response | None:
    """Before each POST with a key: the answer that it got already, if it is a repetition.

    ApiProblem: 422 for a key that is none, 409 for one that another request had.
    """
    g.question = None
    if request.method != "POST" or HEADER not in request.headers or request.path in KEYLESS or not request.url_rule:
        return None
    key = request.headers[HEADER]
    if not re.fullmatch(PATTERN, key):
        problem = FieldProblem(field=HEADER, problem="is not of the allowed form", allowed=ALLOWED)
        raise ApiProblem(422, "invalid-fields", f"{HEADER} is not of the allowed form", [problem])
    record_key = keys.request(current_caller().user, hashlib.sha256(key.encode()).hexdigest())
    g.question = _Question(record_key, hashlib.sha256(request.get_data()).hexdigest())
    return _answer_again(current_state(), g.question)


def step(state: State, status: int, body: bytes, location: str = "", revision: int = 0) -> Step:
    """The part of a POST's transaction that keeps its answer; nothing where the request has no key.

    `revision` is that of the resource, where this transaction does not write it.
    """
    question = cast(_Question | None, g.get("question"))
    if question is None:
        return Step((), ())
    answered = Answered(
        method=request.method,
        path=request.path,
        body_sha256=question.body_sha256,
        status=status,
        body=body.decode(),
        location=location,
        etag=etag(revision) if revision else "",
    )
    lease = state.answers_lease.get()
    return Step((absent(question.key),), (Put(question.key, answered.to_json(), lease),))


def is_repetition(conflict: Conflict) -> bool:
    """Whether a transaction failed because the same request was carried out meanwhile: see `answer_conflict`."""
    question = cast(_Question | None, g.get("question"))
    return question is not None and question.key in conflict.keys


def answer_conflict(conflict: Conflict) -> Response | None:
    """The answer of the same request that came at the same time and was faster; None when that is not the matter."""
    return _answer_again(current_state(), g.question) if is_repetition(conflict) else None


def _answer_again(state: State, question: _Question) -> Response | None:
    entry = state.store.get(question.key)
    if entry is None:
        return None
    answered = Answered.read(entry.key, entry.value)
    asked = (request.method, request.path, question.body_sha256)
    if asked != (answered.method, answered.path, answered.body_sha256):
        problem = FieldProblem(field=HEADER, problem="was used for another request", allowed="a key of its own")
        raise ApiProblem(409, "idempotency-key-reused", f"the {HEADER} was used for another request", [problem])
    # Written together, the resource and its answer have the same revision.
    headers = {"ETag": answered.etag or etag(entry.mod_revision)}
    if answered.location:
        headers["Location"] = answered.location
    return json_answer(answered.body.encode(), answered.status, headers)

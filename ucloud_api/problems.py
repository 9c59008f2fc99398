"""Every refusal as application/problem+json. Source: RFC 9457.

A problem names the fields that it is about and what is allowed there, in words. It must never carry a secret, the bad
value itself, or a traceback.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args

from flask import Flask, Response
from flask_openapi.types import ResponseDict
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from werkzeug.exceptions import HTTPException

from common.errors import MalformedRecord, QuotaExceeded, StoreError, TooManyTries, UcloudError, Unavailable
from common.schemas.vm import Specs
from ucloud_api import models

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    model_config = ConfigDict(frozen=True)

    field: Annotated[str, Field(description="Its path, such as specs.ram; `body` for the whole body.")]
    problem: str
    allowed: Annotated[str | list[str] | None, Field(description="What is allowed: in words, or the values.")] = None


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(frozen=True)

    type: Annotated[str, Field(description="`about:blank`, or urn:ucloud:problem:<what>.")] = "about:blank"
    title: str
    status: int
    detail: str = ""
    errors: tuple[FieldProblem, ...] = ()


class ApiProblem(UcloudError):
    """A refusal. `kind` is the end of its type, such as name-taken, and the title when its hyphens are spaces."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        title = kind.replace("-", " ").capitalize()
        kind = f"urn:ucloud:problem:{kind}"
        self.problem = Problem(type=kind, title=title, status=status, detail=detail, errors=tuple(errors))
        self.headers = headers or {}


def not_found(kind: str, name: str, hint: str = "") -> ApiProblem:
    """404 for a thing of a kind (`VM`, `host`, `security group`)."""
    return ApiProblem(404, f"{kind.lower().replace(' ', '-')}-not-found", f'there is no {kind} "{name}"{hint}')


def name_taken(kind: str, name: str, holder: str) -> ApiProblem:
    """409: the owner has another thing of that kind and name."""
    problem = FieldProblem(field="name", problem="is taken")
    return ApiProblem(409, "name-taken", f'the name "{name}" is taken by {kind} {holder}', [problem])


def unavailable(kind: str, detail: str, retry_after_s: int = RETRY_AFTER_S) -> ApiProblem:
    """503 for what may work when it is tried again."""
    return ApiProblem(503, kind, detail, headers={"Retry-After": str(retry_after_s)})


def documented(*statuses: int) -> ResponseDict:
    """The responses of a route that are problems, for the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


_MEANINGS = {
    400: "The body is not JSON.",
    401: "No session: the bearer token is missing, unknown or expired.",
    403: "The caller may not do this.",
    404: "There is no such thing.",
    409: "It can't be done as things stand; the detail says why.",
    412: "It was changed since it was read: If-Match names another ETag.",
    413: "The body is too large.",
    415: "The body is not declared as application/json.",
    422: "A field is missing, unknown, of the wrong type or out of range.",
    429: "Too many tries; the next one after Retry-After seconds.",
    500: "The API failed; its log says why.",
    426: "Only a websocket can be opened here.",
    502: "The host does not answer.",
    503: "etcd does not answer, or too many clients watch; try again after Retry-After seconds.",
}


_OF_SPECS = frozenset((*Specs.model_fields, *Specs.model_computed_fields))
_AWAY = {"directory": "no LDAP server answers, and what they said last is not known or too old to go by"}


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The problem as an HTTP response."""
    response = Response(problem.model_dump_json(exclude_none=True), problem.status, headers, mimetype=MEDIA_TYPE)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def invalid_body(error: ValidationError) -> ApiProblem:
    """422 from what pydantic found wrong with a body, a query or a path."""
    model = getattr(models, error.title, None)
    errors = [_field_problem(problem, model) for problem in error.errors(include_url=False, include_input=False)]
    return ApiProblem(422, "invalid-fields", "; ".join(f"{each.field} {each.problem}" for each in errors), errors)


def invalid(error: ValidationError) -> Response:
    """The same as a response."""
    return respond(invalid_body(error).problem)


def over_quota(error: QuotaExceeded) -> ApiProblem:
    """403 with the figures of each resource of which there would be too much."""
    errors = [
        FieldProblem(
            field=f"specs.{name.removesuffix('_mib')}" if name in _OF_SPECS else name,
            problem="is over the quota",
            allowed=figure,
        )
        for name, figure in error.figures.items()
    ]
    return ApiProblem(403, "over-quota", str(error), errors)


_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is unknown",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "string_pattern_mismatch": "is not of the allowed form",
    "string_too_long": "is too long",
    "too_long": "has too many",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "uuid_parsing": "must be a uuid",
    "bool_parsing": "must be 0 or 1",
    "bool_type": "must be true or false",
    "enum": "is not one of the allowed values",
    "literal_error": "is not one of the allowed values",
}


def _field_problem(problem: Any, model: type[BaseModel] | None) -> FieldProblem:
    location = [str(part) for part in problem["loc"]]
    context = problem.get("ctx", {})
    words = _WORDS.get(problem["type"], problem["msg"])
    allowed: str | list[str] | None = context.get("allowed")
    if problem["type"] == "extra_forbidden":
        parent = _model_at(model, location[:-1])
        allowed = list(parent.model_fields) if parent else None
    elif problem["type"] in ("enum", "literal_error"):
        allowed = re.findall(r"'([^']+)'", context["expected"])
    elif allowed is None:
        info = _field_at(model, location)
        allowed = info.description if info else None
    field = ".".join(part for part in location if part != "[key]")
    return FieldProblem(field=field or "body", problem=words, allowed=allowed)


def _model_at(model: type[BaseModel] | None, location: Sequence[str]) -> type[BaseModel] | None:
    """The model that is nested in `model` at a location, if there is one."""
    info = _field_at(model, location)
    return _model_in(info.annotation) if info else None if location else model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, or holds many of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for each in get_args(annotation) if (model := _model_in(each))), None)


def _field_at(model: type[BaseModel] | None, location: Sequence[str]) -> FieldInfo | None:
    """The field at a location; that of a whole mapping where it is one of its keys."""
    info = None
    for part in location:
        if part.isdecimal():
            continue  # one of many
        found = model.model_fields.get(part) if model else None
        if found is None:
            return info
        info, model = found, _model_in(found.annotation)
    return info


def register(app: Flask) -> None:
    """Have the app answer every error with a problem."""

    @app.errorhandler(ApiProblem)
    def refused(error: ApiProblem) -> Response:
        return respond(error.problem, error.headers)

    @app.errorhandler(Unavailable)
    def away(error: Unavailable) -> Response:
        _log.warning("%s", error)
        detail = _AWAY.get(error.what, f"{error.what} does not answer")
        problem = unavailable(f"{error.what}-unavailable", detail, error.retry_after_s)
        return respond(problem.problem, problem.headers)

    @app.errorhandler(TooManyTries)
    def too_many(error: TooManyTries) -> Response:
        headers = {"Retry-After": str(error.retry_after_s)}
        return respond(ApiProblem(429, "too-many-tries", str(error)).problem, headers)

    @app.errorhandler(QuotaExceeded)
    def over(error: QuotaExceeded) -> Response:
        return respond(over_quota(error).problem)

    @app.errorhandler(StoreError)
    def store_failed(error: StoreError) -> Response:
        _log.error("%s", error)
        problem = unavailable("etcd-refused", "etcd refused the request; the API's log says why")
        return respond(problem.problem, problem.headers)

    @app.errorhandler(MalformedRecord)
    def malformed(error: MalformedRecord) -> Response:
        _log.error("malformed record: %s", error)
        return respond(
            # The request is fine, and so is the API: it is the resource that is in no state to be worked with.
            ApiProblem(409, "malformed-record", f"the record can't be read, an admin must mend it: {error}").problem
        )

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        headers = {key: value for key, value in error.get_headers() if key == "Allow"}
        problem = Problem(title=error.name, status=error.code or 500, detail=error.description or "")
        return respond(problem, headers)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        _log.exception("a request failed: %s", type(error).__name__)
        return respond(Problem(title="Internal Server Error", status=500, detail="the API's log says more"))

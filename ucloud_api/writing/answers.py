"""What the routes share: how a resource is answered, and how lists are paged."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from flask import Response
from pydantic import BaseModel
from werkzeug.datastructures import Headers

from common.cache import Cached
from common.schemas.record import Record

R = TypeVar("R", bound=Record)
T = TypeVar("T", bound=BaseModel)
_JSON = "application/json"


def answer(resource: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The resource as JSON."""
    return json_answer(resource.model_dump_json().encode(), status, headers)


def json_answer(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """What is JSON already."""
    fields = [("Content-Type", _JSON), ("Cache-Control", "no-store")]
    if headers:
        fields.extend(headers.items())
    return Response(body, status, Headers(fields))


def json_list(items: Iterable[bytes], next_cursor: str | None) -> Response:
    """A page of a list whose items are JSON already."""
    following = f'"{next_cursor}"' if next_cursor else "null"
    return json_answer(b'{"items":[' + b",".join(items) + b'],"next_cursor":' + following.encode() + b"}")


def etag(revision: int) -> str:
    """The ETag of a resource whose request was written at `revision`. Source: RFC 9110, 8.8.3."""
    return f'"{revision}"'


def watchable(model: type[BaseModel]) -> dict[str, Any]:
    """The documented 200 of a route that also streams."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    stream = {
        "schema": {
            "type": "string",
            "description": "With ?watch=1: server-sent events, the data of each is one resource.",
        }
    }
    return {"description": "OK", "content": {_JSON: {"schema": schema}, "text/event-stream": stream}}


def page(
    records: Mapping[str, Cached[R]],
    view: Callable[[R], T],
    wanted: Callable[[T], bool],
    limit: int,
    cursor: str | None,
) -> tuple[tuple[T, ...], str | None]:
    """At most `limit` wanted resources behind `cursor`, oldest first, and the cursor of the next page.

    The cursor is the create revision of the last one: what is created or removed meanwhile shifts nothing. For kinds
    of which there are few; ucloud_api.worker.things has the others in order.
    """
    after = int(cursor or 0)
    items: list[T] = []
    last = after
    for cached in sorted(records.values(), key=lambda each: each.create_revision):
        if cached.create_revision <= after:
            continue
        resource = view(cached.record)
        if not wanted(resource):
            continue
        if len(items) == limit:
            return tuple(items), str(last)
        items.append(resource)
        last = cached.create_revision
    return tuple(items), None


def page_of(
    names: Iterable[str], look: Callable[[str], tuple[int, bytes] | None], limit: int
) -> tuple[list[bytes], str | None]:
    """At most `limit` resources of `names`, and the cursor of the next page.

    `look(name)` gives the create revision and the JSON, or None for what is not wanted.
    """
    items: list[bytes] = []
    last = 0
    for name in names:
        found = look(name)
        if found is None:
            continue
        if len(items) == limit:
            return items, str(last)
        last, resource = found
        items.append(resource)
    return items, None


def names_of(items: Iterable[str], most: int = 10) -> str:
    """Some names for a sentence: the first few, and how many more there are."""
    names = sorted(items)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""What the routes share: how a resource is answered, how lists are paged, where media types are documented."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from flask import Response
from pydantic import BaseModel

from common.cache import Cached
from common.schemas.record import Record

R = TypeVar("R", bound=Record)
T = TypeVar("T", bound=BaseModel)


def answer(resource: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The resource as JSON."""
    response = Response(resource.model_dump_json(), status, headers, mimetype="application/json")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def watchable(model: type[BaseModel]) -> dict[str, Any]:
    """The documented 200 of a route that also streams; `model` is documented by another route that answers it."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    stream = {
        "schema": {
            "type": "string",
            "description": "With ?watch=1: server-sent events, the data of each is one resource.",
        }
    }
    return {"description": "OK", "content": {"application/json": {"schema": schema}, "text/event-stream": stream}}


def page(
    records: Mapping[str, Cached[R]],
    view: Callable[[R], T],
    wanted: Callable[[T], bool],
    limit: int,
    cursor: str | None,
) -> tuple[tuple[T, ...], str | None]:
    """At most `limit` wanted resources behind `cursor`, oldest first, and the cursor of the next page.

    The cursor is the create revision of the last one: what is created or removed meanwhile shifts nothing.
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


def matches(resource: BaseModel, filters: Mapping[str, object]) -> bool:
    """Whether each field that is filtered by (not None) has the wanted value."""
    return all(value is None or getattr(resource, field) == value for field, value in filters.items())


def names_of(items: Iterable[str], most: int = 10) -> str:
    """Some names for a sentence: the first few, and how many more there are."""
    names = sorted(items)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

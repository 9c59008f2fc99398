"""What happened to a thing."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from ucloud_api.models.shared import Out, WatchQuery


class ThingEvent(Out):
    """Something that happened, or was asked for. It never changes."""

    id: Annotated[str, Field(description="Sorts by time.")]
    at: datetime
    what: str
    by: Annotated[str, Field(description="The user who asked for it; empty: the cloud did it by itself.")]
    reporter: Annotated[str, Field(description="The host that saw it, or -api, -scheduler, -judge or -image.")]
    details: Annotated[str, Field(description="What only admins are shown; empty for others.")]


class EventList(Out):
    """A page of events, oldest first."""

    items: tuple[ThingEvent, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]


class EventQuery(WatchQuery):
    """Which events."""

    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many: 1 to 1000.")] = 1000
    cursor: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,20}$", description="The `next_cursor` of the page before this one.")
    ] = None

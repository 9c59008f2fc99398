"""What of an image's status is kept as an event. Pure."""

from collections.abc import Iterator

from common.schemas.event import EventRecord
from common.schemas.image import ImageRequest, ImageStatus


def news(request: ImageRequest | None, before: ImageStatus | None, after: ImageStatus | None) -> Iterator[EventRecord]:
    """That an image came into another state, or is in it for another reason."""
    if request is None or after is None:
        return
    is_new = before is None or before.actual is not after.actual
    if is_new or (after.reason and before and after.reason != before.reason):
        what = f"{after.actual}: {after.reason}" if after.reason else str(after.actual)
        yield EventRecord(at=after.since, what=what, owner=request.owner)

"""Which changes of an image's status are events."""

from datetime import UTC, datetime

from common.schemas.image import ImageActual, ImageRequest, ImageStatus
from ucloud_image.news import news

NOW = datetime(2026, 3, 1, tzinfo=UTC)
IMAGE = ImageRequest(uuid="i", owner="alice", name="debian", file="d.qcow2", created_at=NOW)


def status(actual: ImageActual, reason: str = "", generation: int = 1) -> ImageStatus:
    return ImageStatus(generation=generation, actual=actual, reason=reason, since=NOW)


def told(before: ImageStatus | None, after: ImageStatus | None) -> list[str]:
    events = list(news(IMAGE, before, after))
    assert all((event.owner, event.at) == ("alice", NOW) for event in events)
    return [event.what for event in events]


def test_a_new_state_and_a_new_reason_are_told() -> None:
    importing, ready = status(ImageActual.IMPORTING), status(ImageActual.READY)
    full, broken = status(ImageActual.ERROR, "full"), status(ImageActual.ERROR, "broken")
    assert told(None, importing) == ["IMPORTING"]
    assert told(importing, ready) == ["READY"]
    assert told(importing, full) == ["ERROR: full"]
    assert told(full, broken) == ["ERROR: broken"]


def test_what_is_no_news_is_not_told() -> None:
    ready = status(ImageActual.READY)
    assert told(ready, status(ImageActual.READY, generation=2)) == []
    assert told(ready, None) == []
    assert list(news(None, None, ready)) == []

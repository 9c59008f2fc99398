"""From the status that was reported last to the next one: what is new is an event as well. Pure."""

from collections.abc import Iterator
from datetime import datetime

from common.schemas.event import EventRecord
from common.schemas.vm import EVENTS_KEPT, Actual, Event, Placement, VmStatus

NOT_ORDERED = "no placement orders this VM to this host"


def report(known: VmStatus, actual: Actual, reason: str, now: datetime) -> VmStatus:
    """`known` with a new state."""
    what = f"{actual}: {reason}" if reason else str(actual)
    # An orphan's time of grace and a guest's time to shut down are both counted in STOPPING, each for itself.
    other_clock = reason != known.reason and NOT_ORDERED in (reason, known.reason)
    changed = actual is not known.actual or other_clock
    news = changed or (reason and reason != known.reason)
    events = (*known.events, Event(at=now, what=what))[-EVENTS_KEPT:] if news else known.events
    return known.model_copy(
        update={
            "actual": actual,
            "reason": reason,
            "since": now if changed else known.since,
            "events": events,
        }
    )


def news(order: Placement | None, before: VmStatus | None, after: VmStatus | None) -> Iterator[EventRecord]:
    """What is new in a status, for whom it is kept longer than the status keeps it."""
    known = frozenset(before.events if before else ())
    for event in after.events if after else ():
        if event not in known:
            yield EventRecord(at=event.at, what=event.what, owner=order.request.owner if order else "")

"""What a write means to the owner of its VM, in the words of an event. Pure."""

from datetime import datetime

from common.schemas.event import EventRecord
from common.schemas.vm import Choice
from ucloud_scheduler.writes import Clear, Evacuate, Move, Place, Release, Report, Update, Write


def told(write: Write, now: datetime) -> EventRecord | None:
    """The event of a write that was carried out; None for what is no news."""
    what, choice = _words(write)
    request = write.vm.request
    if not what or request is None:
        return None
    return EventRecord(at=now, what=what, owner=request.owner, admin_only=_details(choice) if choice else "")


def _words(write: Write) -> tuple[str, Choice | None]:
    match write:
        case Place():
            return f"placed on {write.host}", write.placement.choice
        case Evacuate():
            lost = " and ".join(sorted(write.dead))
            return f"goes on on {write.host}, as {lost} is dead", write.placement.choice
        case Move():
            return write.what, None
        case Update() if write.vm.pending:
            return "gets what there was no room for before", None
        case Report() if _is_news(write):
            return f"waits: {write.status.reason}", None
        case Release():
            return "gone", None
        case Clear() | Report() | Update():
            return "", None


def _is_news(report: Report) -> bool:
    """Whether it is told for the first time since the VM was last changed that it waits: the figures change often."""
    known = report.vm.pending
    return known is None or known.generation != report.status.generation


def _details(choice: Choice) -> str:
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(choice.refused.items())) or "none"
    return f"{choice.cause}: of {choice.hosts} hosts would not do: {refused}"

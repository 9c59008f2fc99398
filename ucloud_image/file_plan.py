"""Decides what is recorded of a file. Pure: no I/O, no clock, no randomness."""

from dataclasses import dataclass
from datetime import UTC, datetime

from common.decision import Decision, Failure
from common.schemas.file import UploadedFile
from common.schemas.record import Record


@dataclass(frozen=True)
class Seen:
    """A file that is whole. `sha256` is known once its digest was taken as it is now; `stamp` tells whether it is."""

    owner: str
    name: str
    size_bytes: int
    modified_at_s: float
    stamp: str
    sha256: str | None = None


@dataclass(frozen=True)
class TakeDigest:
    """Read the file, and take its digest."""

    stamp: str


FileDecision = Decision[UploadedFile, TakeDigest]


def plan(
    request: Record | None,
    observed: Seen | None,
    previous: UploadedFile | None,
    failure: Failure | None,
    now: datetime,
) -> FileDecision:
    """See common.controller.Plan. Nobody requests files: they are there or not."""
    if observed is None:
        return Decision(None)
    if previous and previous.stamp == observed.stamp:
        return Decision(previous)
    if observed.sha256 is None:
        # What was recorded of another content is not said any longer.
        return Decision(None, (TakeDigest(observed.stamp),))
    return Decision(
        UploadedFile(
            owner=observed.owner,
            name=observed.name,
            size_bytes=observed.size_bytes,
            sha256=observed.sha256,
            modified_at=datetime.fromtimestamp(observed.modified_at_s, UTC),
            stamp=observed.stamp,
        )
    )

"""Decides how an image goes on. Pure: no I/O, no clock, no randomness.

The status in etcd is the journal: what was learnt of an upload (size, digest) is published before its template is
installed, so whoever finds a template beside it knows whose it is. An import that was interrupted earlier is done
again from the start. How far a conversion is, the driver tells while it takes a step (CHECKING, IMPORTING n %).
"""

from dataclasses import dataclass
from datetime import datetime

from common.decision import Decision, Failure
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from common.schemas.snapshot import SnapshotSource


@dataclass(frozen=True)
class Facts:
    """What was learnt of an upload that was found good, or of a snapshot: that has no file, and no digest of one."""

    virtual_size_mib: int
    file_size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Observed:
    """What there is of an image, beside its request and its status."""

    is_requested: bool = False
    """Whether its request still stands; it does not once the image was released."""
    has_template: bool = False
    prepared: Facts | None = None
    """A copy that was checked and is ready to be installed."""
    has_leftovers: bool = False
    """Files of an import that nobody goes on with."""
    obstacle: str = ""
    """Why what there is could not be found out."""


@dataclass(frozen=True)
class Prepare:
    """Copy, check and convert the upload."""

    owner: str
    file: str


@dataclass(frozen=True)
class PrepareSnapshot:
    """Copy the root disk of a VM as it was in a snapshot."""

    source: SnapshotSource


@dataclass(frozen=True)
class Install:
    """Make what was prepared the template."""


@dataclass(frozen=True)
class RemoveTemplate:
    """Remove the template, unless a disk rests on it."""


@dataclass(frozen=True)
class Discard:
    """Remove what was prepared, and leftovers."""


@dataclass(frozen=True)
class Release:
    """Remove the request and the status, with what the image was charged."""


_LOOK_AGAIN_S = 2.0
Action = Prepare | PrepareSnapshot | Install | RemoveTemplate | Discard | Release
ImageDecision = Decision[ImageStatus, Action]


def plan(
    request: ImageRequest | None,
    observed: Observed,
    previous: ImageStatus | None,
    failure: Failure | None,
    now: datetime,
) -> ImageDecision:
    """See common.controller.Plan."""
    if request is None or not observed.is_requested:
        # A template without a request is left alone: an old backup of etcd may not know an image that is in use.
        return Decision(None, (Discard(),) if observed.prepared or observed.has_leftovers else ())
    if observed.obstacle:
        return Decision(_wait(request, observed.obstacle, previous, now), again_in_s=_LOOK_AGAIN_S)
    if request.requested is ImageRequested.DELETED:
        return _delete(request, observed, previous, failure, now)
    return _import(request, observed, previous, failure, now)


def _wait(request: ImageRequest, obstacle: str, previous: ImageStatus | None, now: datetime) -> ImageStatus:
    """What is said while the store does not answer: an image that is answered for stays what it was."""
    if request.requested is ImageRequested.DELETED:
        return _status(request, previous, now, ImageActual.DELETING, obstacle)
    if previous and previous.actual in (ImageActual.READY, ImageActual.REJECTED):
        return previous
    waiting = _status(request, previous, now, ImageActual.ERROR, obstacle)
    if previous:
        learnt = ("virtual_size_mib", "file_size_bytes", "sha256")
        waiting = waiting.model_copy(update={name: getattr(previous, name) for name in learnt})
    return waiting


def _import(
    request: ImageRequest,
    observed: Observed,
    previous: ImageStatus | None,
    failure: Failure | None,
    now: datetime,
) -> ImageDecision:
    is_answered = previous is not None and previous.generation == request.generation
    if previous and previous.actual is ImageActual.REJECTED and is_answered:
        return Decision(previous, (Discard(),) if observed.prepared or observed.has_leftovers else ())
    if previous and _is_installed(observed, previous):
        facts = Facts(previous.virtual_size_mib, previous.file_size_bytes, previous.sha256)
        ready = _status(request, previous, now, ImageActual.READY, facts=facts)
        return Decision(ready, (Discard(),) if observed.has_leftovers else ())
    if failure and failure.permanent:
        return Decision(_status(request, previous, now, ImageActual.REJECTED, failure.reason))
    well = ImageActual.IMPORTING if observed.prepared else ImageActual.CHECKING
    actual = ImageActual.ERROR if failure else well
    reason = failure.reason if failure else ""
    status = _status(request, previous, now, actual, reason, observed.prepared)
    if observed.prepared:
        return Decision(status, (Install(),))
    if observed.has_template:
        # Nobody knows what was imported there.
        return Decision(status, (RemoveTemplate(),))
    return Decision(status, (_preparation(request),))


def _preparation(request: ImageRequest) -> Prepare | PrepareSnapshot:
    if request.source:
        return PrepareSnapshot(request.source)
    return Prepare(request.uploaded_by or request.owner, request.file or "")


def _is_installed(observed: Observed, previous: ImageStatus) -> bool:
    """Whether the template is the one that the status speaks of."""
    if not observed.has_template:
        return False
    return previous.actual is ImageActual.READY or (previous.virtual_size_mib > 0 and observed.prepared is None)


def _delete(
    request: ImageRequest,
    observed: Observed,
    previous: ImageStatus | None,
    failure: Failure | None,
    now: datetime,
) -> ImageDecision:
    reason = failure.reason if failure else ""
    status = _status(request, previous, now, ImageActual.DELETING, reason)
    if observed.prepared or observed.has_leftovers:
        return Decision(status, (Discard(),))
    if observed.has_template:
        return Decision(status, (RemoveTemplate(),))
    return Decision(status, (Release(),))


def _status(
    request: ImageRequest,
    previous: ImageStatus | None,
    now: datetime,
    actual: ImageActual,
    reason: str = "",
    facts: Facts | None = None,
) -> ImageStatus:
    return ImageStatus(
        generation=request.generation,
        actual=actual,
        reason=reason,
        since=previous.since if previous and previous.actual is actual else now,
        percent=100 if actual is ImageActual.IMPORTING and facts else 0,
        virtual_size_mib=facts.virtual_size_mib if facts else 0,
        file_size_bytes=facts.file_size_bytes if facts else 0,
        sha256=facts.sha256 if facts else "",
        store=request.store,
    )

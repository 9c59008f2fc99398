"""How an image goes on: a table over what is requested, what there is, and what was reported and failed before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from common.decision import Failure
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from common.schemas.snapshot import SnapshotSource
from ucloud_image.plan import (
    Action,
    Discard,
    Facts,
    Install,
    Observed,
    Prepare,
    PrepareSnapshot,
    Release,
    RemoveTemplate,
    plan,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
FACTS = Facts(virtual_size_mib=64, file_size_bytes=1000, sha256="ab")
WANTED = ImageRequest(uuid="i", owner="alice", name="debian", file="d.qcow2", created_at=EARLIER)
UNWANTED = WANTED.model_copy(update={"requested": ImageRequested.DELETED, "generation": 2})
NOTHING = Observed(is_requested=True)
TEMPLATE = replace(NOTHING, has_template=True)
PREPARED = replace(NOTHING, prepared=FACTS)
LEFTOVERS = replace(NOTHING, has_leftovers=True)
AWAY = replace(NOTHING, obstacle="the store does not answer")
PERMANENT = Failure(1, "it is encrypted", permanent=True, at=EARLIER)
PASSING = Failure(1, "the store is full", permanent=False, at=EARLIER)


def _status(actual: ImageActual, reason: str = "", facts: Facts | None = None, generation: int = 1) -> ImageStatus:
    values = {} if facts is None else {**vars(facts)}
    return ImageStatus(generation=generation, actual=actual, reason=reason, since=EARLIER, **values)


CHECKING = _status(ImageActual.CHECKING)
IMPORTING = _status(ImageActual.IMPORTING)
KNOWN = _status(ImageActual.IMPORTING, facts=FACTS)
READY = _status(ImageActual.READY, facts=FACTS)
REJECTED = _status(ImageActual.REJECTED, "it is encrypted")
PREPARE = Prepare("alice", "d.qcow2")

TABLE = [
    ("new", NOTHING, None, None, ImageActual.CHECKING, (PREPARE,)),
    ("leftovers of a killed import", LEFTOVERS, IMPORTING, None, ImageActual.CHECKING, (PREPARE,)),
    ("checked: published, then installed", PREPARED, CHECKING, None, ImageActual.IMPORTING, (Install(),)),
    ("installed", TEMPLATE, KNOWN, None, ImageActual.READY, ()),
    ("killed before the installation", NOTHING, KNOWN, None, ImageActual.CHECKING, (PREPARE,)),
    ("ready", TEMPLATE, READY, None, ImageActual.READY, ()),
    ("ready, yet its template is lost", NOTHING, READY, None, ImageActual.CHECKING, (PREPARE,)),
    ("a template of unknown origin", TEMPLATE, None, None, ImageActual.CHECKING, (RemoveTemplate(),)),
    ("a template older than what is prepared", replace(PREPARED, has_template=True), KNOWN, None,
     ImageActual.IMPORTING, (Install(),)),
    ("refused now", NOTHING, IMPORTING, PERMANENT, ImageActual.REJECTED, ()),
    ("refused before", NOTHING, REJECTED, None, ImageActual.REJECTED, ()),
    ("refused, with leftovers", LEFTOVERS, REJECTED, None, ImageActual.REJECTED, (Discard(),)),
    ("refused for an earlier request", NOTHING, _status(ImageActual.REJECTED, generation=0), None,
     ImageActual.CHECKING, (PREPARE,)),
    ("failed for now", NOTHING, IMPORTING, PASSING, ImageActual.ERROR, (PREPARE,)),
    ("installation failed for now", PREPARED, KNOWN, PASSING, ImageActual.ERROR, (Install(),)),
    ("new, and the store is away", AWAY, None, None, ImageActual.ERROR, ()),
    ("being imported as the store goes away", AWAY, KNOWN, None, ImageActual.ERROR, ()),
    ("ready, and the store is away", AWAY, READY, None, ImageActual.READY, ()),
    ("refused, and the store is away", AWAY, REJECTED, None, ImageActual.REJECTED, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("observed", "previous", "failure", "actual", "actions"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_an_import(
    observed: Observed,
    previous: ImageStatus | None,
    failure: Failure | None,
    actual: ImageActual,
    actions: tuple[Action, ...],
) -> None:
    decision = plan(WANTED, observed, previous, failure, NOW)
    assert decision.status is not None
    assert (decision.status.actual, decision.actions) == (actual, actions)
    assert decision.status.generation == 1


def test_a_projects_image_comes_from_the_folder_of_whoever_made_it() -> None:
    wanted = WANTED.model_copy(update={"owner": "project:web", "uploaded_by": "bob"})
    assert plan(wanted, NOTHING, None, None, NOW).actions == (Prepare("bob", "d.qcow2"),)


def test_an_image_of_a_vm_has_no_file_and_is_known_by_its_size() -> None:
    source = SnapshotSource(vm="v", snapshot="s", vm_name="web", name="before")
    wanted = ImageRequest(uuid="i", owner="alice", name="web-2", source=source, created_at=EARLIER)
    assert plan(wanted, NOTHING, None, None, NOW).actions == (PrepareSnapshot(source),)
    facts = Facts(virtual_size_mib=64, file_size_bytes=0, sha256="")
    known = plan(wanted, replace(NOTHING, prepared=facts), CHECKING, None, NOW)
    assert known.actions == (Install(),)
    ready = plan(wanted, TEMPLATE, known.status, None, NOW).status
    assert ready is not None
    assert (ready.actual, ready.virtual_size_mib, ready.sha256) == (ImageActual.READY, 64, "")


OF_BOTH = {"file": "f", "source": {"vm": "v", "snapshot": "s", "vm_name": "w", "name": "b"}}


@pytest.mark.parametrize("source", [{}, OF_BOTH])
def test_an_image_has_one_source(source: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="exactly one of the two"):
        ImageRequest.model_validate({"uuid": "i", "owner": "alice", "name": "x", "created_at": EARLIER, **source})


@pytest.mark.parametrize(
    ("observed", "failure", "actions"),
    [
        (TEMPLATE, None, (RemoveTemplate(),)),
        (TEMPLATE, Failure(3, "in use by VM v", permanent=True, at=EARLIER), (RemoveTemplate(),)),
        (replace(PREPARED, has_template=True), None, (Discard(),)),
        (LEFTOVERS, None, (Discard(),)),
        (NOTHING, None, (Release(),)),
    ],
)
def test_a_deletion(observed: Observed, failure: Failure | None, actions: tuple[Action, ...]) -> None:
    decision = plan(UNWANTED, observed, READY, failure, NOW)
    assert decision.status is not None
    assert decision.status.actual is ImageActual.DELETING
    assert decision.status.reason == (failure.reason if failure else "")
    assert decision.actions == actions


def test_while_the_store_is_away_nothing_is_forgotten_and_it_is_looked_at_again() -> None:
    decision = plan(WANTED, AWAY, KNOWN, None, NOW)
    assert decision.status is not None
    assert (decision.status.reason, decision.status.sha256) == ("the store does not answer", "ab")
    assert decision.again_in_s
    # What was learnt is still known when it is back.
    back = plan(WANTED, TEMPLATE, decision.status, None, NOW).status
    assert back is not None
    assert (back.actual, back.sha256) == (ImageActual.READY, "ab")
    deletion = plan(UNWANTED, AWAY, READY, None, NOW)
    assert deletion.status is not None
    assert (deletion.status.actual, deletion.actions) == (ImageActual.DELETING, ())


def test_what_is_released_is_reported_no_more() -> None:
    assert plan(UNWANTED, Observed(is_requested=False), None, None, NOW).status is None


def test_a_template_without_a_request_is_left_alone() -> None:
    decision = plan(None, Observed(has_template=True), None, None, NOW)
    assert (decision.status, decision.actions) == (None, ())
    assert plan(None, Observed(has_leftovers=True), None, None, NOW).actions == (Discard(),)


def test_what_was_learnt_is_published_before_it_is_installed_and_kept() -> None:
    before = plan(WANTED, PREPARED, IMPORTING, None, NOW).status
    after = plan(WANTED, TEMPLATE, before, None, NOW).status
    assert before is not None
    assert after is not None
    for status in (before, after):
        assert (status.virtual_size_mib, status.file_size_bytes, status.sha256) == (64, 1000, "ab")
    assert (before.since, after.since) == (EARLIER, NOW)

"""Which writes are told to the owner, and in which words."""

import pytest

from common.schemas.verdict import Sentence
from common.schemas.vm import Actual, Cause, Choice
from tests.unit.ucloud_scheduler.snapshots import NOW, make_placement, make_request, make_status, make_vm
from ucloud_scheduler.told import told
from ucloud_scheduler.views import Judged
from ucloud_scheduler.writes import Clear, Evacuate, Move, Place, Release, Report, Update, Write

REQUEST = make_request()
ORDER = make_placement(REQUEST)
NEW = make_vm(REQUEST)
WAITING = make_vm(REQUEST, reason="no room")
CHOICE = Choice(cause=Cause.NEW, hosts=3, refused={"draining": 2})


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (Place(NEW, "h1", ORDER), "placed on h1"),
        (Evacuate(NEW, "h2", ORDER, {"h1": Judged(Sentence.DEAD, 40)}), "goes on on h2, as h1 is dead"),
        (Move(NEW, {}, "has moved from h1 to h2"), "has moved from h1 to h2"),
        (Update(WAITING, "h1", ORDER), "gets what there was no room for before"),
        (Report(NEW, make_status(0, Actual.PENDING, reason="no room")), "waits: no room"),
        (Report(WAITING, make_status(0, Actual.PENDING, generation=2, reason="no room")), "waits: no room"),
        (Release(NEW, REQUEST), "gone"),
    ],
)
def test_what_is_told(write: Write, words: str) -> None:
    event = told(write, NOW)
    assert event
    assert (event.what, event.owner, event.at) == (words, "admin", NOW)


@pytest.mark.parametrize(
    "write",
    [
        Move(NEW, {}),
        Update(NEW, "h1", ORDER),
        Report(WAITING, make_status(0, Actual.PENDING, reason="other figures")),
        Clear(WAITING),
        Place(make_vm(None), "h1", ORDER),
    ],
)
def test_what_is_no_news(write: Write) -> None:
    assert told(write, NOW) is None


def test_how_a_host_was_chosen_is_for_admins() -> None:
    event = told(Place(NEW, "h1", ORDER.model_copy(update={"choice": CHOICE})), NOW)
    assert event
    assert event.admin_only == "new: of 3 hosts would not do: 2 draining"

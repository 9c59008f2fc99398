"""Why a VM is as it is, in words: for admins, and for owners, who are told of no other hosts."""

from datetime import UTC, datetime
from typing import Any

from common.schemas.host import HostRequest, HostState
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import (
    Actual,
    Cause,
    Choice,
    Leaving,
    MoveReport,
    MoveState,
    Placement,
    Requested,
    Role,
    Specs,
    Tried,
    VmRequest,
    VmStatus,
)
from ucloud_api.models.why import Why
from ucloud_api.reading.views import VmFacts
from ucloud_api.vms.reasons import Seat, explain

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REQUEST = VmRequest(
    uuid="5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10",
    owner="alice",
    name="web",
    specs=Specs.of(cpu=1, ram_mib=512, ssd_mib=2048),
    image="00000000-0000-4000-8000-00000000001a",
    generation=2,
    created_at=NOW,
)
CHOICE = Choice(cause=Cause.NEW, hosts=3, refused={"draining": 1}, scores=(("h1", 0.25), ("h2", 0.5)))
DEAD = Verdict(host="h1", sentence=Sentence.DEAD, since=NOW, fenced_by="self+storage")
SILENT = Verdict(host="h1", sentence=Sentence.SILENT, since=NOW, waits_for="the BMC answers")


def order(**fields: Any) -> Placement:
    known: dict[str, Any] = {"epoch": 1, "generation": 2, "request": REQUEST, "placed_at": NOW, "choice": CHOICE}
    return Placement(**(known | fields))


def status(actual: Actual = Actual.RUNNING, **fields: Any) -> VmStatus:
    known: dict[str, Any] = {"epoch": 1, "generation": 2, "actual": actual, "since": NOW}
    return VmStatus(**(known | fields))


def why(*seats: Seat, is_admin: bool = True, word: str = "", request: VmRequest = REQUEST) -> Why:
    """What is said when the first of the seats is the host that runs it."""
    said = VmStatus(epoch=0, generation=2, actual=Actual.PENDING, reason=word, since=NOW) if word else None
    first = seats[0] if seats else None
    facts = VmFacts(
        request,
        first.host if first else None,
        first.placement if first else None,
        first.status if first else None,
        said,
        first.is_alive if first else True,
    )
    return explain(facts, {seat.host: seat for seat in seats}, is_admin)


def test_a_vm_that_runs() -> None:
    told = why(Seat("h1", order(), status()))
    assert told.waits_for == ()
    assert told.lines == (
        "web is RUNNING",
        "It is to be RUNNING, which it is.",
        "Placed on h1 at 2026-03-01 12:00:00 UTC, as it was new.",
        "  Chosen from 3 hosts, of which would not do: 1 draining.",
        "  How full they would have become: h1 25%, h2 50%.",
        "h1 (ALIVE) says RUNNING since 2026-03-01 12:00:00 UTC",
    )


def test_an_owner_is_told_of_no_other_hosts() -> None:
    told = why(Seat("h1", order(), status()), is_admin=False)
    assert "h2" not in told.model_dump_json()
    assert told.placements[0].scores == ()
    assert "  It was the best of those that would do." in told.lines


def test_a_vm_that_waits_for_a_host() -> None:
    told = why(word="no host has 64 GiB RAM free: 3 full")
    assert told.waits_for == ("the scheduler: no host has 64 GiB RAM free: 3 full",)
    assert told.lines[0] == "web is PENDING: no host has 64 GiB RAM free: 3 full"
    assert why().waits_for == ("the scheduler has not looked at it yet",)


def test_a_host_that_is_silent_or_dead() -> None:
    silent = Seat("h1", order(), status(), is_alive=False, verdict=SILENT)
    assert why(silent).waits_for == ("host h1 is silent: the BMC answers",)
    assert why(silent).placements[0].fence == "the BMC answers"
    owners = why(silent, is_admin=False)
    assert owners.waits_for == ("host h1 is silent, and it is not sure yet that it is dead",)
    assert "BMC" not in owners.model_dump_json()
    dead = why(Seat("h1", order(), status(), is_alive=False, verdict=DEAD))
    assert dead.waits_for == ("host h1 is dead: another host takes it over",)
    assert dead.placements[0].host_state == "DEAD"
    tied = REQUEST.model_copy(update={"ha": False})
    told = why(Seat("h1", order(request=tied), status(), is_alive=False, verdict=DEAD))
    assert told.waits_for == ("host h1 is dead: it runs again when its host does (no ha)",)


def test_who_has_yet_to_answer() -> None:
    assert why(Seat("h1", order())).waits_for == ("host h1 has not answered what was requested last",)
    behind = Seat("h1", order(generation=1), status(generation=1))
    assert why(behind).waits_for == ("the scheduler has not handed on what was requested last",)
    at_it = Seat("h1", order(), status(Actual.STARTING, reason="can't start the VM: no memory"))
    assert why(at_it).waits_for == ("host h1 is at it: can't start the VM: no memory",)
    stopped = REQUEST.model_copy(update={"requested": Requested.STOPPED})
    assert why(Seat("h1", order(), status(Actual.STOPPED)), request=stopped).waits_for == ()


def test_a_move() -> None:
    leaving = Leaving(to="h2", epoch=2, live=True)
    move = MoveReport(epoch=2, state=MoveState.RUNNING, percent=40)
    source = Seat("h1", order(leaving=leaving), status(move=move))
    coming = order(
        role=Role.INCOMING, epoch=2, coming_from="h1", choice=CHOICE.model_copy(update={"cause": Cause.DRAIN})
    )
    told = why(source, Seat("h2", coming))
    assert "Moves to h2, while it runs, 40 % sent." in told.lines
    assert "Coming from h1 to h2, as its host was to become empty." in told.lines
    assert [each.host for each in told.placements] == ["h1", "h2"]
    back = Seat("h1", order(leaving=leaving.model_copy(update={"cancelled": True})), status())
    assert "Is called back from its move to h2, while it runs." in why(back).lines
    tried = order(tried=Tried(at=NOW, cause=Cause.DRAIN, reason="no host would do"))
    assert "Its last move failed: no host would do" in why(Seat("h1", tried, status())).lines


def test_the_admins_word_on_its_host() -> None:
    word = HostRequest(name="h1", state=HostState.DRAINING)
    assert "h1 is draining." in why(Seat("h1", order(), status(), word=word)).lines
    assert "h1 is draining." not in why(Seat("h1", order(), status(), word=word), is_admin=False).lines

"""When waiting is over."""

from typing import Any

import pytest

from ucloud_cli.errors import CliError
from ucloud_cli.goals import image_goal, notice_goal, rollback_goal, snapshot_goal, vm_goal

ACCEPTED: dict[str, Any] = {
    "name": "web",
    "requested": "RUNNING",
    "generation": 2,
    "observed_generation": 1,
    "status": "STOPPED",
    "reason": "",
    "specs": {"cpu": 1},
}


def vm(**changes: Any) -> dict[str, Any]:
    return {**ACCEPTED, "observed_generation": 2, **changes}


@pytest.mark.parametrize(
    "seen",
    [
        vm(generation=1, requested="STOPPED", status="STOPPED"),
        vm(observed_generation=1, status="RUNNING"),
        vm(observed_generation=1, status="ERROR"),
        vm(observed_generation=0, status="PENDING"),
        vm(status="STARTING"),
        vm(status="KILLED"),
        vm(status="UNKNOWN"),
    ],
)
def test_not_yet(seen: dict[str, Any]) -> None:
    assert not vm_goal(ACCEPTED)(seen)


def test_done() -> None:
    assert vm_goal(ACCEPTED)(vm(status="RUNNING"))
    assert vm_goal({**ACCEPTED, "requested": "STOPPED"})(vm(requested="STOPPED", status="STOPPED"))
    assert vm_goal({**ACCEPTED, "requested": "DELETED"})(None)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (None, "deleted it meanwhile"),
        (vm(requested="STOPPED"), "requested STOPPED meanwhile"),
        (vm(status="ERROR", reason="no image"), "web: ERROR: no image"),
        (vm(status="STOPPED", reason="powered off by the guest"), "STOPPED: powered off by the guest"),
    ],
)
def test_never(seen: dict[str, Any] | None, words: str) -> None:
    with pytest.raises(CliError, match=words):
        vm_goal(ACCEPTED)(seen)


def test_a_guest_that_died_can_not_be_suspended_any_more() -> None:
    with pytest.raises(CliError, match="web: KILLED: it died"):
        vm_goal({**ACCEPTED, "requested": "SUSPENDED"})(vm(requested="SUSPENDED", status="KILLED", reason="it died"))


def test_a_vm_is_deleted_when_there_is_no_record_of_it() -> None:
    goal = vm_goal({**ACCEPTED, "requested": "DELETED"})
    for status in ("RUNNING", "STOPPED", "DELETING", "DELETED"):
        assert not goal(vm(requested="DELETED", status=status))
    assert goal(None)


def image(status: str, requested: str = "READY") -> dict[str, Any]:
    return {"name": "debian", "requested": requested, "status": status, "reason": "why"}


def test_an_image_is_ready_or_rejected_and_an_error_may_pass() -> None:
    goal = image_goal(image("PENDING"))
    assert [goal(image(status)) for status in ("PENDING", "IMPORTING", "ERROR", "READY")] == [False, False, False, True]
    with pytest.raises(CliError, match="debian: REJECTED: why"):
        goal(image("REJECTED"))
    with pytest.raises(CliError, match="deletion"):
        goal(image("DELETING", "DELETED"))


def test_a_deleted_image_is_gone() -> None:
    goal = image_goal(image("DELETING", "DELETED"))
    assert not goal(image("DELETING", "DELETED"))
    assert goal(None)


@pytest.mark.parametrize(
    ("seen", "is_done"),
    [
        (vm(observed_generation=1, status="RUNNING"), False),
        (vm(generation=1, status="RUNNING"), False),
        (vm(status="RUNNING"), True),
        (vm(status="STOPPED"), True),
        (vm(status="KILLED"), True),
        (vm(observed_generation=0, status="PENDING"), True),
        (vm(observed_generation=1, status="UNKNOWN"), True),
        (vm(generation=3, observed_generation=1, requested="STOPPED", status="RUNNING"), False),
        (vm(generation=3, observed_generation=3, requested="STOPPED", status="STOPPED"), True),
    ],
)
def test_a_change_that_leaves_the_state_is_done_when_its_host_has_noticed(seen: dict[str, Any], is_done: bool) -> None:
    assert notice_goal(ACCEPTED)(seen) is is_done


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (None, "web: somebody deleted it meanwhile"),
        (vm(generation=3, specs={"cpu": 8}), "web: no longer waited for: somebody resized it meanwhile"),
        (vm(status="ERROR", reason="the store is full"), "web: ERROR: the store is full"),
    ],
)
def test_a_change_that_fails_says_why(seen: dict[str, Any] | None, words: str) -> None:
    with pytest.raises(CliError, match=words):
        notice_goal(ACCEPTED)(seen)


def test_what_was_in_error_before_can_be_renamed() -> None:
    assert notice_goal({**ACCEPTED, "status": "ERROR"})(vm(status="ERROR", reason="as before"))


def _with_snapshot(status: str = "PENDING", **changes: Any) -> dict[str, Any]:
    snapshot = {"id": "s1", "name": "before", "status": status, "reason": "why"}
    return vm(snapshots=[snapshot], **{"status": "RUNNING", **changes})


def test_a_snapshot_is_waited_for_until_it_is_there() -> None:
    reached = snapshot_goal(_with_snapshot())
    assert not reached(_with_snapshot(generation=1))
    assert not reached(_with_snapshot())
    assert reached(_with_snapshot("READY"))
    for seen, words in (
        (None, "deleted it meanwhile"),
        (_with_snapshot("LOST"), "before is LOST: why"),
        (_with_snapshot(**{"status": "PENDING"}) | {"status": "ERROR"}, "before is PENDING: why"),
        (vm(snapshots=[], status="RUNNING"), "removed the snapshot before"),
    ):
        with pytest.raises(CliError, match=words):
            reached(seen)


def test_a_roll_back_is_waited_for_until_it_is_done() -> None:
    def seen(number: int = 2, pending: bool = True, **changes: Any) -> dict[str, Any]:
        return vm(rollback={"number": number, "pending": pending, "name": "before"}, **changes)

    reached = rollback_goal(seen())
    assert not reached(seen(generation=1, pending=False))
    assert not reached(seen())
    assert reached(seen(pending=False))
    for what, words in ((None, "deleted it"), (seen(3), "another roll-back"), (seen(status="ERROR"), "ERROR")):
        with pytest.raises(CliError, match=words):
            reached(what)

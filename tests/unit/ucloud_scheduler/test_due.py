"""Lanes take turns, whatever comes and goes; a VM stands in one of them."""

from hypothesis import given
from hypothesis import strategies as st

from ucloud_scheduler.due import Due

VMS = st.integers(0, 30).map(str)
LANES = st.sampled_from(["alice", "bob", "carol"])


@given(st.lists(st.tuples(VMS, st.none() | LANES)))
def test_each_vm_is_taken_once_from_the_lane_it_was_put_in_last(events: list[tuple[str, str | None]]) -> None:
    due, expected = Due("lost"), set()
    for vm_uuid, lane in events:
        if lane is None:
            due.discard(vm_uuid)
            expected.discard(vm_uuid)
        else:
            due.add(vm_uuid, lane)
            expected.add(vm_uuid)
        assert (vm_uuid in due) == (lane is not None)
    assert len(due) == len(expected)
    taken = due.take(100)
    assert sorted(taken) == sorted(expected)
    assert len(due) == 0
    assert due.take(100) == []


def test_a_short_lane_does_not_wait_for_a_long_one() -> None:
    due = Due("lost")
    for number in range(1000):
        due.add(f"a{number}", "alice")
    due.add("b0", "bob")
    taken = due.take(10)
    assert "b0" in taken
    assert len(taken) == 10
    assert taken[:5] == [f"a{number}" for number in range(5)]


def test_more_lanes_than_can_be_taken_at_once_all_get_their_turn() -> None:
    due = Due("lost")
    for owner in range(50):
        for number in range(3):
            due.add(f"{owner}-{number}", str(owner))
    first = [vm_uuid for _ in range(5) for vm_uuid in due.take(10)]
    assert {vm_uuid.split("-")[0] for vm_uuid in first} == {str(owner) for owner in range(50)}


def test_a_vm_that_changes_lanes_leaves_the_former() -> None:
    due = Due("lost")
    due.add("v", "alice")
    due.add("v", "bob")
    assert not due.has("alice")
    assert due.has("bob")
    assert due.take(5) == ["v"]
    due.add("v", "alice")
    due.clear()
    assert len(due) == 0
    assert due.take(5) == []

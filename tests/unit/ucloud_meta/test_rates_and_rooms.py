"""How often each may ask, and how many connections each may have."""

from ucloud_meta.rates import Rate, Rates
from ucloud_meta.rooms import Room

OVER = {"over-1", "over-2"}


def test_a_burst_then_a_rate_for_each() -> None:
    rates = Rates(Rate(per_s=2, burst=3))
    assert [rates.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 1]
    assert rates.take("b", 10.0) == 0
    assert rates.take("a", 10.4) == 1
    assert [rates.take("a", 10.5) for _ in range(2)] == [0, 1]
    assert [rates.take("a", 99.0) for _ in range(4)] == [0, 0, 0, 1]


def test_who_waits_as_long_as_told_is_served() -> None:
    rates = Rates(Rate(per_s=0.25, burst=1))
    assert rates.take("a", 0.0) == 0
    wait_s = rates.take("a", 1.0)
    assert wait_s == 3
    assert rates.take("a", 1.0 + wait_s) == 0


def test_who_has_not_asked_for_long_is_forgotten() -> None:
    rates = Rates(Rate(per_s=1, burst=2))
    for number in range(10_000):
        assert rates.take(number, float(number)) == 0
    assert len(rates._left) <= 4096


def test_a_port_has_room_for_a_few() -> None:
    room: Room[str] = Room(most=10, most_each=2, is_over=OVER.__contains__)
    assert room.enter("a", "a1") is None
    assert room.enter("a", "a2") is None
    assert room.enter("a", "a3") == "a3"
    assert room.enter("b", "b1") is None
    room.leave("a", "a1")
    room.leave("a", "a1")
    room.leave("nobody", "x")
    assert room.enter("a", "a4") is None


def test_who_has_the_most_makes_room_for_who_has_fewer() -> None:
    room: Room[str] = Room(most=4, most_each=3, is_over=OVER.__contains__)
    for name in ("a1", "a2", "a3"):
        assert room.enter("a", name) is None
    assert room.enter("b", "b1") is None
    assert room.enter("c", "c1") == "a1"
    room.leave("a", "a1")
    # Now a has two, b and c one each: a second one of theirs would not make it fairer.
    assert room.enter("b", "b2") == "b2"
    assert room.enter("d", "d1") == "a2"
    room.leave("a", "a2")
    assert room.enter("e", "e1") == "e1"


def test_what_is_as_good_as_over_makes_room_first() -> None:
    room: Room[str] = Room(most=4, most_each=2, is_over=OVER.__contains__)
    for name in ("a1", "over-1"):
        assert room.enter("a", name) is None
    assert room.enter("a", "a2") == "over-1"
    room.leave("a", "over-1")
    assert room.enter("a", "a3") == "a3"
    assert room.enter("b", "b1") is None
    assert room.enter("b", "over-2") is None
    assert room.enter("c", "c1") == "a1"
    room.leave("a", "a1")
    assert room.enter("b", "b2") == "over-2"

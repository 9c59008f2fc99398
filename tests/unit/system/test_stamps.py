"""Stamps that tell of two guests at one time."""

import pytest

from tests.system.stamps import Stamp, errors


def stamps(*boots: tuple[str, int, range]) -> list[Stamp]:
    return sorted(Stamp(number, boot, began) for boot, began, numbers in boots for number in numbers)


@pytest.mark.parametrize(
    "good",
    [
        [],
        stamps(("a", 0, range(1, 10))),
        stamps(("a", 0, range(1, 10)), ("b", 9, range(10, 12)), ("c", 11, range(12, 13))),
        stamps(("a", 0, range(5, 10)), ("b", 9, range(10, 12))),  # the first were written over
    ],
)
def test_boots_that_follow_one_another_are_fine(good: list[Stamp]) -> None:
    assert errors(good) == []


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (stamps(("a", 0, range(1, 5)), ("b", 4, range(5, 7)), ("a", 0, range(7, 9))), "goes on"),
        (stamps(("b", 0, range(1, 5)), ("a", 0, range(5, 9))), "found 0"),  # one was slower than the other
        (stamps(("a", 0, range(1, 5)), ("b", 2, range(5, 9))), "found 2"),
        (stamps(("a", 0, range(1, 5)), ("a", 0, range(6, 9))), "missing"),
    ],
)
def test_two_at_one_time_are_found(bad: list[Stamp], what: str) -> None:
    assert any(what in error for error in errors(bad))

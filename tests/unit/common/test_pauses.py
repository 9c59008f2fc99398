"""How long guessers are held off."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from common.pauses import FORGET_S, pause_after, seconds_until

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_some_tries_are_free_then_each_pause_is_twice_the_last() -> None:
    minutes = [pause_after(tries, 5).total_seconds() / 60 for tries in range(1, 15)]
    assert minutes == [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 240, 240]


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=100))
def test_no_pause_outlasts_the_memory_of_it(tries: int, free: int) -> None:
    assert timedelta(0) <= pause_after(tries, free) < timedelta(seconds=FORGET_S)


def test_what_is_left_is_rounded_up() -> None:
    assert [seconds_until(NOW + timedelta(seconds=left_s), NOW) for left_s in (-1, 0, 0.1, 1, 1.5)] == [0, 0, 1, 1, 2]
    assert seconds_until(None, NOW) == 0

"""Which tokens are right when, and how long wrong ones are held off."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from common.schemas.otp import OtpTries
from ucloud_otp.totp import STEP_S, WINDOW_STEPS, after_wrong_token, seconds_left, step_of, token_at

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SEED = "PZKBPTHDGSLZBKIZ"
RFC_SEED = base64.b32encode(b"12345678901234567890").decode()


@pytest.mark.parametrize(
    ("at_s", "digits"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_tokens_are_those_of_rfc_6238(at_s: int, digits: str) -> None:
    at = datetime.fromtimestamp(at_s, UTC)
    assert token_at(RFC_SEED, at) == digits
    assert step_of(RFC_SEED, digits, at) == at_s // STEP_S


@pytest.mark.parametrize("steps", range(-WINDOW_STEPS, WINDOW_STEPS + 1))
def test_a_token_within_the_window_has_the_step_of_its_time(steps: int) -> None:
    at = NOW + timedelta(seconds=STEP_S * steps)
    assert step_of(SEED, token_at(SEED, at), NOW) == int(at.timestamp()) // STEP_S


@pytest.mark.parametrize("steps", [-WINDOW_STEPS - 1, WINDOW_STEPS + 1])
def test_a_token_outside_of_the_window_is_wrong(steps: int) -> None:
    assert step_of(SEED, token_at(SEED, NOW + timedelta(seconds=STEP_S * steps)), NOW) is None


@pytest.mark.parametrize("token", ["", "0", "12345", "1234567", "abcdef", "٣٣٣٣٣٣", "\0" * 6, "-00001"])
def test_what_is_no_token_is_wrong(token: str) -> None:
    assert step_of(SEED, token, NOW) is None


def test_a_seed_may_be_written_in_small_letters() -> None:
    assert step_of(SEED.lower(), token_at(SEED, NOW), NOW) is not None


def test_the_first_wrong_tokens_are_free_then_each_doubles_the_pause_up_to_four_hours() -> None:
    tries: OtpTries | None = None
    pauses = []
    for _ in range(16):
        tries = after_wrong_token(tries, NOW)
        pauses.append(seconds_left(tries, NOW))
    assert pauses[:5] == [0, 0, 0, 0, 60]
    assert pauses[5:13] == [120, 240, 480, 960, 1920, 3840, 7680, 14400]
    assert set(pauses[13:]) == {14400}
    after_many = OtpTries(wrong=10**9, blocked_until=NOW)
    assert seconds_left(after_wrong_token(after_many, NOW), NOW) == 14400


def test_a_year_of_guessing_one_name_succeeds_with_two_percent_at_most() -> None:
    tries: OtpTries | None = None
    now, guesses = NOW, 0
    while now < NOW + timedelta(days=365):
        tries = after_wrong_token(tries, now)
        guesses += 1
        now += timedelta(seconds=seconds_left(tries, now))
    assert guesses * (2 * WINDOW_STEPS + 1) / 10**6 < 0.02

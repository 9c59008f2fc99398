"""Time-based one-time tokens: which step of time a token belongs to, and how long wrong ones are held off. Pure.

Source: RFC 6238 (TOTP) and RFC 4226 (HOTP), section 7.3 on throttling; pyotp makes the digits.
"""

import hmac
from datetime import datetime

import pyotp

from common.pauses import pause_after, seconds_until
from common.schemas.otp import OtpTries

STEP_S = 30
WINDOW_STEPS = 3
"""A token counts from so many steps before its own to so many after: clocks differ, and people type slowly."""

_FREE_TRIES = 5


def token_at(seed: str, now: datetime) -> str:
    """The token of a base32 seed at a time."""
    return pyotp.TOTP(seed, interval=STEP_S).at(now)


def step_of(seed: str, token: str, now: datetime) -> int | None:
    """The step that `token` belongs to, within the window around `now`; None when it is wrong.

    Takes the same time whatever the token: each step is compared, each comparison in constant time. Where two steps
    have the same digits it is the later one, so that these digits are never accepted twice.
    """
    totp = pyotp.TOTP(seed, interval=STEP_S)
    current = int(now.timestamp()) // STEP_S
    found = None
    for step in range(max(0, current - WINDOW_STEPS), current + WINDOW_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step).encode(), token.encode()):
            found = step
    return found


def after_wrong_token(tries: OtpTries | None, now: datetime) -> OtpTries:
    """The count after one more wrong token: some are free, then each doubles the pause before the next.

    A token of 6 digits and a window of 7 steps is guessed with a chance of 7 in a million. At six tries a day, which is
    what the longest pause leaves, that is 1.5 % in a year of trying.
    """
    wrong = (tries.wrong if tries else 0) + 1
    return OtpTries(wrong=wrong, blocked_until=now + pause_after(wrong, _FREE_TRIES))


def seconds_left(tries: OtpTries | None, now: datetime) -> int:
    """How many seconds, rounded up, until a token is looked at again; 0: now."""
    return seconds_until(tries.blocked_until if tries else None, now)

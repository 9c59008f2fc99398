"""How long those who guess are held off: some tries are free, then each doubles the pause before the next. Pure.

Source: RFC 4226 (HOTP), section 7.3.
"""

from datetime import datetime, timedelta

_FIRST_S = 60
_LONGEST_S = 4 * 3600
FORGET_S = 24 * 3600
"""After so many seconds without a try, the count begins anew. It is more than the longest pause."""


def pause_after(tries: int, free: int) -> timedelta:
    """The pause after so many tries in vain, of which `free - 1` have none."""
    # The exponent is bounded too: two to the power of a count that has no end is a number that has none.
    return timedelta(seconds=min(_FIRST_S * 2 ** min(tries - free, 16), _LONGEST_S) if tries >= free else 0)


def seconds_until(then: datetime | None, now: datetime) -> int:
    """How many seconds, rounded up, until `then`; 0: it is over, or there is none."""
    left_s = (then - now).total_seconds() if then else 0.0
    return max(0, int(left_s) + (left_s > int(left_s)))

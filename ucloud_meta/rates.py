"""How often each VM may ask: a token bucket for each. Pure but for what it remembers; belongs to one thread."""

import math
from collections.abc import Hashable
from dataclasses import dataclass

_PRUNE_AT = 4096


@dataclass(frozen=True)
class Rate:
    """So many requests a second in the long run, and so many at once after a silence."""

    per_s: float
    burst: int


class Rates:
    """What each has left."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._left: dict[Hashable, tuple[float, float]] = {}
        """How much, and when (seconds, of a clock that only goes forward)."""
        self._prune_at = _PRUNE_AT

    def take(self, key: Hashable, now_s: float) -> int:
        """Take one of `key`'s: 0, or, when it has none left, after how many seconds it will have (at least 1)."""
        left = self._now_left(key, now_s)
        if left < 1:
            return max(1, math.ceil((1 - left) / self._rate.per_s))
        if key not in self._left and len(self._left) >= self._prune_at:
            self._prune(now_s)
        self._left[key] = left - 1, now_s
        return 0

    def _now_left(self, key: Hashable, now_s: float) -> float:
        left, at_s = self._left.get(key, (self._rate.burst, now_s))
        return min(self._rate.burst, left + (now_s - at_s) * self._rate.per_s)

    def _prune(self, now_s: float) -> None:
        """Forget those who have all of theirs again: that is as good as never to have asked."""
        self._left = {key: known for key, known in self._left.items() if self._now_left(key, now_s) < self._rate.burst}
        self._prune_at = max(_PRUNE_AT, 2 * len(self._left))

"""How much one asker gets: so many answers a second in the long run, and some more at once. Pure."""


class Bucket:
    """Holds at most `most` answers; `rate_per_s` are put in."""

    __slots__ = ("_at_s", "_left", "_most", "_rate_per_s")

    def __init__(self, rate_per_s: float, most: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._most = most
        self._left = most
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one out; False when it is empty."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True

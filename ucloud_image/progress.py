"""How far a conversion is, by what qemu-img says of it (`-p`)."""

import re
import time
from collections.abc import Callable

_SAID = re.compile(rb"\((\d{1,3})\.\d\d/100%\)")
_TELL_EVERY_S = 1.0


class Progress:
    """Calls `tell` with 0, and now and then with the percentage that it is at, at most 99."""

    def __init__(self, tell: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._told = 0
        self._told_at_s = clock()
        tell(0)

    def hear(self, said: bytes) -> None:
        """Take in what qemu-img said, whatever that is."""
        if found := _SAID.findall(said):
            self.reach(int(found[-1]))

    def reach(self, percent: int) -> None:
        """It is so far."""
        percent, now_s = min(99, percent), self._clock()
        if percent > self._told and now_s - self._told_at_s >= _TELL_EVERY_S:
            self._told, self._told_at_s = percent, now_s
            self._tell(percent)

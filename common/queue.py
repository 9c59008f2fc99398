"""A queue of names to look at: each name at most once, at most one worker per name, with delays."""

import heapq
import threading
import time
from collections.abc import Callable


class WorkQueue:
    """Names that wait to be worked on. A name that is added while it is worked on is handed out again afterwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._in_work: set[str] = set()
        self._closed = False

    def add(self, name: str, after_s: float = 0) -> None:
        """Have `name` looked at in `after_s` seconds, or earlier if that was asked before."""
        due = self._clock() + after_s
        with self._condition:
            if self._due.get(name, float("inf")) <= due:
                return
            self._due[name] = due
            heapq.heappush(self._heap, (due, name))
            self._condition.notify()

    def get(self) -> str | None:
        """The next name that is due and in nobody's work; blocks until there is one. None once the queue is closed."""
        with self._condition:
            while not self._closed:
                name = self._pop_due()
                if name is not None:
                    self._in_work.add(name)
                    return name
                self._condition.wait(self._next_in_s())
        return None

    def _pop_due(self) -> str | None:
        """Take the earliest name that is due and idle. Names in work wait in `_due` until `done` brings them back."""
        while self._heap and self._heap[0][0] <= self._clock():
            due, name = heapq.heappop(self._heap)
            if self._due.get(name) != due or name in self._in_work:
                continue
            del self._due[name]
            return name
        return None

    def _next_in_s(self) -> float | None:
        return max(0.0, self._heap[0][0] - self._clock()) if self._heap else None

    def done(self, name: str) -> None:
        """The work on `name` has ended; if it was added meanwhile, it is handed out again."""
        with self._condition:
            self._in_work.discard(name)
            if name in self._due:
                heapq.heappush(self._heap, (self._due[name], name))
                self._condition.notify()

    def close(self) -> None:
        """Let every `get` return None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def __len__(self) -> int:
        with self._condition:
            return len(self._due)

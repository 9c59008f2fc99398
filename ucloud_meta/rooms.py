"""Who may have how many connections at once, so that nobody takes the room of others. Pure but for what it remembers.

Each network has room for so many, whatever happens on others. Within it, a guest may have only a few; and where a
network is full, who has the most makes room for who has fewer. What is as good as over makes room first.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

C = TypeVar("C", bound=Hashable)


class Room(Generic[C]):
    """The connections of one network."""

    def __init__(self, most: int, most_each: int, is_over: Callable[[C], bool]) -> None:
        """At most so many, and so many of each; `is_over` tells which waits only for the other end to close it."""
        self._most = most
        self._most_each = most_each
        self._is_over = is_over
        self._of: dict[Hashable, dict[C, None]] = {}
        """The connections of each, the oldest first."""
        self._count = 0

    def enter(self, who: Hashable, connection: C) -> C | None:
        """Let `connection` in; returns the one that must end for it, which may be itself."""
        displaced = self._displaced_by(who, connection)
        if displaced is not connection:
            self._of.setdefault(who, {})[connection] = None
            self._count += 1
        return displaced

    def leave(self, who: Hashable, connection: C) -> None:
        """`connection` has ended; nothing happens if it was not in."""
        theirs = self._of.get(who, {})
        if connection in theirs:
            del theirs[connection]
            self._count -= 1
            if not theirs:
                del self._of[who]

    def _displaced_by(self, who: Hashable, connection: C) -> C | None:
        own = self._of.get(who, {})
        if len(own) < self._most_each and self._count < self._most:
            return None
        if over := next(filter(self._is_over, own), None):
            return over
        if len(own) >= self._most_each:
            return connection
        greediest = max(self._of.values(), key=len)
        if len(greediest) <= len(own) + 1:
            return connection
        return next(filter(self._is_over, greediest), next(iter(greediest)))

"""How many connections there are, of whom, and how fast each user's bytes may come and go."""

import threading
import time
from collections import Counter

from common.errors import TooManyTries
from common.throttle import Throttle


class Connections:
    """Counts connections, before and after somebody has logged in."""

    def __init__(self, most: int, most_of_user: int) -> None:
        self._most = most
        self._most_of_user = most_of_user
        # Somebody who has not logged in yet costs work, and may be anybody.
        self._most_strangers_of_network = max(4, most // 10)
        self._strangers: Counter[str] = Counter()
        self._users: Counter[str] = Counter()
        self._failures = Throttle("30 per 10 minutes")

    def admit_stranger(self, network: str) -> bool:
        """Whether one more may try to log in from there; if so, it is counted until `drop_stranger`."""
        if self._strangers.total() + self._users.total() >= self._most:
            return False
        if self._strangers[network] >= self._most_strangers_of_network:
            return False
        try:
            self._failures.check(network)
        except TooManyTries:
            return False
        self._strangers[network] += 1
        return True

    def drop_stranger(self, network: str, failed: bool) -> None:
        """A stranger has logged in, or left."""
        self._strangers[network] -= 1
        self._strangers += Counter()  # leaves out those that have none
        if failed:
            self._failures.count(network)

    def admit_user(self, user: str) -> bool:
        """Whether a user may have one more; if so, it is counted until `drop_user`."""
        if self._users[user] >= self._most_of_user:
            return False
        self._users[user] += 1
        return True

    def drop_user(self, user: str) -> None:
        """A user's connection has ended."""
        self._users[user] -= 1
        self._users += Counter()

    def count(self) -> int:
        """How many users are connected."""
        return self._users.total()


class Pace:
    """A rate for each user, over all that the user has open. Used by any number of threads."""

    def __init__(self, bytes_per_s: int) -> None:
        """0: there is none."""
        self._bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at_s: dict[str, float] = {}

    def take(self, user: str, size_bytes: int) -> float:
        """So many bytes pass; returns for how many seconds to wait until the next."""
        if not self._bytes_per_s:
            return 0.0
        now_s = time.monotonic()
        with self._lock:
            free_at_s = max(now_s, self._free_at_s.get(user, 0.0)) + size_bytes / self._bytes_per_s
            self._free_at_s = {each: at for each, at in self._free_at_s.items() if at > now_s}
            self._free_at_s[user] = free_at_s
        return free_at_s - now_s

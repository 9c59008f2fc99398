"""The leadership as the control loop may use it: only once the caches know what the former leader wrote last."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from common.cache import Cache
from common.errors import LeadershipLost, UcloudError
from common.leader import Election
from common.store import Compare

_log = logging.getLogger(__name__)
_RETRY_S = 1.0


class Leadership:
    """Terms of office. A term begins with caches that are younger than the election."""

    def __init__(self, election: Election, caches: Sequence[Cache[Any]]) -> None:
        self._election = election
        self._caches = caches
        self._term: Compare | None = None
        self._changed = threading.Event()
        election.subscribe(self._changed.set)

    def guard(self) -> Compare | None:
        """The compare that each write of this term carries; None while there is no term."""
        guard = self._election.guard()
        return guard if guard is not None and guard == self._term else None

    def confirm(self) -> None:
        """LeadershipLost unless etcd says that the term lasts: before an effect that etcd can't fence."""
        guard = self.guard()
        if guard is None:
            raise LeadershipLost((self._election.key,))
        self._election.confirm(guard)

    def role(self) -> str:
        """Whether this instance is the elected one, for /healthz."""
        return "leading" if self._election.is_leader else "standby"

    def wake(self) -> None:
        """Have the loop look whether it is to stop."""
        self._changed.set()

    def run(self, stop: threading.Event, begin: Callable[[], None]) -> None:
        """Begin terms until `stop`, calling `begin` in each; the body of a thread."""
        while True:
            self._changed.wait()
            if stop.is_set():
                return
            self._changed.clear()
            guard = self._election.guard()
            if guard is None or guard == self._term:
                continue
            try:
                for cache in self._caches:
                    cache.refresh()
                self._term = guard
                begin()
            except UcloudError as error:
                _log.warning("can't begin to lead: %s", error)
                self._term = None
                self._changed.set()
                stop.wait(_RETRY_S)

"""A lease that many short-lived records share, so that not each of them costs etcd a lease of its own."""

import threading
import time

from common.store import Store

_LENT_FOR = 0.1
"""The part of its least time that a lease is lent for; what is bound to it last still lasts for all of that time."""

_MOST = 10_000
"""To so many records one lease is lent: etcd removes all that is bound to a lease in one go."""


class LentLease:
    """A lease for records that must last at least `ttl_s`, and soon after may go. Nobody renews it."""

    def __init__(self, store: Store, ttl_s: int) -> None:
        self._store = store
        self._ttl_s = ttl_s
        self._lent_for_s = ttl_s * _LENT_FOR
        self._lock = threading.Lock()
        self._id = 0
        self._lent_until_s = 0.0
        self._left = 0

    def get(self) -> int:
        """The lease to bind a record to now."""
        with self._lock:
            now_s = time.monotonic()
            if now_s >= self._lent_until_s or not self._left:
                self._id = self._store.grant(self._ttl_s + int(2 * self._lent_for_s))
                self._lent_until_s = now_s + self._lent_for_s
                self._left = _MOST
            self._left -= 1
            return self._id

    def forget(self, lease: int) -> None:
        """`lease` is gone, as from a store that was restored: lend another one."""
        with self._lock:
            if lease == self._id:
                self._lent_until_s = 0.0

"""A lease of etcd that is kept alive, and known to be over by this machine's own monotonic clock."""

import threading
from collections.abc import Callable

from common import clock
from common.deadlines import renew_every_s
from common.errors import LeaseExpired
from common.store import Store


class Lease:
    """A lease that ends `ttl_s` seconds after it was last renewed; what is bound to it goes with it."""

    def __init__(self, store: Store, lease_id: int, ttl_s: int, renewed_at: float) -> None:
        """`renewed_at` (common.clock): when the last renewal was sent. The lease lasts at least `ttl_s` from there."""
        self.id = lease_id
        self._store = store
        self._ttl_s = ttl_s
        self._renewed_at = renewed_at

    @classmethod
    def grant(cls, store: Store, ttl_s: int) -> "Lease":
        """A new lease."""
        asked_at = clock.now()
        return cls(store, store.grant(ttl_s), ttl_s, asked_at)

    @property
    def renewed_at(self) -> float:
        """When the last renewal that etcd accepted was sent, by common.clock."""
        return self._renewed_at

    @property
    def left_s(self) -> float:
        """How long the lease surely lasts; negative when it may be over."""
        return self._renewed_at + self._ttl_s - clock.now()

    def renew(self) -> None:
        """Renew the lease while it surely lasts; LeaseExpired or Unavailable if that can't be done in time."""
        asked_at = clock.now()
        if self.left_s <= 0:
            raise LeaseExpired(f"lease {self.id:x} could not be renewed for {self._ttl_s} s")
        self._store.keep_alive(self.id, timeout_s=self.left_s)
        self._renewed_at = asked_at

    def keep(self, stop: threading.Event, needed: Callable[[], bool] = lambda: True) -> None:
        """Renew the lease until `stop` is set or it is `needed` no more; errors as `renew`."""
        while not stop.wait(renew_every_s(self._ttl_s)) and needed():
            self.renew()

    def revoke(self) -> None:
        """End the lease now."""
        self._store.revoke(self.id)

"""What happened to things, told where it is remembered for a while: `/v1/event/<reporter>/<kind>/<thing>/<id>`.

An event is written in the transaction of what it tells of, so there is one if and only if that was done. Its id sorts
by time, over all reporters. A thing that is never at rest must not fill the store: of each, so many events an hour are
kept, and the last of these says so.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from common import keys
from common.lent_lease import LentLease
from common.schemas.event import EventRecord
from common.schemas.record import Record
from common.store import Operation, Put, Store

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Record)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR_S = 3600
_MOST_AN_HOUR = 60
_NO_MORE = " (more within this hour is not kept)"


def event_id(at: datetime) -> str:
    """An id for an event of that time: 20 digits, the microseconds since 1970 and four at random."""
    return f"{(at - _EPOCH) // _MICROSECOND:016d}{secrets.randbelow(10_000):04d}"


class EventLog:
    """The events of one reporter, which last at least `ttl_s` seconds."""

    def __init__(self, store: Store, reporter: str, ttl_s: int) -> None:
        self._reporter = reporter
        self._lease = LentLease(store, ttl_s)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._counted_since_s = time.monotonic()

    def tell(self, kind: str, thing: str, event: EventRecord) -> tuple[Put, ...]:
        """What a transaction writes to tell of `event`; nothing when too much happens to the thing.

        Unavailable when a lease is needed and etcd does not answer.
        """
        count = self._count(kind, thing)
        if count > _MOST_AN_HOUR:
            return ()
        if count == _MOST_AN_HOUR:
            event = event.model_copy(update={"what": event.what + _NO_MORE})
        key = keys.event(self._reporter, kind, thing, event_id(event.at))
        return (Put(key, event.to_json(), self._lease.get()),)

    def _count(self, kind: str, thing: str) -> int:
        """How many events of a thing there were within the hour, with the one to come."""
        if time.monotonic() - self._counted_since_s > _HOUR_S:
            self._counts, self._counted_since_s = Counter(), time.monotonic()
        self._counts[kind, thing] += 1
        return self._counts[kind, thing]

    def forget_leases(self, operations: Iterable[Operation]) -> None:
        """A transaction with these operations was refused for a lease that is gone: another one is lent now."""
        for operation in operations:
            if isinstance(operation, Put) and operation.lease:
                self._lease.forget(operation.lease)


class StatusEvents(Generic[R, S]):
    """Tells of what is new in the statuses of a kind.

    `news(request, before, after)` gives the events that are in a new status, or in the removal of one (None).
    """

    def __init__(
        self, log: EventLog, kind: str, news: Callable[[R | None, S | None, S | None], Iterable[EventRecord]]
    ) -> None:
        self._log = log
        self._kind = kind
        self._news = news

    def tell(self, name: str, request: R | None, before: S | None, after: S | None) -> tuple[Put, ...]:
        """What the transaction that writes `after` writes as well."""
        news = self._news(request, before, after)
        return tuple(put for event in news for put in self._log.tell(self._kind, name, event))

    def forget_leases(self, operations: Iterable[Operation]) -> None:
        """See EventLog."""
        self._log.forget_leases(operations)

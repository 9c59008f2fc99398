"""The store itself: get, list, commit, leases and watches, in terms of keys and bytes."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from etcd3.etcdrpc import rpc_pb2

from common.errors import Compacted, Conflict, LeaseExpired, Refused
from common.metrics import Metrics
from common.store.connection import ATTEMPT_TIMEOUT_S, Connection, EtcdOptions
from common.store.members import MemberStatus, look_at_members
from common.store.transaction import (
    MAX_OPERATIONS,
    Compare,
    Operation,
    Put,
    conflict_of,
    look_at,
    operation_to_wire,
    prefix_end,
)
from common.store.watch import PROBE_INTERVAL_S, Watch

_PAGE = 1000
_PAGE_TIMEOUT_S = 5.0
_COMMITS = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value with the revisions that a later write is compared with."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """All entries below a prefix as they were at one revision."""

    entries: tuple[Entry, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Range:
    """Of the entries below `prefix` those behind `after` that were written since a revision; the first `limit`."""

    prefix: str
    after: str = ""
    """What of the keys comes behind the prefix; empty: from the first on."""
    since: int = 0
    limit: int = 0
    """0: all."""


class Store:
    """etcd as ucloud uses it. Safe to use from many threads; make it after a fork, not before."""

    def __init__(self, options: EtcdOptions, metrics: Metrics | None = None) -> None:
        """`metrics` is where calls are counted, if anywhere."""
        self._metrics = metrics or Metrics()
        self._connection = Connection(options, self._metrics)

    @property
    def endpoint(self) -> str:
        """The endpoint that is in use now."""
        return self._connection.stubs.endpoint

    def get(self, key: str) -> Entry | None:
        """What `key` holds, or None. Linearizable: it sees every write that was acknowledged before."""
        answer = self._connection.call(lambda stubs: stubs.kv.Range, rpc_pb2.RangeRequest(key=key.encode()))
        return _entry(answer.kvs[0]) if answer.kvs else None

    def list(self, prefix: str, page: int = _PAGE) -> Listing:
        """All entries whose keys start with `prefix`, in key order, read in pages at one revision."""
        while True:
            try:
                return self.list_at(0, prefix, page)
            except Compacted:
                continue  # the pages' revision went away while they were read; a fresh one won't soon

    def list_at(self, revision: int, prefix: str, page: int = _PAGE) -> Listing:
        """The same as of a revision (0: now); Compacted when that is not known any more."""
        start, end = prefix.encode(), prefix_end(prefix)
        entries: list[Entry] = []
        while True:
            request = rpc_pb2.RangeRequest(key=start, range_end=end, limit=page, revision=revision)
            try:
                answer = self._connection.call(lambda stubs: stubs.kv.Range, request, _PAGE_TIMEOUT_S)
            except Refused as error:
                if revision and error.code == "OUT_OF_RANGE":
                    raise Compacted(f"{prefix} at revision {revision}") from error
                raise
            revision = revision or answer.header.revision
            entries.extend(_entry(kv) for kv in answer.kvs)
            if not answer.more:
                return Listing(tuple(entries), revision)
            start = answer.kvs[-1].key + b"\0"

    def list_ranges(self, ranges: Sequence[Range]) -> Listing:
        """The entries of many short ranges, in a few calls; all up to the listing's revision is in it."""
        entries: list[Entry] = []
        revisions: list[int] = []
        for start in range(0, len(ranges), MAX_OPERATIONS):
            request = rpc_pb2.TxnRequest(success=[_range(each) for each in ranges[start : start + MAX_OPERATIONS]])
            answer = self._connection.call(lambda stubs: stubs.kv.Txn, request, _PAGE_TIMEOUT_S)
            revisions.append(answer.header.revision)
            entries.extend(_entry(kv) for response in answer.responses for kv in response.response_range.kvs)
        return Listing(tuple(entries), min(revisions, default=0))

    def commit(self, compares: Sequence[Compare], operations: Sequence[Operation]) -> int:
        """Do all `operations` if all `compares` hold, else none; returns the revision.

        At least one compare is needed: it is what makes a repetition harmless. Conflict, Gone or LeadershipLost say
        that a compare failed. When an attempt got no answer and a repetition then finds exactly what was to be
        written, the first attempt had worked, and that is a success.
        """
        if not compares or len(compares) > MAX_OPERATIONS or len(operations) > MAX_OPERATIONS:
            raise ValueError(f"a transaction takes 1 to {MAX_OPERATIONS} compares and as many operations")
        request = rpc_pb2.TxnRequest(
            compare=[compare.to_wire() for compare in compares],
            success=[operation_to_wire(operation) for operation in operations],
        )
        unanswered = threading.Event()
        for _ in range(_COMMITS):
            answer = self._connection.call(lambda stubs: stubs.kv.Txn, request, on_retry=unanswered.set)
            if answer.succeeded:
                return int(answer.header.revision)
            if unanswered.is_set() and (done_at := self._done_at(operations, answer.header.revision)):
                return done_at
            if conflict := self._conflict(compares):
                self._metrics.store_conflicts.inc()
                raise conflict
            # What was in the way has gone since.
        raise Conflict(tuple(compare.key for compare in compares))

    def _conflict(self, compares: Sequence[Compare]) -> Conflict | None:
        """Which of the conditions fail, now."""
        request = rpc_pb2.TxnRequest(success=[look_at(compare) for compare in compares])
        answer = self._connection.call(lambda stubs: stubs.kv.Txn, request)
        return conflict_of(compares, [response.response_range.kvs for response in answer.responses])

    def _done_at(self, operations: Sequence[Operation], now: int) -> int | None:
        """The revision at which all `operations` were carried out, as far as etcd shows it; None if they were not.

        It is that of the keys, not that of etcd by `now`: a later write is compared with it. Removals leave none.
        """
        revisions = []
        for operation in operations:
            entry = self.get(operation.key)
            wanted = operation.value if isinstance(operation, Put) else None
            if (entry.value if entry else None) != wanted:
                return None
            if entry:
                revisions.append(entry.mod_revision)
        return max(revisions, default=now)

    def watch(
        self, prefix: str, start_revision: int, stop: threading.Event, probe_interval_s: float = PROBE_INTERVAL_S
    ) -> Watch:
        """All changes below `prefix` from `start_revision` on, in order, each once, until `stop` is set.

        Compacted when that is no longer possible: list again, and watch from there. News without changes say that
        the watch stands. etcd is asked for a sign of life each `probe_interval_s`.
        """
        return Watch(self._connection, prefix, start_revision, stop, probe_interval_s)

    def grant(self, ttl_s: int) -> int:
        """A new lease that ends `ttl_s` seconds after its last keep-alive."""
        answer = self._connection.call(lambda stubs: stubs.lease.LeaseGrant, rpc_pb2.LeaseGrantRequest(TTL=ttl_s))
        return int(answer.ID)

    def keep_alive(self, lease: int, timeout_s: float | None = None) -> int:
        """Renew a lease once, within `timeout_s`; returns the seconds it lasts now. LeaseExpired when it is gone."""
        request = rpc_pb2.LeaseKeepAliveRequest(ID=lease)

        def renew(stubs: Any) -> Any:
            return lambda message, **options: next(stubs.lease.LeaseKeepAlive(iter([message]), **options))

        answer = self._connection.call(renew, request, ATTEMPT_TIMEOUT_S, timeout_s)
        if answer.TTL <= 0:
            raise LeaseExpired(f"lease {lease:x} exists no more")
        return int(answer.TTL)

    def revoke(self, lease: int) -> None:
        """End a lease and remove what is bound to it; a lease that is gone already is fine."""
        try:
            self._connection.call(lambda stubs: stubs.lease.LeaseRevoke, rpc_pb2.LeaseRevokeRequest(ID=lease))
        except Refused as error:
            if error.code != "NOT_FOUND":
                raise

    def members(self) -> tuple[MemberStatus, ...]:
        """The state of the member behind each endpoint."""
        return look_at_members(self._connection)

    def close(self) -> None:
        """End all calls and watches."""
        self._connection.close()


def _range(wanted: Range) -> Any:
    start = wanted.prefix.encode() + (wanted.after.encode() + b"\0" if wanted.after else b"")
    request = rpc_pb2.RangeRequest(
        key=start, range_end=prefix_end(wanted.prefix), limit=wanted.limit, min_mod_revision=wanted.since
    )
    return rpc_pb2.RequestOp(request_range=request)


def _entry(kv: Any) -> Entry:
    return Entry(kv.key.decode(), kv.value, kv.create_revision, kv.mod_revision, kv.lease)

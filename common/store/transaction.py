"""Transactions as data: what must hold, and what is then changed. Source: etcd's rpc.proto, message TxnRequest."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from etcd3.etcdrpc import rpc_pb2

from common.errors import Conflict, Gone, LeadershipLost

MAX_OPERATIONS = 128
"""etcd's default `--max-txn-ops`: so many compares, and so many operations, fit into one transaction."""


class _Target(Enum):
    CREATE_REVISION = rpc_pb2.Compare.CREATE
    MOD_REVISION = rpc_pb2.Compare.MOD


class _Result(Enum):
    EQUAL = rpc_pb2.Compare.EQUAL
    GREATER = rpc_pb2.Compare.GREATER
    LESS = rpc_pb2.Compare.LESS


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction. Made by the functions below, which say what it means."""

    key: str
    target: _Target
    result: _Result
    revision: int
    whole_prefix: bool = False
    guards_leader: bool = False

    def to_wire(self) -> Any:
        """The condition as etcd reads it."""
        compare = rpc_pb2.Compare(
            key=self.key.encode(),
            target=self.target.value,
            result=self.result.value,
            range_end=prefix_end(self.key) if self.whole_prefix else b"",
        )
        if self.target is _Target.CREATE_REVISION:
            compare.create_revision = self.revision
        else:
            compare.mod_revision = self.revision
        return compare

    def holds(self, found: Sequence[Any]) -> bool:
        """Whether the condition is met by the key values found at its key (or below its prefix)."""
        revision = 0
        if found:
            kv = found[0]
            revision = kv.create_revision if self.target is _Target.CREATE_REVISION else kv.mod_revision
        match self.result:
            case _Result.GREATER:
                return revision > self.revision
            case _Result.LESS:
                return revision < self.revision
        return revision == self.revision


def unchanged(key: str, mod_revision: int) -> Compare:
    """`key` is as it was when it was read at `mod_revision`; 0 says that it is absent."""
    return Compare(key, _Target.MOD_REVISION, _Result.EQUAL, mod_revision)


def absent(key: str) -> Compare:
    """`key` does not exist."""
    return Compare(key, _Target.CREATE_REVISION, _Result.EQUAL, 0)


def present(key: str) -> Compare:
    """`key` exists."""
    return Compare(key, _Target.CREATE_REVISION, _Result.GREATER, 0)


def none_below(prefix: str) -> Compare:
    """No key starts with `prefix`."""
    return Compare(prefix, _Target.CREATE_REVISION, _Result.EQUAL, 0, whole_prefix=True)


def none_written_since(prefix: str, revision: int) -> Compare:
    """No key below `prefix` was written after `revision`. Removals don't count: nothing of them is left to compare."""
    return Compare(prefix, _Target.MOD_REVISION, _Result.LESS, revision + 1, whole_prefix=True)


def led_by(leader_key: str, create_revision: int) -> Compare:
    """The leader that was elected at `create_revision` still leads; if not, the transaction raises LeadershipLost."""
    return Compare(leader_key, _Target.CREATE_REVISION, _Result.EQUAL, create_revision, guards_leader=True)


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value` to `key`, bound to `lease` unless that is 0."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `key`; a key that is absent stays so."""

    key: str


Operation = Put | Delete


def prefix_end(prefix: str) -> bytes:
    """The end of the range of all keys that start with `prefix` (which ends in an ASCII character)."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1])


def operation_to_wire(operation: Operation) -> Any:
    """An operation as etcd reads it."""
    key = operation.key.encode()
    if isinstance(operation, Put):
        put = rpc_pb2.PutRequest(key=key, value=operation.value, lease=operation.lease)
        return rpc_pb2.RequestOp(request_put=put)
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key))


def look_at(compare: Compare) -> Any:
    """A read of what `compare` speaks of, to see whether it is this condition that failed."""
    # Of a prefix, the key that was written last: whatever is asked of all its keys, that one fails it if any does.
    request = rpc_pb2.RangeRequest(
        key=compare.key.encode(),
        range_end=prefix_end(compare.key) if compare.whole_prefix else b"",
        limit=1,
        sort_order=rpc_pb2.RangeRequest.DESCEND if compare.whole_prefix else rpc_pb2.RangeRequest.NONE,
        sort_target=rpc_pb2.RangeRequest.MOD,
    )
    return rpc_pb2.RequestOp(request_range=request)


def conflict_of(compares: Sequence[Compare], found: Sequence[Sequence[Any]]) -> Conflict | None:
    """The error that says which conditions fail, from what was found at each of them; None when all are met."""
    failed = [(compare, kvs) for compare, kvs in zip(compares, found, strict=True) if not compare.holds(kvs)]
    if not failed:
        return None
    keys = tuple(compare.key for compare, _ in failed)
    if any(compare.guards_leader for compare, _ in failed):
        return LeadershipLost(keys)
    if all(not kvs and compare.revision > 0 for compare, kvs in failed):
        return Gone(keys)
    return Conflict(keys)

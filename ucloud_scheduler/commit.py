"""Turns the writes of a plan into transactions: as many in one as etcd takes, each fenced by the leadership.

Every write compares what it was decided from. When somebody was quicker on one of them, etcd refuses the whole
transaction and says which keys differ: the writes that rest on those are dropped, the others go in at once.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from common import admission, keys
from common.errors import Conflict, LeadershipLost, UcloudError
from common.schemas.record import Record
from common.store import MAX_OPERATIONS, Compare, Delete, Operation, Put, Store, absent, unchanged
from ucloud_scheduler.views import Vm
from ucloud_scheduler.writes import Clear, Evacuate, Move, Place, Release, Report, Update, Write

Expect = Callable[[str, Record, bytes], None]
_log = logging.getLogger(__name__)
_MAX_BYTES = 2**20
"""Of values in a transaction; etcd refuses requests of more than 1.5 MiB (--max-request-bytes)."""
_UNDER_WAY = 2
"""Transactions at a time: one is made ready while etcd is at the other."""


@dataclass(frozen=True, slots=True)
class Step:
    """A write as a part of a transaction. `records` are those behind the operations, by key (None: removed)."""

    write: Write
    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]
    records: dict[str, Record | None] = field(default_factory=dict)


@dataclass
class Outcome:
    """What became of the writes of a transaction, and the records now at the keys written, each with its revision."""

    done: list[Write] = field(default_factory=list)
    dropped: list[Write] = field(default_factory=list)
    written: dict[str, tuple[Record | None, int]] = field(default_factory=dict)


def commit(store: Store, guard: Compare, writes: Sequence[Write], expect: Expect) -> Iterator[Outcome]:
    """Carry out `writes` while `guard` holds, a few transactions at a time; yields what became of each transaction.

    `expect` is told of every record before it is written.

    A VM's writes do not depend on one another: each is compared with what it was decided from, whichever comes first.
    LeadershipLost when another instance leads. After Unavailable or Refused it is unknown whether the writes under way
    are carried out, at once or later. An error is raised when all that was under way has ended and been yielded.
    """
    under_way: deque[Future[Outcome]] = deque()
    error: UcloudError | None = None
    with ThreadPoolExecutor(_UNDER_WAY, "commit") as pool:
        batches = _batches(_step(write) for write in writes)
        while under_way or not error:
            while len(under_way) < _UNDER_WAY and not error and (batch := next(batches, None)):
                _tell(batch, expect)
                under_way.append(pool.submit(_commit_batch, store, guard, batch))
            if not under_way:
                break
            try:
                outcome = under_way.popleft().result()
            except UcloudError as failure:
                error = error or failure
            else:
                yield outcome
    if error:
        raise error


def _tell(batch: list[Step], expect: Expect) -> None:
    for step in batch:
        for operation in step.operations:
            if isinstance(operation, Put) and (record := step.records.get(operation.key)):
                expect(operation.key, record, operation.value)


def _commit_batch(store: Store, guard: Compare, batch: list[Step]) -> Outcome:
    outcome = Outcome()
    while batch:
        compares = [guard, *(compare for step in batch for compare in step.compares)]
        try:
            revision = store.commit(compares, [operation for step in batch for operation in step.operations])
        except LeadershipLost:
            raise
        except Conflict as error:
            changed = set(error.keys)
            lost = [step for step in batch if any(compare.key in changed for compare in step.compares)]
            _log.info("%d of %d writes dropped: %s", len(lost) or len(batch), len(batch), error)
            outcome.dropped += [step.write for step in lost or batch]
            batch = [step for step in batch if step not in lost] if lost else []
        else:
            for step in batch:
                outcome.done.append(step.write)
                outcome.written.update({key: (record, revision) for key, record in step.records.items()})
            break
    return outcome


def _batches(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """The steps in as few transactions as etcd's limits allow, the guard's compare included."""
    batch: list[Step] = []
    compares, operations, size = 1, 0, 0
    for step in steps:
        step_size = sum(len(operation.value) for operation in step.operations if isinstance(operation, Put))
        compares += len(step.compares)
        operations += len(step.operations)
        size += step_size
        if batch and (max(compares, operations) > MAX_OPERATIONS or size > _MAX_BYTES):
            yield batch
            batch, compares, operations, size = [], 1 + len(step.compares), len(step.operations), step_size
        batch.append(step)
    if batch:
        yield batch


def _step(write: Write) -> Step:
    vm = write.vm
    same_request = unchanged(keys.vm(vm.uuid), vm.revision)
    match write:
        case Place():
            key = keys.placement(write.host, vm.uuid)
            return _puts(write, (same_request, absent(key)), {key: write.placement, **_no_report(vm)})
        case Evacuate():
            return _evacuate(write, same_request)
        case Update():
            key = keys.placement(write.host, vm.uuid)
            same_placement = unchanged(key, vm.placements[write.host].revision)
            return _puts(write, (same_request, same_placement), {key: write.placement})
        case Move():
            return _move(write, same_request)
        case Report():
            return _puts(write, (same_request,), {keys.vm_status(keys.NO_HOST, vm.uuid): write.status})
        case Clear():
            return _puts(write, (), {keys.vm_status(keys.NO_HOST, vm.uuid): None})
        case Release():
            return _release(write)


def _evacuate(write: Evacuate, same_request: Compare) -> Step:
    vm, dead = write.vm, write.dead
    key = keys.placement(write.host, vm.uuid)
    left = {host: placed for host, placed in vm.placements.items() if host in dead}
    seen = [unchanged(keys.verdict(host), verdict.revision) for host, verdict in dead.items()]
    seen += [unchanged(keys.placement(host, vm.uuid), placed.revision) for host, placed in left.items()]
    gone = [keys.placement(host, vm.uuid) for host in left]
    gone += [keys.vm_status(host, vm.uuid) for host in vm.statuses if host in dead]
    records: dict[str, Record | None] = {key: write.placement, **dict.fromkeys(gone), **_no_report(vm)}
    return _puts(write, (same_request, absent(key), *seen), records)


def _move(write: Move, same_request: Compare) -> Step:
    vm = write.vm
    seen = [unchanged(keys.placement(host, vm.uuid), placed.revision) for host, placed in vm.placements.items()]
    seen += [absent(keys.placement(host, vm.uuid)) for host in write.placements if host not in vm.placements]
    seen += [
        unchanged(keys.vm_status(host, vm.uuid), reported.revision)
        for host, reported in vm.statuses.items()
        if reported.record  # of one that can't be read, the revision is not known; nothing was read from it
    ]
    seen += [unchanged(keys.verdict(host), revision) for host, revision in write.dead.items()]
    records: dict[str, Record | None] = {
        keys.placement(host, vm.uuid): placement for host, placement in write.placements.items()
    }
    return _puts(write, (same_request, *seen), records)


def _release(write: Release) -> Step:
    vm = write.vm
    released = admission.release_vm(write.request, vm.revision)
    seen = tuple(
        [unchanged(keys.placement(host, vm.uuid), placed.revision) for host, placed in vm.placements.items()]
        + [unchanged(keys.vm_status(host, vm.uuid), reported.revision) for host, reported in vm.statuses.items()]
    )
    gone: dict[str, Record | None] = {keys.placement(host, vm.uuid): None for host in vm.placements}
    gone |= _no_report(vm)
    return Step(
        write,
        released.compares + seen,
        released.operations + tuple(Delete(key) for key in gone),
        gone | {keys.vm(vm.uuid): None},
    )


def _no_report(vm: Vm) -> dict[str, Record | None]:
    return {keys.vm_status(keys.NO_HOST, vm.uuid): None} if vm.pending else {}


def _puts(write: Write, compares: tuple[Compare, ...], records: dict[str, Record | None]) -> Step:
    operations = tuple(Put(key, record.to_json()) if record else Delete(key) for key, record in records.items())
    return Step(write, compares, operations, records)

"""Turns the writes of a plan into transactions: as many in one as etcd takes, each fenced by the leadership.

Every write compares what it was decided from. When somebody was quicker on one of them, etcd refuses the whole
transaction and says which keys differ: the writes that rest on those are dropped, the others go in at once.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from common import admission, keys
from common.errors import Conflict, LeadershipLost
from common.schemas.record import Record
from common.store import MAX_OPERATIONS, Compare, Delete, Operation, Put, Store, absent, unchanged
from ucloud_scheduler.views import Vm
from ucloud_scheduler.writes import Clear, Place, Release, Report, Update, Write

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """A write as a part of a transaction. `records` are those behind the operations, by key (None: removed)."""

    write: Write
    compares: tuple[Compare, ...]
    operations: tuple[Operation, ...]
    records: dict[str, Record | None] = field(default_factory=dict)


@dataclass
class Outcome:
    """What became of a plan: the records now at the keys written, each with its revision, and the writes dropped."""

    written: dict[str, tuple[Record | None, int]] = field(default_factory=dict)
    dropped: list[Write] = field(default_factory=list)


def commit(store: Store, guard: Compare, writes: Sequence[Write], outcome: Outcome) -> None:
    """Carry out `writes` while `guard` holds; `outcome` tells how far it came, also when an error is raised.

    LeadershipLost when another instance leads. After Unavailable or Refused it is unknown whether the writes under way
    are carried out, at once or later.
    """
    for batch in _batches([_step(write) for write in writes]):
        _commit_batch(store, guard, batch, outcome)


def _commit_batch(store: Store, guard: Compare, batch: list[Step], outcome: Outcome) -> None:
    while batch:
        compares = [guard, *(compare for step in batch for compare in step.compares)]
        try:
            revision = store.commit(compares, [operation for step in batch for operation in step.operations])
        except LeadershipLost:
            raise
        except Conflict as error:
            changed = set(error.keys)
            lost = [step for step in batch if any(compare.key in changed for compare in step.compares)]
            _log.info("%d of %d writes dropped: %s", len(lost), len(batch), error)
            outcome.dropped += [step.write for step in lost or batch]
            batch = [step for step in batch if step not in lost] if lost else []
            continue
        for step in batch:
            outcome.written.update({key: (record, revision) for key, record in step.records.items()})
        return


def _batches(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps in as few transactions as etcd's limits allow, the guard's compare included."""
    batch: list[Step] = []
    compares, operations = 1, 0
    for step in steps:
        compares += len(step.compares)
        operations += len(step.operations)
        if batch and max(compares, operations) > MAX_OPERATIONS:
            yield batch
            batch, compares, operations = [], 1 + len(step.compares), len(step.operations)
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
        case Update():
            key = keys.placement(write.host, vm.uuid)
            same_placement = unchanged(key, vm.placements[write.host].revision)
            return _puts(write, (same_request, same_placement), {key: write.placement})
        case Report():
            return _puts(write, (same_request,), {keys.vm_status(keys.NO_HOST, vm.uuid): write.status})
        case Clear():
            return _puts(write, (), {keys.vm_status(keys.NO_HOST, vm.uuid): None})
        case Release():
            return _release(write)


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

"""The snapshots of a VM on this host: what is to be taken and removed, whether it is to be rolled back, what is said of
them. Pure.

A snapshot that was there is never taken anew: what it would hold then is not what its owner thinks. One that is there
of only some of its disks was broken off; it is removed, and then taken of all of them at one moment.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from common.decision import Failure
from common.schemas.snapshot import Snapshot, SnapshotActual, SnapshotReport
from common.schemas.vm import VmRequest, VmStatus
from ucloud_vm.hypervisor import Power
from ucloud_vm.planning.steps import Observation, RemoveSnapshot, RollBack, TakeSnapshot

LOST = "it is gone from the store"
BROKEN_OFF = "it was broken off, and is taken anew"
WAITS_FOR_REST = "it is taken when the VM is started, suspended or stopped"
WAITS_FOR_OFF = "it is taken when the VM is off"
TRY_AGAIN = timedelta(seconds=5)
"""So long a guest is left alone after one could not be taken: it would stand still for each try."""
Held = Mapping[str, Mapping[str, datetime]]


def due(request: VmRequest, observed: Observation) -> RollBack | None:
    """The roll-back that is to be done before anything may start the guest."""
    wish = request.rollback
    if wish is None or wish.number <= observed.rolled_back:
        return None
    for snapshot in request.snapshots:
        if snapshot.id == wish.snapshot:
            return RollBack(wish.number, snapshot.id, tuple(sorted(snapshot.serials)))
    return None


def chores(
    request: VmRequest, observed: Observation, previous: VmStatus | None, *, can_take: bool
) -> tuple[TakeSnapshot | RemoveSnapshot, ...]:
    """What to take and to remove. `can_take`: neither is in the way of what the guest does now."""
    held = observed.snapshots
    if held is None or not can_take:
        return ()
    usable = _usable(observed)
    wanted = {snapshot.id: snapshot for snapshot in request.snapshots}
    there = frozenset(name for of_disk in held.values() for name in of_disk)
    unwanted = tuple(map(RemoveSnapshot, sorted(there - wanted.keys())))
    missing = [
        snapshot
        for snapshot in request.snapshots
        if not _is_whole(snapshot, held) and not _was_there(snapshot, previous) and snapshot.serials <= usable
    ]
    broken_off = tuple(RemoveSnapshot(snapshot.id, broken_off=True) for snapshot in missing if snapshot.id in there)
    to_take = (snapshot for snapshot in missing if snapshot.id not in there)
    return (*(TakeSnapshot(each.id, tuple(sorted(each.serials))) for each in to_take), *broken_off, *unwanted)


def pause(failure: Failure | None, observed: Observation, now: datetime) -> timedelta:
    """For how long nothing more is to be taken of a guest that runs, as it has just failed; zero or less: go on."""
    runs = observed.domain is not None and observed.domain.power is Power.RUNNING
    return TRY_AGAIN - (now - failure.at) if failure and runs else timedelta()


def reports(
    request: VmRequest, observed: Observation, previous: VmStatus | None, why_not: str
) -> tuple[SnapshotReport, ...]:
    """What is said of each snapshot that is wanted; of one that is yet to be taken, `why_not`."""
    known = {report.id: report for report in previous.snapshots} if previous else {}
    if observed.snapshots is None:
        # The store does not answer: what was is taken to be still so.
        return tuple(known.get(snapshot.id) or _pending(snapshot, why_not) for snapshot in request.snapshots)
    return tuple(
        _report(snapshot, observed.snapshots, _usable(observed), known.get(snapshot.id), why_not)
        for snapshot in request.snapshots
    )


def _usable(observed: Observation) -> frozenset[str]:
    """The disks of which a snapshot can be taken now; a guest that is on has to have them."""
    held, domain = observed.snapshots or {}, observed.domain
    is_on = domain is not None and domain.power is not Power.OFF
    return frozenset(serial for serial in held if not is_on or (domain and serial in domain.disks))


def _report(
    snapshot: Snapshot, held: Held, usable: frozenset[str], known: SnapshotReport | None, why_not: str
) -> SnapshotReport:
    if _is_whole(snapshot, held):
        taken_at = max(held[serial][snapshot.id] for serial in snapshot.serials)
        return SnapshotReport(id=snapshot.id, actual=SnapshotActual.READY, taken_at=taken_at)
    if known and known.actual is not SnapshotActual.PENDING:
        return SnapshotReport(id=snapshot.id, actual=SnapshotActual.LOST, taken_at=known.taken_at, reason=LOST)
    if lacking := snapshot.serials - usable:
        return _pending(snapshot, f"its VM has not got the disk {', '.join(sorted(lacking))} yet")
    return _pending(snapshot, why_not)


def _pending(snapshot: Snapshot, why_not: str) -> SnapshotReport:
    return SnapshotReport(id=snapshot.id, actual=SnapshotActual.PENDING, reason=why_not)


def _is_whole(snapshot: Snapshot, held: Held) -> bool:
    return all(snapshot.id in held.get(serial, {}) for serial in snapshot.serials)


def _was_there(snapshot: Snapshot, previous: VmStatus | None) -> bool:
    reported = previous.snapshots if previous else ()
    return any(each.id == snapshot.id and each.actual is not SnapshotActual.PENDING for each in reported)

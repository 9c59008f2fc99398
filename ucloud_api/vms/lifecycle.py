"""What a wish makes of the request for a VM, if the state that it actually is in allows it. Pure: no I/O, no clock.

Every change of a VM goes through `decide`, whichever route it came by.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from common.schemas.port import Port
from common.schemas.snapshot import Rollback, Snapshot
from common.schemas.vm import ALLOWED_VERBS, Actual, Requested, Specs, Verb, VmRequest
from ucloud_api.problems import ApiProblem, FieldProblem

_REQUESTED = {
    Verb.START: Requested.RUNNING,
    Verb.RESUME: Requested.RUNNING,
    Verb.STOP: Requested.STOPPED,
    Verb.SUSPEND: Requested.SUSPENDED,
    Verb.DELETE: Requested.DELETED,
}


@dataclass(frozen=True)
class Wish:
    """What a client wants of a VM; None: that stays."""

    verb: Verb | None = None
    requested: Requested | None = None
    """The state to come to; which verb that takes depends on the state that the VM is in."""
    force: bool = False
    name: str | None = None
    protected: bool | None = None
    resize: Callable[[Specs], Specs] | None = None
    """What makes its new specs of those that are; see ucloud_api.vms.sizing."""
    placing: dict[str, object] | None = None
    """Fields of the request that say where it goes."""
    ports: tuple[Port, ...] | None = None
    """All that it is to have."""
    snapshots: tuple[Snapshot, ...] | None = None
    """All that there are to be."""
    rollback: Rollback | None = None


def decide(current: VmRequest, actual: Actual, wish: Wish, now: datetime) -> VmRequest:
    """The request as `wish` makes it; `current` itself if that changes nothing.

    ApiProblem: 409 when the state does not allow it, or the VM is protected; else what `resize` refuses.
    """
    doomed = current.requested is Requested.DELETED
    # What is to be deleted has, for its owner, ceased to be: nothing brings it back.
    actual = Actual.DELETING if doomed else actual
    verb = wish.verb or _verb_to(wish.requested, actual)
    wanted = current
    if wish.name not in (None, current.name):
        _check(current, actual, Verb.RENAME, "name")
        wanted = wanted.model_copy(update={"name": wish.name})
    said = {"protected": current.protected if wish.protected is None else wish.protected, **(wish.placing or {})}
    changes = {field: value for field, value in said.items() if value != getattr(current, field)}
    if changes:
        if doomed:
            raise _refused(current, actual, next(iter(changes)), "can't be changed now")
        wanted = wanted.model_copy(update=changes)
    for field in ("ports", "snapshots", "rollback"):
        value = getattr(wish, field)
        if value not in (None, getattr(current, field)):
            if Verb.RESIZE not in ALLOWED_VERBS[actual]:
                raise _refused(current, actual, field, "can't be changed now")
            wanted = wanted.model_copy(update={field: value})
    if wish.resize:
        _check(current, actual, Verb.RESIZE, "specs")
        wanted = wanted.model_copy(update={"specs": wish.resize(current.specs)})
        _check_snapshots(wanted)
    if verb:
        _check(current, actual, verb, "verb" if wish.verb else "requested")
        wanted = wanted.model_copy(update=_ask(current, actual, verb, wish.force))
    if wanted == current:
        return current
    # Asked for again: a new try, where what was asked for has not come about (the guest powered itself off ...).
    return wanted.model_copy(update={"generation": current.generation + 1, "changed_at": now})


def _verb_to(requested: Requested | None, actual: Actual) -> Verb | None:
    """The verb that leads from an actual state to a requested one."""
    match requested:
        case Requested.RUNNING:
            return Verb.RESUME if actual is Actual.SUSPENDED else Verb.START
        case Requested.SUSPENDED:
            return Verb.SUSPEND
        case Requested.STOPPED:
            return Verb.STOP
    return None


def _ask(current: VmRequest, actual: Actual, verb: Verb, force: bool) -> dict[str, object]:
    """What a verb of a VM's life changes; a new try changes the generation alone."""
    if verb is Verb.REBOOT:
        return {"requested": Requested.RUNNING, "reboots": current.reboots + 1, "force": force}
    requested = _REQUESTED[verb]
    if verb is Verb.DELETE:
        if current.requested is requested:
            return {}
        if current.protected:
            raise ApiProblem(409, "protected", f'the VM "{current.name}" is protected; unprotect it to delete it')
        return {"requested": requested}
    if current.requested is requested and actual == requested.value:
        return {}
    return {"requested": requested, "force": force, "generation": current.generation + 1}


def _check_snapshots(wanted: VmRequest) -> None:
    """ApiProblem (409) where a disk is to go that a snapshot is of."""
    serials = {disk.serial for disk in wanted.specs.disks}
    if of_it := [snapshot.name for snapshot in wanted.snapshots if not snapshot.serials <= serials]:
        raise ApiProblem(409, "disk-has-snapshots", f"snapshots are of the disk, delete them first: {', '.join(of_it)}")


def _check(current: VmRequest, actual: Actual, verb: Verb, field: str) -> None:
    """ApiProblem (409) when the state does not allow a verb."""
    if verb not in ALLOWED_VERBS[actual]:
        raise _refused(current, actual, field, f"{verb} is not allowed now")


def _refused(current: VmRequest, actual: Actual, field: str, problem: str) -> ApiProblem:
    names = [verb.value for verb in Verb if verb in ALLOWED_VERBS[actual]]
    is_now = "is being deleted" if actual is Actual.DELETING else f"is {actual}"
    detail = f'the VM "{current.name}" {is_now}; allowed now: {", ".join(names)}'
    return ApiProblem(409, "not-allowed-now", detail, [FieldProblem(field=field, problem=problem, allowed=names)])

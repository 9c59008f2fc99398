"""What is the next write for a VM that moves (docs/design/0008-moves.md). Pure: no I/O, no clock, no randomness.

All is read from the VM's placements and statuses: whoever is elected goes on where another one ended. Each step changes
the placements of both hosts in one transaction. Whether a VM begins to move is decided in departures.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.schemas.vm import (
    Actual,
    Cause,
    Leaving,
    MoveReport,
    MoveState,
    Placement,
    Requested,
    Role,
    Tried,
    VmRequest,
)
from ucloud_scheduler.lives import handed_on, is_gone, is_guarded
from ucloud_scheduler.views import BriefStatus, Host, Placed, Vm
from ucloud_scheduler.writes import Move

READY_WITHIN = timedelta(seconds=60)
"""So long a host may take to get ready for a VM, before it is given up."""
COLD = "cold"
"""Where a guest is taken that comes as a disk."""
_CANCELLING = (Requested.STOPPED, Requested.SUSPENDED)


@dataclass(frozen=True)
class Step:
    """What changes of a VM's placements (None: removed), in words, and the hosts whose death that rests on."""

    placements: Mapping[str, Placement | None]
    what: str = ""
    dead: tuple[str, ...] = ()


_NOTHING = Step({})


def is_moving(vm: Vm) -> bool:
    """Whether any of its placements is part of a move."""
    return any(
        placed.record and (placed.record.role is not Role.RUN or placed.record.leaving)
        for placed in vm.placements.values()
    )


def wish_number(request: VmRequest) -> int:
    """The number of the last wish that a VM move or stay; 0: there was none."""
    return request.move.number if request.move else 0


def step(vm: Vm, request: VmRequest, hosts: Mapping[str, Host], now: datetime) -> Move | None:
    """The next write for a VM that moves, which hands on its request, too; None: somebody else is to act first."""
    if any(placed.record is None for placed in vm.placements.values()):
        return None  # what it says is unknown, so nothing can be concluded from the others
    newer = _handed_on(vm, request, now)
    placed = {host: Placed(record, vm.placements[host].revision) for host, record in newer.items()}
    view = vm._replace(placements={**vm.placements, **placed})
    pair = _pair(view)
    if pair is None:
        done = _after_departure(view, hosts)
    elif _is_dead(hosts, pair.source):
        done = _source_dead(view, pair, _is_dead(hosts, pair.target), now)
    else:
        done = _next(view, pair, hosts, now)
    changes = {**newer, **done.placements}
    verdicts = {host: verdict.revision for host in done.dead if (verdict := hosts[host].verdict)}
    return Move(vm, changes, done.what, verdicts) if changes else None


@dataclass(frozen=True)
class _Pair:
    """Both ends of a move, before the VM has left its source."""

    source: str
    order: Placement
    leaving: Leaving
    incoming: Placement | None
    """The target's; None once the move is given up."""
    report: MoveReport | None
    """The source's word."""
    arrival: MoveReport | None
    """The target's."""
    runs_unasked: bool
    """The target has a guest of this move that nobody orders from it any more: it arrived at the last moment."""

    @property
    def target(self) -> str:
        return self.leaving.to

    @property
    def state(self) -> MoveState | None:
        """How far the source is."""
        return self.report.state if self.report else None

    @property
    def has_guest(self) -> bool:
        """Whether the target says that the guest has arrived."""
        return self.runs_unasked or (self.arrival is not None and self.arrival.has_guest)

    @property
    def was_told(self) -> bool:
        """Whether the source may have begun."""
        return bool(self.leaving.uri)


def _pair(vm: Vm) -> _Pair | None:
    for source, placed in vm.placements.items():
        order = placed.record
        if order and order.role is Role.RUN and (leaving := order.leaving):
            incoming = vm.placements.get(leaving.to)
            return _Pair(
                source,
                order,
                leaving,
                incoming.record if incoming else None,
                _word(vm, source, order.epoch, leaving.epoch),
                _word(vm, leaving.to, leaving.epoch, leaving.epoch),
                incoming is None and _is_orphan(_status(vm, leaving.to), leaving.epoch),
            )
    return None


def _word(vm: Vm, host: str, epoch: int, move_epoch: int) -> MoveReport | None:
    """What a host says of this move in this life of the VM."""
    status = _status(vm, host)
    move = status.move if status and status.epoch == epoch else None
    return move if move and move.epoch == move_epoch else None


def _is_orphan(status: BriefStatus | None, epoch: int) -> bool:
    """Whether a host says that it is about to end, after a time of grace, a guest that nobody ordered from it."""
    return status is not None and (status.epoch, status.actual) == (epoch, Actual.STOPPING)


def _status(vm: Vm, host: str) -> BriefStatus | None:
    reported = vm.statuses.get(host)
    return reported.record if reported else None


def _is_dead(hosts: Mapping[str, Host], name: str) -> bool:
    return name in hosts and hosts[name].is_dead


def _handed_on(vm: Vm, request: VmRequest, now: datetime) -> dict[str, Placement]:
    """The placements that are to get the newer request. What the VM is made of stays as it is while it moves."""
    changed = {}
    for host, placed in vm.placements.items():
        before = placed.record
        if before is None or before.role is Role.LEFT:
            continue
        after = before
        if before.leaving and not before.leaving.cancelled and (why := _why_cancel(before, request)):
            after = _cancelled(vm, before, before.leaving, why, now)
        if before.generation < request.generation:
            after = handed_on(after, request, before.request.specs)
        if request.move and request.move.cancelled and request.move.number > before.moved:
            after = after.model_copy(update={"moved": request.move.number})
        if after is not before:
            changed[host] = after
    return changed


def _why_cancel(source: Placement, request: VmRequest) -> str:
    """Why a move that is under way is to end, if its owner or an admin wants that."""
    if request.requested is Requested.DELETED:
        return "it is to be deleted"
    is_news = request.requested is not source.request.requested
    if is_news and source.leaving and source.leaving.live and request.requested in _CANCELLING:
        return f"it is to be {request.requested}"
    is_wished = request.move and request.move.cancelled and request.move.number > source.moved
    return "it was cancelled" if is_wished else ""


def _cancelled(vm: Vm, source: Placement, leaving: Leaving, why: str, now: datetime) -> Placement:
    """The source's order with the word that the VM is to stay, and the failure noted."""
    incoming = vm.placements.get(leaving.to)
    choice = incoming.record.choice if incoming and incoming.record else None
    cause = choice.cause if choice else Cause.ASKED
    return source.model_copy(
        update={
            "leaving": leaving.model_copy(update={"cancelled": True}),
            "tried": failed(source, cause, leaving.to, why, now),
        }
    )


def failed(source: Placement, cause: Cause, to: str | None, why: str, now: datetime) -> Tried:
    """The note of a move that failed, or could not begin."""
    times = source.tried.times + 1 if source.tried else 1
    return Tried(at=now, cause=cause, to=to, reason=why, times=times)


def _next(vm: Vm, pair: _Pair, hosts: Mapping[str, Host], now: datetime) -> Step:
    """The next step while the source lives. Once it was told to begin, its word alone ends the move."""
    target_dead = _is_dead(hosts, pair.target)
    if _has_arrived(pair, hosts):
        return _departed(pair, {pair.source: _left(pair.order)})
    if pair.incoming is None:
        return _settled(vm, pair, target_dead)
    match pair.state:
        case MoveState.UNCERTAIN if target_dead:
            # Its guest has ended for sure only if it is the guard's to end; and the disks that it had are the newer.
            is_sure = is_guarded(vm, pair.target) and not pair.leaving.copies_disks
            return _given_up(vm, pair, now, (pair.target,)) if is_sure else _NOTHING
        case MoveState.UNCERTAIN:
            is_heard = pair.target in hosts and hosts[pair.target].is_alive and pair.arrival
            return _given_up(vm, pair, now) if is_heard else _NOTHING
        case MoveState.FAILED:
            # Both can't have it: if the target says so, one of the two words is old.
            return _NOTHING if pair.has_guest else _given_up(vm, pair, now)
    return _under_way(vm, pair, target_dead, now)


def _has_arrived(pair: _Pair, hosts: Mapping[str, Host]) -> bool:
    """Whether the VM is the target's.

    Of a source that fell silent at the end of a move nobody can tell by the locks of the disks whether it has ended, as
    the target's guest holds them. So the target's word counts: the source has stopped for good where its guest goes on.
    """
    if pair.state is MoveState.DONE:
        return True
    source, target = hosts.get(pair.source), hosts.get(pair.target)
    is_silent = source is not None and source.verdict is not None and target is not None and target.is_alive
    return pair.has_guest and (pair.state is MoveState.UNCERTAIN or (is_silent and pair.state is not MoveState.FAILED))


def _under_way(vm: Vm, pair: _Pair, target_dead: bool, now: datetime) -> Step:
    """The next step before the source has said what came of it."""
    why = _why_hopeless(pair, target_dead, now)
    if (why or pair.leaving.cancelled) and not pair.was_told:
        return _given_up(vm, pair, now, (pair.target,) if target_dead else (), why)
    if pair.leaving.cancelled:
        return _NOTHING
    if why:
        order = _cancelled(vm, pair.order, pair.leaving, why, now)
        return Step({pair.source: order}, f"is to stay on {pair.source}: {why}")
    if not pair.was_told and pair.arrival and pair.arrival.state is MoveState.READY:
        leaving = pair.leaving.model_copy(update={"uri": pair.arrival.uri if pair.leaving.live else COLD})
        order = pair.order.model_copy(update={"leaving": leaving})
        return Step({pair.source: order}, f"begins to move to {pair.target}")
    return _NOTHING


def _why_hopeless(pair: _Pair, target_dead: bool, now: datetime) -> str:
    """Why a move that is under way can't succeed any more, if it can't."""
    if target_dead:
        return f"host {pair.target} is dead"
    if pair.arrival and pair.arrival.state is MoveState.FAILED:
        return pair.arrival.reason or f"host {pair.target} can't take it"
    if pair.was_told:
        return ""
    if pair.arrival and pair.arrival.state is MoveState.READY and pair.leaving.live and not pair.arrival.uri:
        return f"host {pair.target} does not say where it takes guests that run"
    is_late = pair.incoming and now - pair.incoming.placed_at > READY_WITHIN
    return f"host {pair.target} was not ready within {READY_WITHIN.seconds} s" if is_late else ""


def _departed(pair: _Pair, of_source: Mapping[str, Placement | None], dead: tuple[str, ...] = ()) -> Step:
    """The VM is the target's from now on."""
    came = pair.incoming or pair.order.model_copy(update={"epoch": pair.leaving.epoch})
    run = came.model_copy(
        update={
            "role": Role.RUN,
            "leaving": None,
            "coming_from": None,
            "copies_disks": False,
            "tried": None,
            "moved": max(came.moved, pair.order.moved),
        }
    )
    return Step({pair.target: run, **of_source}, f"has moved from {pair.source} to {pair.target}", dead)


def _left(order: Placement) -> Placement:
    return order.model_copy(update={"role": Role.LEFT})


def _given_up(vm: Vm, pair: _Pair, now: datetime, dead: tuple[str, ...] = (), why: str = "") -> Step:
    """The target is to have nothing to do with the VM; only when it says so is the source free to go on."""
    order = pair.order
    if not pair.leaving.cancelled:
        why = why or (pair.report.reason if pair.report else "") or f"host {pair.source} gave no reason"
        order = _cancelled(vm, order, pair.leaving, why, now)
    return Step({pair.source: order, pair.target: None}, f"stays on {pair.source}", dead)


def _settled(vm: Vm, pair: _Pair, target_dead: bool) -> Step:
    """Nothing is left of the move on the target: the source goes on."""
    if not is_gone(vm, pair.target) and not target_dead:
        return _NOTHING
    stays = pair.order.model_copy(update={"leaving": None})
    dead = () if is_gone(vm, pair.target) else (pair.target,)
    return Step({pair.source: stays}, f"goes on on {pair.source}", dead)


def _source_dead(vm: Vm, pair: _Pair, target_dead: bool, now: datetime) -> Step:
    """The next step when the source is dead: the target has the guest, or can start it from the disk, or neither."""
    dead: tuple[str, ...] = (pair.source,)
    # With its copies the source is to clean up some day; of what is shared it has nothing.
    of_source = {pair.source: _left(pair.order) if pair.leaving.copies_disks else None}
    if pair.has_guest or pair.state is MoveState.DONE:
        return _departed(pair, of_source, dead)
    if pair.incoming is None:
        return _settled(vm, pair, target_dead)
    if target_dead or pair.leaving.copies_disks:
        dead = (pair.source, pair.target) if target_dead else dead
        return _given_up(vm, pair, now, dead, f"host {pair.source} is dead")
    if is_guarded(vm, pair.source):
        return _departed(pair, of_source, dead)
    # Nobody has made sure that the guest has ended: it waits for its host.
    return _NOTHING if pair.was_told else _given_up(vm, pair, now, dead, f"host {pair.source} is dead")


def _after_departure(vm: Vm, hosts: Mapping[str, Host]) -> Step:
    """What has left its source is forgotten there as soon as nothing is left of it."""
    for host, placed in vm.placements.items():
        if placed.record is None or placed.record.role is not Role.LEFT:
            continue
        if is_gone(vm, host):
            return Step({host: None}, f"is gone from {host}")
        if _is_dead(hosts, host) and not (placed.record.leaving and placed.record.leaving.copies_disks):
            return Step({host: None}, f"is gone from {host}, which is dead", (host,))
    return _orphan(vm)


def _orphan(vm: Vm) -> Step:
    """An incoming placement that no source knows of is of no use, unless the guest is there."""
    lonely = [
        host
        for host, placed in vm.placements.items()
        if placed.record
        and placed.record.role is Role.INCOMING
        and not ((word := _word(vm, host, placed.record.epoch, placed.record.epoch)) and word.has_guest)
    ]
    return Step({lonely[0]: None}, f"does not come to {lonely[0]}: no host sends it") if lonely else _NOTHING

"""Why a VM is as it is: from what all daemons say of it to sentences. Pure: no I/O, no clock.

Its owner is told the hosts that the VM is on, or on its way to, and no others; how hosts are fenced is for admins.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from common.schemas.host import HostRequest, HostState
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual, Cause, Choice, Placement, Requested, Role, VmStatus
from ucloud_api.models.why import Why, WhyPlacement, WhyScore
from ucloud_api.reading import views
from ucloud_api.reading.views import VmFacts

_CAUSES = {
    Cause.NEW: "as it was new",
    Cause.DEAD: "as its host was dead",
    Cause.DRAIN: "as its host was to become empty",
    Cause.BALANCE: "as that host was emptier",
    Cause.ASKED: "as an admin asked for it",
}
_MOST_SCORES = 3


@dataclass(frozen=True)
class Seat:
    """An order to a host, what the host says, and what is known of the host."""

    host: str
    placement: Placement
    status: VmStatus | None = None
    is_alive: bool = True
    verdict: Verdict | None = None
    word: HostRequest | None = None

    @property
    def state(self) -> str:
        """Of the host: ALIVE, SILENT or DEAD."""
        if self.is_alive:
            return "ALIVE"
        return self.verdict.sentence.value if self.verdict else Sentence.SILENT.value

    @property
    def fence(self) -> str:
        """What must happen before the host is found dead, or what has."""
        if self.is_alive or self.verdict is None:
            return ""
        return self.verdict.waits_for or f"fenced by {self.verdict.fenced_by}"


def explain(facts: VmFacts, seats: Mapping[str, Seat], is_admin: bool) -> Why:
    """All that is known of why a VM is as it is, as an admin or its owner is to read it."""
    request = facts.request
    actual, reason = views.actual_state(facts)
    status = views.current_status(facts)
    # The host that runs it is told of first.
    ordered = sorted(seats.values(), key=lambda seat: (seat.host != facts.host, seat.host))
    waits = tuple(_waits(facts, actual, ordered, is_admin))
    state = f"{request.name} is {actual}" + (f": {reason}" if reason else "")
    wish = f"It is to be {request.requested}" + (", which it is." if _is_as_wished(facts, actual) else ".")
    lines = [state, wish, *(line for seat in ordered for line in _seat_lines(seat, is_admin))]
    lines += [f"It waits for this: {wait}" for wait in waits]
    return Why(
        uuid=request.uuid,
        name=request.name,
        requested=request.requested,
        status=actual,
        reason=reason,
        generation=request.generation,
        observed_generation=status.generation if status else 0,
        placements=tuple(_placement(seat, is_admin) for seat in ordered),
        waits_for=waits,
        lines=tuple(lines),
    )


def _is_as_wished(facts: VmFacts, actual: Actual) -> bool:
    status = views.current_status(facts)
    is_noticed = status is not None and status.generation >= facts.request.generation
    return is_noticed and actual == facts.request.requested.value


def _waits(facts: VmFacts, actual: Actual, seats: list[Seat], is_admin: bool) -> Iterator[str]:
    """What must happen before the VM is as requested."""
    request, status = facts.request, views.current_status(facts)
    if facts.word and facts.word.reason:
        yield f"the scheduler: {facts.word.reason}"
    elif facts.placement is None and request.requested is not Requested.DELETED:
        yield "the scheduler has not looked at it yet"
    for seat in seats:
        yield from _host_waits(seat, is_admin)
    if facts.placement is None or not facts.host_alive:
        return
    if facts.placement.generation < request.generation:
        yield "the scheduler has not handed on what was requested last"
    elif status is None or status.generation < request.generation:
        yield f"host {facts.host} has not answered what was requested last"
    elif actual != request.requested.value:
        yield f"host {facts.host} is at it" + (f": {status.reason}" if status.reason else "")


def _host_waits(seat: Seat, is_admin: bool) -> Iterator[str]:
    if seat.is_alive:
        return
    if seat.state == Sentence.DEAD.value:
        fate = "another host takes it over" if seat.placement.request.ha else "it runs again when its host does (no ha)"
        yield f"host {seat.host} is dead: {fate}"
    elif is_admin and seat.fence:
        yield f"host {seat.host} is silent: {seat.fence}"
    else:
        yield f"host {seat.host} is silent, and it is not sure yet that it is dead"


def _seat_lines(seat: Seat, is_admin: bool) -> Iterator[str]:
    order, status = seat.placement, seat.status
    why = _CAUSES[order.choice.cause] if order.choice else ""
    match order.role:
        case Role.RUN:
            placed = f"Placed on {seat.host} at {_time(order.placed_at)}"
            yield f"{placed}, {why}." if why else f"{placed}."
        case Role.INCOMING:
            yield f"Coming from {order.coming_from} to {seat.host}{f', {why}' if why else ''}."
        case Role.LEFT:
            yield f"Has left {seat.host}, where what is left of it is removed."
    if order.choice:
        yield from _choice_lines(order.choice, seat.host, is_admin)
    if order.leaving:
        yield from _move_lines(seat)
    if order.tried:
        yield f"Its last move failed: {order.tried.reason}"
    if seat.word and seat.word.state is not HostState.ENABLED and is_admin:
        yield f"{seat.host} is {seat.word.state}."
    if status is None or status.epoch != order.epoch:
        yield f"{seat.host} ({seat.state}) has said nothing of it yet."
    else:
        reason = f": {status.reason}" if status.reason else ""
        yield f"{seat.host} ({seat.state}) says {status.actual} since {_time(status.since)}{reason}"


def _choice_lines(choice: Choice, host: str, is_admin: bool) -> Iterator[str]:
    refused = ", ".join(f"{count} {reason}" for reason, count in sorted(choice.refused.items()))
    yield f"  Chosen from {choice.hosts} host{'s' if choice.hosts != 1 else ''}" + (
        f", of which would not do: {refused}." if refused else "."
    )
    if is_admin and choice.scores:
        scores = ", ".join(f"{name} {load:.0%}" for name, load in choice.scores[:_MOST_SCORES])
        yield f"  How full they would have become: {scores}."
    elif choice.scores and choice.scores[0][0] == host:
        yield "  It was the best of those that would do."


def _move_lines(seat: Seat) -> Iterator[str]:
    leaving, status = seat.placement.leaving, seat.status
    if leaving is None:
        return
    how = "while it runs" if leaving.live else "shut down meanwhile"
    far = f", {status.move.percent} % sent" if status and status.move and status.move.epoch == leaving.epoch else ""
    word = "Is called back from its move" if leaving.cancelled else "Moves"
    yield f"{word} to {leaving.to}, {how}{far}."


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _placement(seat: Seat, is_admin: bool) -> WhyPlacement:
    order, choice = seat.placement, seat.placement.choice
    status = seat.status if seat.status and seat.status.epoch == order.epoch else None
    return WhyPlacement(
        host=seat.host,
        role=order.role,
        placed_at=order.placed_at,
        cause=choice.cause if choice else None,
        hosts=choice.hosts if choice else 0,
        refused=choice.refused if choice else {},
        scores=tuple(WhyScore(host=name, load=load) for name, load in choice.scores) if choice and is_admin else (),
        coming_from=order.coming_from,
        moving_to=order.leaving.to if order.leaving else None,
        status=status.actual if status else None,
        since=status.since if status else None,
        reason=status.reason if status else "",
        host_state=seat.state,
        fence=seat.fence if is_admin else "",
    )

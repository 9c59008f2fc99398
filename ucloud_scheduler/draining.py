"""Which VMs begin to move now: those that an admin asked for, and those on hosts that are to be empty. Pure.

A wish is tried once, whatever comes of it. A host that is drained is left by its largest VMs first, as they find room
the hardest; what failed is tried again with growing pauses. A host that is enabled again is left by no more; those that
are on their way go on.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.schemas.cloud import Drain
from common.schemas.host import HostState
from common.schemas.vm import Cause, Placement, Requested, Role, VmRequest
from ucloud_scheduler.departures import Departure, Departures, Stuck
from ucloud_scheduler.moves import failed, is_moving
from ucloud_scheduler.views import Host, Vm
from ucloud_scheduler.writes import Move

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10, 600
_NAMED = 50
"""So many VMs that are stuck are named for a host."""


@dataclass(frozen=True)
class Departing:
    """What to write, how far each drained host is, and when something is to be tried again."""

    writes: tuple[Move, ...]
    drains: dict[str, Drain]
    again_at: datetime | None


def wants_to_move(vm: Vm) -> bool:
    """Whether there is a wish that the VM move (or stay) which was not dealt with."""
    request = vm.request
    if request is None or request.move is None or vm.is_malformed:
        return False
    return any(
        placed.record and placed.record.role is Role.RUN and placed.record.moved < request.move.number
        for placed in vm.placements.values()
    )


def settled(vm: Vm) -> tuple[str, Placement, VmRequest] | None:
    """Where a VM is that could begin to move, with its order and its request; None where it can't or need not."""
    if vm.is_malformed or vm.request is None or vm.request.requested is Requested.DELETED or is_moving(vm):
        return None
    if len(vm.placements) != 1:
        return None
    ((host, placed),) = vm.placements.items()
    return (host, placed.record, vm.request) if placed.record else None


def try_again_at(order: Placement) -> datetime | None:
    """Until when a VM whose move failed is left in peace."""
    if order.tried is None:
        return None
    pause_s = min(_FIRST_PAUSE_S * 2 ** min(order.tried.times - 1, 10), _LONGEST_PAUSE_S)
    return order.tried.at + timedelta(seconds=pause_s)


def grant(wishes: Iterable[Vm], departures: Departures, now: datetime) -> list[Move]:
    """The first writes for VMs that somebody wants to move; or the word that it can't be done."""
    writes = []
    for vm in sorted(wishes, key=lambda vm: vm.uuid):
        if (found := settled(vm)) and (move := _granted(vm, *found, departures, now)):
            writes.append(move)
    return writes


def _granted(
    vm: Vm, host: str, order: Placement, request: VmRequest, departures: Departures, now: datetime
) -> Move | None:
    wish = request.move
    if wish is None or wish.number <= order.moved:
        return None
    dealt_with = order.model_copy(update={"moved": wish.number, "tried": None})
    if wish.cancelled or wish.to == host:
        return Move(vm, {host: dealt_with}, f"stays on {host}")
    departure = Departure(vm, request, host, order, Cause.ASKED, to=wish.to, cold=wish.cold, only_cold=wish.cold)
    result = departures.begin(departure)
    if isinstance(result, Stuck):
        tried = failed(order, Cause.ASKED, wish.to, result.reason, now)
        return Move(vm, {host: dealt_with.model_copy(update={"tried": tried})}, f"can't move: {result.reason}")
    return result if isinstance(result, Move) else None


def depart(hosts: Iterable[Host], vms_on: dict[str, list[Vm]], departures: Departures, now: datetime) -> Departing:
    """The first writes for VMs on hosts that are drained, of which `vms_on` has all VMs by host."""
    writes: list[Move] = []
    drains: dict[str, Drain] = {}
    again: list[datetime] = []
    for host in sorted(hosts, key=lambda host: host.name):
        if host.state is not HostState.DRAINING:
            continue
        vms, stuck, moving = vms_on.get(host.name, []), {}, 0
        for vm in sorted(vms, key=_largest_first):
            found = settled(vm)
            if found is None:
                moving += is_moving(vm)
                continue
            name, order, request = found
            at = try_again_at(order)
            if at and at > now and order.tried:
                again.append(at)
                stuck[vm.uuid] = f"{order.tried.reason}; it is tried again"
                continue
            result = departures.begin(Departure(vm, request, name, order, Cause.DRAIN, cold=host.drain_cold))
            if isinstance(result, Move):
                writes.append(result)
                moving += 1
            elif isinstance(result, Stuck):
                stuck[vm.uuid] = result.reason
        if vms:
            named = dict(sorted(stuck.items())[:_NAMED])
            drains[host.name] = Drain(left=len(vms), moving=moving, stuck=named)
    return Departing(tuple(writes), drains, min(again, default=None))


def _largest_first(vm: Vm) -> tuple[int, str]:
    return -(vm.request.specs.ram_mib if vm.request else 0), vm.uuid

"""A VM's lives on its hosts, told apart by their epochs: whether one has ended, and which number the next has. Pure."""

from collections.abc import Mapping
from datetime import datetime

from common.schemas.vm import Actual, Placement, Specs, VmRequest
from ucloud_scheduler.views import Host, Vm


def is_gone(vm: Vm, host: str) -> bool:
    """Whether `host` has said that nothing is left there of the VM's present placement, or of any if it has none.

    A status that can't be read says nothing.
    """
    reported, placed = vm.statuses.get(host), vm.placements.get(host)
    if placed is None:
        return reported is None or (reported.record is not None and reported.record.actual is Actual.DELETED)
    if reported is None or reported.record is None or placed.record is None:
        return False
    return reported.record.actual is Actual.DELETED and reported.record.epoch == placed.record.epoch


def next_epoch(vm: Vm) -> int:
    """One more than any epoch that was ever seen of the VM."""
    seen = 0
    for placed in vm.placements.values():
        seen = max(seen, placed.record.epoch if placed.record else 0)
    for reported in vm.statuses.values():
        seen = max(seen, reported.record.epoch if reported.record else 0)
    return seen + 1


def is_guarded(vm: Vm, host: str) -> bool:
    """Whether the guest on `host`, where the VM is placed, is one that ends there when the host is cut off."""
    order = vm.placements[host].record
    if order is None or not order.request.ha:
        return False
    reported = vm.statuses.get(host)
    status = reported.record if reported else None
    has_heard = status is not None and status.epoch == order.epoch and status.generation >= order.ha_since
    return order.ha_since == 0 or has_heard


def handed_on(order: Placement, request: VmRequest, specs: Specs) -> Placement:
    """The same order with a newer request, but with `specs`."""
    changes: dict[str, object] = {
        "generation": request.generation,
        "request": request if specs == request.specs else request.model_copy(update={"specs": specs}),
    }
    if request.ha and not order.request.ha:
        changes["ha_since"] = request.generation
    return order.model_copy(update=changes)


def is_lost(vm: Vm, hosts: Mapping[str, Host]) -> bool:
    """Whether a VM is placed on a dead host."""
    return any(name in hosts and hosts[name].is_dead for name in vm.placements)


def turn(vm: Vm, request: VmRequest, hosts: Mapping[str, Host]) -> tuple[bool, int, datetime, str]:
    """Its place in the order in which VMs are served; the least is the first."""
    is_new = not vm.placements or not is_lost(vm, hosts)
    return (is_new, -request.priority, request.created_at, vm.uuid)

"""A VM's lives on its hosts, told apart by their epochs: whether one has ended, and which number the next has. Pure."""

from common.schemas.vm import Actual
from ucloud_scheduler.views import Vm


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

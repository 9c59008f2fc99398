"""Which VMs are on their way, are wished to move, or moved for balance; kept current view by view.

It knows nothing of etcd. A change costs the same however many VMs there are.
"""

from datetime import datetime

from ucloud_scheduler.balance import moved_at
from ucloud_scheduler.draining import wants_to_move
from ucloud_scheduler.moves import is_moving
from ucloud_scheduler.views import Vm


class Movers:
    """The VMs, by uuid, that whoever begins moves has to look at."""

    def __init__(self) -> None:
        self.moving: set[str] = set()
        self.wishes: set[str] = set()
        """Those for which there is a wish that was not dealt with."""
        self.balanced: dict[str, datetime] = {}
        """When they last moved for balance."""

    def follow(self, vm: Vm) -> bool:
        """A VM is as `vm` says; returns whether that is of interest to whoever begins moves."""
        was_known = vm.uuid in self.moving or vm.uuid in self.wishes
        _keep(self.moving, vm.uuid, is_moving(vm))
        _keep(self.wishes, vm.uuid, wants_to_move(vm))
        times = [at for placed in vm.placements.values() if placed.record and (at := moved_at(placed.record))]
        if times:
            self.balanced[vm.uuid] = max(times)
        else:
            self.balanced.pop(vm.uuid, None)
        return was_known or vm.uuid in self.moving or vm.uuid in self.wishes


def _keep(uuids: set[str], vm_uuid: str, is_one: bool) -> None:
    if is_one:
        uuids.add(vm_uuid)
    else:
        uuids.discard(vm_uuid)

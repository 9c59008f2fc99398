"""Whether a guest may run here now, looked at right before it is started or resumed: as late as can be.

What a daemon knows may be old: it may have been stopped for a minute between two lines, and its caches don't tell while
its host is cut off. Meanwhile the VM may have been placed on another host. So etcd is asked once more. What happens
after this look is up to the host's guard, which ends what was being started, and to the disk's locks.
"""

from common import keys
from common.errors import TemporaryError
from common.lifeline import Lifeline
from common.schemas.vm import Placement, Role
from common.store import Store

LOST_TOUCH = "this host has lost touch with the cloud: no highly available VM is started here until it is back"
GIVEN_UP = "this host was given up and is not back yet: no VM is started here until it is"
NOT_ORDERED_NOW = "its host has just got other orders"


class Permit:
    """Asks for the VMs of `host`. `lifeline` is None where no fence counts on the host's guard."""

    def __init__(self, store: Store, host: str, lifeline: Lifeline | None, ttl_s: float) -> None:
        self._store = store
        self._host = host
        self._lifeline = lifeline
        self._ttl_s = ttl_s

    def check_start(self, vm_uuid: str, epoch: int, *, ha: bool) -> None:
        """TemporaryError unless the guest of a VM may be started for its placement of that epoch."""
        # In this order: once there is no verdict, and the lease holds after the second look, the placement stands.
        if self._store.get(keys.verdict(self._host)):
            raise TemporaryError(GIVEN_UP)
        entry = self._store.get(keys.placement(self._host, vm_uuid))
        placement = Placement.read(entry.key, entry.value) if entry else None
        if placement is None or (placement.epoch, placement.role) != (epoch, Role.RUN):
            raise TemporaryError(NOT_ORDERED_NOW)
        self.check_resume(ha=ha)

    def check_resume(self, *, ha: bool) -> None:
        """TemporaryError unless a guest may run on here."""
        if ha and self._lifeline and not self._lifeline.is_in_touch(self._ttl_s):
            raise TemporaryError(LOST_TOUCH)

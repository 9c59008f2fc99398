"""How a guest that is on is brought down, to be stopped or to be started again: by its power button first. Pure.

A guest that does not answer within its time loses its power, and so does, at once, one that is to be forced. The time
is counted from the moment at which the status became STOPPING, so a daemon that dies meanwhile does not prolong it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from ucloud_vm.hypervisor import Power
from ucloud_vm.planning.steps import Action, PowerOff, Resume, ShutDown

PRESS_AGAIN = timedelta(seconds=10)
"""A guest that is still booting misses the power button."""
FORCED = "its power is cut, as its owner wishes"


@dataclass(frozen=True)
class Guest:
    """A guest that is on and is to go off.

    `asked_at`: when its power button was last pressed; `resumed`: whether it has been resumed since it is to go off.
    """

    power: Power
    asked_at: datetime | None
    resumed: bool


@dataclass(frozen=True)
class Push:
    """What to do to bring a guest down; `reason` is why that is out of the ordinary, else empty."""

    actions: tuple[Action, ...] = ()
    again_in_s: float | None = None
    reason: str = ""


def bring_down(guest: Guest, left: timedelta, force: bool, timeout: timedelta, now: datetime) -> Push:
    """The next step with a guest to whom `left` is left of its `timeout`."""
    if force:
        return Push((PowerOff(FORCED),), reason=FORCED)
    if left <= timedelta():
        reason = f"the guest did not shut down within {timeout.seconds} s, its power is cut"
        return Push((PowerOff(reason),), reason=reason)
    if guest.power is not Power.RUNNING:
        # A paused guest can't answer. One that pauses again gets what is left of its time, and no more.
        return Push(() if guest.resumed else (Resume(),), left.total_seconds())
    wait = guest.asked_at + PRESS_AGAIN - now if guest.asked_at else timedelta()
    if wait <= timedelta():
        return Push((ShutDown(),))
    return Push(again_in_s=min(wait, left).total_seconds())

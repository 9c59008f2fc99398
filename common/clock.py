"""The clock by which a host's leases, deadlines and starts are counted: monotonic, and it counts a machine's sleep.

Nobody can set it, so what it says means something on one machine, in one boot only. Source: clock_gettime(2) on
CLOCK_BOOTTIME, clock_nanosleep(2).
"""

import ctypes
import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # elsewhere than on Linux, the latter counts sleep
_TIMER_ABSTIME = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


def now() -> float:
    """Seconds since the machine was booted."""
    return time.clock_gettime(_CLOCK)


def sleep_until(moment: float) -> None:
    """Return at `moment`, after the machine's own sleep too, or earlier if a signal comes."""
    seconds, fraction = divmod(max(0.0, moment), 1.0)
    until = _Timespec(int(seconds), int(fraction * 1e9))
    ctypes.CDLL(None).clock_nanosleep(_CLOCK, _TIMER_ABSTIME, ctypes.byref(until), None)

"""ucloud-host-guard: ends the HA guests of a host that has lost touch with the cloud, so that others may start them.

It does nothing else, and needs nothing that may be broken then: no network, no etcd, no libvirt, no disk, no other
process, and, once it runs, no memory that it does not have already. So it reads its settings first and then becomes a
smaller process (the arguments of the second one are its settings).

It must never end a guest while the host's lease holds, nor one that is no HA VM of ucloud on this host; and when it
says that none runs, none does.
"""

import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from common import clock, deadlines, log, systemd
from common.errors import ConfigurationError
from common.guests import HaMarks
from common.lifeline import Lifeline
from common.process import boot_id
from ucloud_host.guests import PID_DIRECTORY, Guests

_log = logging.getLogger("ucloud_host.guard")
_NAME = "ucloud-host-guard"
_AGAIN_S = 0.1
_MCL_CURRENT, _MCL_FUTURE = 1, 2  # mlockall(2)
_PRIORITY = 50


class Guard:
    """Looks at the host's `lifeline`, and has `end_guests` end what runs when it is out of date.

    `end_guests` returns the VMs that it found.
    """

    def __init__(self, lifeline: Lifeline, end_guests: Callable[[], list[str]], ttl_s: float) -> None:
        self._lifeline = lifeline
        self._end_guests = end_guests
        self._ttl_s = ttl_s
        self._began_at = clock.now()
        self._in_touch = True
        self._found: list[str] = []

    def look(self, now: float) -> float:
        """Do what there is to do `now`, a moment of common.clock; returns when to look again."""
        self._lifeline.beat_at = now
        renewed_at = self._lifeline.renewed_at
        deadline = (renewed_at or self._began_at) + deadlines.guard_s(self._ttl_s)
        if now < deadline and self._lifeline.asked_at <= renewed_at:
            self._note(in_touch=True)
            return min(deadline, now + deadlines.beat_s(self._ttl_s))
        found = self._end_guests()
        if not found:
            self._lifeline.clean_at = now
        self._note(in_touch=False)
        if found != self._found:
            self._found = found
            _log.warning("HA guests that are being ended: %s", ", ".join(found) or "none is left")
        # Again and again: a start may have been under way.
        return clock.now() + _AGAIN_S

    def _note(self, *, in_touch: bool) -> None:
        if in_touch is self._in_touch:
            return
        self._in_touch = in_touch
        if in_touch:
            _log.info("this host is in touch with the cloud again")
        else:
            _log.warning("this host has lost touch with the cloud: HA guests are ended")


def _never_wait() -> None:
    """Stay in memory, and come before everybody else."""
    if ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE):
        _log.warning("not locked in memory: %s", os.strerror(ctypes.get_errno()))
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
    except OSError as error:
        _log.warning("not scheduled in real time: %s", error.strerror)
    gc.disable()  # nothing here makes cycles


def _guard(ttl_s: float, host_directory: Path, vm_directory: Path) -> None:
    try:
        lifeline = Lifeline(host_directory, boot_id())
    except ConfigurationError as error:
        sys.exit(f"{_NAME}: {error}")
    guard = Guard(lifeline, Guests(PID_DIRECTORY, HaMarks(vm_directory)).end_ha, ttl_s)
    _never_wait()
    systemd.notify("READY=1")
    while True:
        clock.sleep_until(guard.look(clock.now()))


def main() -> None:
    """Guard this host until a signal."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    if len(sys.argv) == 6:
        level, form, ttl_s, host_directory, vm_directory = sys.argv[1:]
        log.set_up(level, form == "json")
        _guard(float(ttl_s), Path(host_directory), Path(vm_directory))
    from common import settings  # noqa: PLC0415 - the second process must not carry what reads settings

    try:
        configuration = settings.load(os.environ)
    except ConfigurationError as error:
        sys.exit(f"{_NAME}: {error}")
    log.set_up(configuration.log.level, configuration.log.format == "json")
    if not configuration.fence.counts_on_guard:
        _log.info("nothing to do: no alternative of fence.methods counts on this host's guard (self)")
        systemd.notify("READY=1")
        signal.pause()
    host, vm, form = configuration.host, configuration.vm, configuration.log.format
    arguments = (configuration.log.level, form, host.alive_ttl_s, host.run_directory, vm.run_directory)
    os.execv(sys.executable, [sys.executable, "-m", "ucloud_host.guard", *map(str, arguments)])  # noqa: S606


if __name__ == "__main__":
    main()

"""What can befall a host, or whoever leads: each fault begins, and ends."""

import random
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field

from common import keys
from common.schemas.leader import Leader
from common.store import Store
from devcloud import processes
from devcloud.cloud import Cloud
from devcloud.errors import DevcloudError

ALIVE, GUARD = "ucloud-host-alive", "ucloud-host-guard"
DAEMONS = (ALIVE, GUARD, "ucloud-host", "ucloud-vm", "libvirtd")
_HOUR_S = 3600
GUESTS = "guests"
"""All QEMU processes of a host."""


@dataclass(frozen=True)
class Fault:
    """What befalls a host: its network is cut, some of its processes freeze, its clock jumps, or several of these.

    The disks stay within reach.
    """

    cut: bool = True
    frozen: frozenset[str] = frozenset()
    """Of DAEMONS and GUESTS."""
    jump_s: int = 0
    """What the wall clock is ahead meanwhile."""

    @property
    def silences(self) -> bool:
        """Whether it keeps the host from renewing its lease."""
        return self.cut or ALIVE in self.frozen

    def __str__(self) -> str:
        frozen = [f"{name} frozen" for name in sorted(self.frozen)]
        jump = [f"clock {self.jump_s:+d} s"] if self.jump_s else []
        return " and ".join((["cut off"] if self.cut else []) + frozen + jump)


def any_fault(chance: random.Random) -> Fault:
    """A fault at random: more often than not one that makes a host silent."""
    number = chance.choice((0, 0, 1, 2, 3, len(DAEMONS) + 1))
    frozen = frozenset(chance.sample((*DAEMONS, GUESTS), number))
    jump_s = chance.choice((0, 0, -_HOUR_S, _HOUR_S))
    # A jump alone is a fault, too: one that must do nothing.
    return Fault(cut=(number == 0 and not jump_s) or chance.random() < 0.5, frozen=frozen, jump_s=jump_s)


@dataclass
class Befallen:
    """A host of `cloud` that has a fault."""

    cloud: Cloud
    host: str
    fault: Fault
    _pids: set[int] = field(default_factory=set)

    def begin(self) -> None:
        """Let it happen."""
        self._set_clock(self.fault.jump_s)
        for name in self.fault.frozen:
            if name == GUESTS:
                pids = self.cloud.network.host_pids(self.host)
                self._pids |= {pid for pid in pids if processes.name(pid) == "qemu-system-x86"}
            else:
                self._pids.add(self.cloud.pid(f"{name}@{self.host}"))
        if self.fault.cut:
            self._plug("down")
        processes.send(self._pids, signal.SIGSTOP)

    def end(self) -> None:
        """All goes on as if nothing had been."""
        processes.send(self._pids, signal.SIGCONT)
        self._pids = set()
        self._set_clock(0)
        if self.fault.cut:
            self._plug("up")

    def _set_clock(self, ahead_s: int) -> None:
        if self.fault.jump_s:
            self.cloud.set_wall_clock(self.host, ahead_s)

    def _plug(self, state: str) -> None:
        """Plug the host into the switch between the hosts, or out."""
        switch = self.cloud.network.namespace("switch")
        subprocess.run(["ip", "-n", switch, "link", "set", self.host, state], check=True)


def kill_leader(cloud: Cloud, store: Store, daemon: str) -> str:
    """Kill who leads: "etcd", "scheduler", or "host", the judge. Returns the program's name, empty if none leads."""
    with suppress(DevcloudError):
        program = cloud.etcd_leader() if daemon == "etcd" else _leader(cloud, store, daemon)
        if program:
            cloud.kill(program)
        return program
    return ""


def _leader(cloud: Cloud, store: Store, daemon: str) -> str:
    entry = store.get(keys.leader(daemon))
    if entry is None:
        return ""
    pid = int(Leader.read(entry.key, entry.value).instance.rpartition(":")[2])
    return next((name for name, (_, known) in cloud.services.states().items() if known == pid), "")

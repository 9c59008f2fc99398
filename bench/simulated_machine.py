"""The machine of a simulated host: what libvirt, QEMU and the disks are to ucloud-vm on a real one, in a dictionary."""

import threading
from dataclasses import replace

from common.schemas.vm import Actual, Console, Specs, VmStatus
from ucloud_vm.hypervisor import Domain, OffCause, Power
from ucloud_vm.planning import steps
from ucloud_vm.planning.steps import Action, Observation

_TOKEN = "0" * 64
_ON = frozenset({Actual.RUNNING, Actual.SUSPENDED})


class Machine:
    """A common.controller.Driver. Each step works, and at once."""

    def __init__(self, console_url: str) -> None:
        self._console_url = console_url
        self._lock = threading.Lock()
        self._domains: dict[str, Domain] = {}
        self._disks: dict[str, dict[str, int]] = {}
        self._without_ha: set[str] = set()

    def adopt(self, vm_uuid: str, status: VmStatus) -> None:
        """A guest that `status` says is on was here before."""
        if status.actual in _ON:
            power = Power.RUNNING if status.actual is Actual.RUNNING else Power.PAUSED
            disks = {disk.serial: disk.size_mib for disk in status.specs.disks} if status.specs else {}
            self._disks[vm_uuid] = disks
            self._domains[vm_uuid] = Domain(status.epoch, power, specs=status.specs, disks=frozenset(disks))

    def kill_one(self) -> str:
        """Have a guest die, another one each time; returns the uuid of its VM, or nothing if none is on."""
        with self._lock:
            on = (vm_uuid for vm_uuid, domain in self._domains.items() if domain.power is Power.RUNNING)
            if vm_uuid := next(on, ""):
                # It goes to the end of the line.
                domain = self._domains.pop(vm_uuid)
                self._domains[vm_uuid] = replace(domain, power=Power.OFF, off_cause=OffCause.CRASHED)
        return vm_uuid

    def observe(self, name: str) -> Observation:
        """What is here of a VM."""
        domain = self._domains.get(name)
        return Observation(
            Console(url=f"{self._console_url}/vm/{name}", token=_TOKEN),
            domain,
            disks_mib=self._disks.get(name, {}),
            run_files=domain is not None,
            ha=name not in self._without_ha,
        )

    def apply(self, name: str, action: Action) -> None:
        """Take one step."""
        with self._lock:
            match action:
                case steps.CreateDisks(_, disks):
                    self._disks[name] = self._disks.get(name, {}) | {disk.serial: disk.size_mib for disk in disks}
                case steps.Define(epoch, specs):
                    self._domains[name] = _domain(epoch, Power.OFF, specs)
                case steps.Start(epoch, specs):
                    self._domains[name] = _domain(epoch, Power.RUNNING, specs)
                case steps.ShutDown():
                    self._turn(name, Power.OFF, OffCause.GUEST)
                case steps.PowerOff():
                    self._turn(name, Power.OFF, OffCause.DESTROYED)
                case steps.Suspend():
                    self._turn(name, Power.PAUSED)
                case steps.Resume():
                    self._turn(name, Power.RUNNING)
                case steps.SetHa(ha):
                    (self._without_ha.discard if ha else self._without_ha.add)(name)
                case steps.Undefine():
                    self._domains.pop(name, None)
                    self._disks.pop(name, None)

    def known(self) -> frozenset[str]:
        """The VMs that are here."""
        with self._lock:
            return frozenset(self._domains)

    def _turn(self, name: str, power: Power, cause: OffCause = OffCause.UNKNOWN) -> None:
        self._domains[name] = replace(self._domains[name], power=power, off_cause=cause)


def _domain(epoch: int, power: Power, specs: Specs) -> Domain:
    return Domain(epoch, power, specs=specs, disks=frozenset(disk.serial for disk in specs.disks))

"""The machine of a simulated host: what libvirt, QEMU and the disks are to ucloud-vm on a real one, in a dictionary."""

import threading
from dataclasses import replace

from common.schemas.vm import Actual, Console, VmStatus
from ucloud_vm import steps
from ucloud_vm.hypervisor import Domain, OffCause, Power
from ucloud_vm.steps import Action, Observation

_TOKEN = "0" * 64
_ON = frozenset({Actual.RUNNING, Actual.SUSPENDED})


class Machine:
    """A common.controller.Driver. Each step works, and at once."""

    def __init__(self, console_url: str) -> None:
        self._console_url = console_url
        self._lock = threading.Lock()
        self._domains: dict[str, Domain] = {}
        self._without_ha: set[str] = set()

    def adopt(self, vm_uuid: str, status: VmStatus) -> None:
        """A guest that `status` says is on was here before."""
        if status.actual in _ON:
            power = Power.RUNNING if status.actual is Actual.RUNNING else Power.PAUSED
            self._domains[vm_uuid] = Domain(status.epoch, power, specs=status.specs)

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
        specs = domain.specs if domain else None
        return Observation(
            Console(url=f"{self._console_url}/vm/{name}", token=_TOKEN),
            domain,
            root_mib=specs.ssd_mib if specs else None,
            hdd_mib=specs.hdd_mib or None if specs else None,
            run_files=domain is not None,
            ha=name not in self._without_ha,
        )

    def apply(self, name: str, action: Action) -> None:
        """Take one step."""
        with self._lock:
            match action:
                case steps.CreateDisks(_, specs):
                    self._domains.setdefault(name, Domain(0, Power.OFF, specs=specs))
                case steps.Define(epoch, specs):
                    self._domains[name] = Domain(epoch, Power.OFF, specs=specs)
                case steps.Start(epoch, specs):
                    self._domains[name] = Domain(epoch, Power.RUNNING, specs=specs)
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

    def known(self) -> frozenset[str]:
        """The VMs that are here."""
        with self._lock:
            return frozenset(self._domains)

    def _turn(self, name: str, power: Power, cause: OffCause = OffCause.UNKNOWN) -> None:
        self._domains[name] = replace(self._domains[name], power=power, off_cause=cause)

"""What the ports of the VMs here are plugged into: the bridges of their networks, which ucloud-net makes.

What is read of a network in etcd never changes; whether its bridge is there, and with which MTU, the kernel is asked
each time. Who waits for a bridge is told when it is there.
"""

import threading
from collections.abc import Callable, Iterable

from common.cache import Cache
from common.errors import TemporaryError, UcloudError
from common.local_ports import NetworkBook
from common.schemas.port import Port
from common.schemas.vm import Placement, Requested, Role
from ucloud_vm.hypervisor import Nic

NO_BRIDGE = "ucloud-net makes its bridge"


class Nics:
    """`mtu_of` tells the MTU of a bridge of this host; None: it is not there."""

    def __init__(
        self, placements: Cache[Placement], networks: NetworkBook, mtu_of: Callable[[str], int | None]
    ) -> None:
        self._placements = placements
        self._networks = networks
        self._mtu_of = mtu_of
        self._lock = threading.Lock()
        self._waiting: dict[str, frozenset[str]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the uuid of a VM when a bridge that it lacked is there. It must not block."""
        self._listeners.append(listener)

    def lacking(self, vm_uuid: str) -> dict[str, str]:
        """The networks of the ports that a VM is to have here, as far as there is no bridge of them, and why not."""
        bridges, reasons = self._bridges(vm_uuid)
        with self._lock:
            # Before the look: a bridge that comes after the look finds the VM waiting.
            self._waiting[vm_uuid] = frozenset(bridges.values())
        missing = {uuid for uuid, bridge in bridges.items() if self._mtu_of(bridge) is None}
        with self._lock:
            self._waiting[vm_uuid] = frozenset(bridges[uuid] for uuid in missing)
            if not missing:
                del self._waiting[vm_uuid]
        return {**reasons, **dict.fromkeys(missing, NO_BRIDGE)}

    def look(self) -> None:
        """Links have changed: tell of the VMs that have lacked a bridge that is there now."""
        with self._lock:
            waiting = dict(self._waiting)
        for vm_uuid, bridges in waiting.items():
            if any(self._mtu_of(bridge) is not None for bridge in bridges):
                for listener in self._listeners:
                    listener(vm_uuid)

    def of(self, ports: Iterable[Port]) -> tuple[Nic, ...]:
        """The cards for ports; TemporaryError or Unavailable where nobody knows of a network."""
        return tuple(self._nic(port) for port in ports)

    def ready(self, ports: Iterable[Port]) -> tuple[Nic, ...]:
        """The cards for ports whose bridges are to be there; else TemporaryError."""
        nics = []
        for port in ports:
            nic = self._nic(port)
            if not nic.mtu:
                raise TemporaryError(f"waiting for network {port.network}: {NO_BRIDGE}")
            nics.append(nic)
        return tuple(nics)

    def _nic(self, port: Port) -> Nic:
        bridge = self._networks.get(port.network).bridge
        return Nic(port.id, port.mac, port.tap, bridge, self._mtu_of(bridge) or 0)

    def _bridges(self, vm_uuid: str) -> tuple[dict[str, str], dict[str, str]]:
        """The bridges of the networks that a VM is to be on here, and why others are not known."""
        bridges, reasons = {}, {}
        for uuid in self._wanted(vm_uuid):
            try:
                bridges[uuid] = self._networks.get(uuid).bridge
            except UcloudError as error:
                reasons[uuid] = str(error)
        return bridges, reasons

    def _wanted(self, vm_uuid: str) -> frozenset[str]:
        cached = self._placements.get(self._placements.prefix + vm_uuid)
        if cached is None or cached.record.role is Role.LEFT:
            return frozenset()
        request = cached.record.request
        return frozenset(port.network for port in request.ports if request.requested is not Requested.DELETED)

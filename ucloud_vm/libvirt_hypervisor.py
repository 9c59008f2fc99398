"""The hypervisor behind libvirt: QEMU with KVM or TCG.

The connection is made when it is needed and made again when it was lost; guests don't notice. Calls block, so they
belong into worker threads. libvirt's events come from its own loop in a thread, and are hints only.

Source: libvirt's API reference; the meaning of a domain's state and its reason: virDomainState and the enums after it.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from common.errors import PermanentError, TemporaryError, UcloudError, Unavailable
from ucloud_vm import domain as description
from ucloud_vm.accelerator import Accelerator
from ucloud_vm.hypervisor import Domain, Machine, OffCause, Power

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
_KEEPALIVE_S = 5
_KEEPALIVES_MISSED = 3
_LONGEST_REASON = 300

_POWER = {
    libvirt.VIR_DOMAIN_RUNNING: Power.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Power.RUNNING,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Power.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: Power.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: Power.OFF,
    libvirt.VIR_DOMAIN_CRASHED: Power.OFF,
}
_PAUSED_POWER = {
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: Power.STUCK,
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: Power.CHANGING,
    libvirt.VIR_DOMAIN_PAUSED_SAVE: Power.CHANGING,
    libvirt.VIR_DOMAIN_PAUSED_DUMP: Power.CHANGING,
    libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN: Power.CHANGING,
    libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT: Power.CHANGING,
    libvirt.VIR_DOMAIN_PAUSED_STARTING_UP: Power.STARTING,
}
_OFF_CAUSE = {
    libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN: OffCause.GUEST,
    libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED: OffCause.DESTROYED,
    libvirt.VIR_DOMAIN_SHUTOFF_CRASHED: OffCause.CRASHED,
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: OffCause.FAILED,
}
_HOPELESS = frozenset({libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_XML_ERROR})
_DISCONNECTED = frozenset({libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC})
_UNDEFINE_FLAGS = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class LibvirtHypervisor:
    """A Hypervisor. One per process: libvirt has one event loop."""

    def __init__(self, uri: str, accelerator: Accelerator) -> None:
        self._uri = uri
        self._accelerator = accelerator
        self._lock = threading.Lock()
        self._connection: Any = None
        self._lost = threading.Event()
        self._listeners: list[Callable[[str | None], None]] = []
        # Errors come as exceptions; without this they are printed as well.
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        self._waker = libvirt.virEventAddTimeout(-1, lambda *_: None, None)

    def subscribe(self, listener: Callable[[str | None], None]) -> None:
        """See Hypervisor."""
        self._listeners.append(listener)

    def run_events(self, stop: threading.Event) -> None:
        """Run libvirt's event loop; the body of a thread."""
        while not stop.is_set():
            libvirt.virEventRunDefaultImpl()

    def keep_connected(self, stop: threading.Event) -> None:
        """Connect, and connect again whenever the connection is lost; the body of a thread."""
        reported = ""
        while not stop.is_set():
            self._lost.clear()
            try:
                self._connect()
            except Unavailable as error:
                if str(error) != reported:
                    _log.warning("%s", error)
                reported = str(error)
                stop.wait(_RETRY_S)
                continue
            _log.info("connected to %s", self._uri)
            reported = ""
            self._tell(None)
            self._lost.wait()

    def close(self) -> None:
        """Let both threads see that they are to end; guests run on."""
        self._lost.set()
        libvirt.virEventUpdateTimeout(self._waker, 0)

    def problem(self) -> str | None:
        """What is wrong with the connection, for /healthz."""
        connection = self._connection
        return None if connection is not None and connection.isAlive() else f"not connected to {self._uri}"

    def find(self, vm_uuid: str) -> Domain | None:
        """See Hypervisor."""
        with self._session("look at the VM") as connection:
            try:
                domain = connection.lookupByUUIDString(vm_uuid)
                epoch = _epoch(domain)
                if epoch is None:
                    raise PermanentError("its host has a domain of this uuid that is not ucloud's")
                power, cause = _power(domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise
            return Domain(epoch, power, cause)

    def vms(self) -> frozenset[str]:
        """See Hypervisor."""
        with self._session("list the VMs") as connection:
            return frozenset(domain.UUIDString() for domain in connection.listAllDomains() if _is_ours(domain))

    def define(self, machine: Machine) -> None:
        """See Hypervisor."""
        self.find(machine.vm_uuid)  # refuses where the uuid is taken by a domain that is not ours
        with self._session("define the VM") as connection:
            connection.defineXML(description.to_xml(machine, self._accelerator))

    def start(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "start the VM", lambda domain: domain.create(), {Power.RUNNING})

    def shut_down(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        flags = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        self._step(vm_uuid, "shut the VM down", lambda domain: domain.shutdownFlags(flags), {Power.OFF})

    def power_off(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "power the VM off", lambda domain: domain.destroy(), {Power.OFF})

    def suspend(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "suspend the VM", lambda domain: domain.suspend(), {Power.PAUSED})

    def resume(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "resume the VM", lambda domain: domain.resume(), {Power.RUNNING})

    def undefine(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "undefine the VM", lambda domain: domain.undefineFlags(_UNDEFINE_FLAGS), {None})

    def socket_owner(self) -> tuple[int, int]:
        """See Hypervisor."""
        with self._session("ask for its capabilities") as connection:
            return description.qemu_owner(connection.getCapabilities())

    def _step(self, vm_uuid: str, task: str, step: Callable[[Any], object], done: set[Power | None]) -> None:
        """Take a step with a domain of ours. That it can't be taken is fine if what it leads to is there already."""
        found = self.find(vm_uuid)
        if found is None:
            if None in done:
                return
            raise TemporaryError(f"can't {task}: it has no domain on its host any more")
        try:
            with self._session(task) as connection:
                step(connection.lookupByUUIDString(vm_uuid))
        except TemporaryError:
            found = self.find(vm_uuid)
            if (found.power if found else None) not in done:
                raise

    def _connect(self) -> Any:
        """The connection, made anew when there is none; Unavailable when that fails."""
        with self._lock:
            if self._connection is not None and self._connection.isAlive():
                return self._connection
            self._connection = None
            try:
                connection = libvirt.open(self._uri)
                connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVES_MISSED)
                connection.registerCloseCallback(self._on_close, None)
                lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
                connection.domainEventRegisterAny(None, lifecycle, self._on_lifecycle, None)
            except libvirt.libvirtError as error:
                raise Unavailable("libvirt", f"{self._uri}: {error.get_error_message()}") from error
            self._connection = connection
            return connection

    @contextmanager
    def _session(self, task: str) -> Iterator[Any]:
        """The connection, and libvirt's errors in it turned into ours."""
        connection = self._connect()
        try:
            yield connection
        except libvirt.libvirtError as error:
            raise _translate(error, task, connection) from error

    def _on_close(self, _connection: Any, _reason: int, _opaque: object) -> None:
        _log.warning("the connection to %s is lost", self._uri)
        self._lost.set()

    def _on_lifecycle(self, _connection: Any, domain: Any, _event: int, _detail: int, _opaque: object) -> None:
        if domain.name().startswith(description.NAME_PREFIX):
            self._tell(domain.UUIDString())

    def _tell(self, vm_uuid: str | None) -> None:
        for listener in self._listeners:
            listener(vm_uuid)


def _epoch(domain: Any) -> int | None:
    """The epoch of a domain of ours; None when it is not ours."""
    try:
        metadata = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, description.NAMESPACE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise
    return description.metadata_epoch(metadata)


def _is_ours(domain: Any) -> bool:
    try:
        return domain.name().startswith(description.NAME_PREFIX) and _epoch(domain) is not None
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def _power(domain: Any) -> tuple[Power, OffCause]:
    state, reason = domain.state()
    power = _POWER.get(state, Power.CHANGING)
    if power is Power.PAUSED:
        return _PAUSED_POWER.get(reason, power), OffCause.UNKNOWN
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return power, OffCause.CRASHED
    return power, _OFF_CAUSE.get(reason, OffCause.UNKNOWN) if power is Power.OFF else OffCause.UNKNOWN


def _translate(error: Any, task: str, connection: Any) -> UcloudError:
    text = " ".join(error.get_error_message().split())[:_LONGEST_REASON]
    code = error.get_error_code()
    if code in _DISCONNECTED or error.get_error_domain() == libvirt.VIR_FROM_RPC or not connection.isAlive():
        return Unavailable("libvirt", text)
    if code in _HOPELESS:
        return PermanentError(f"can't {task}: {text}")
    return TemporaryError(f"can't {task}: {text}")

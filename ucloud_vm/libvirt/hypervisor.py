"""The hypervisor behind libvirt: QEMU with KVM or TCG; or, for many guests that are none, its test driver (see
traits.py).

The connection is made when it is needed and made again when it was lost; guests don't notice. Calls block, so they
belong into worker threads. libvirt's events come from its own loop in a thread, and are hints only.

Source: libvirt's API reference; the meaning of a domain's state and its reason: virDomainState and the enums after it.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import libvirt
from prometheus_client import Histogram

from common.errors import PermanentError, TemporaryError, UcloudError, Unavailable
from common.schemas.disk import DiskSpec
from common.schemas.port import PortId
from common.storage import CephSecret, Disk
from ucloud_vm.hypervisor import Domain, Journey, Machine, Nic, OffCause, Power
from ucloud_vm.libvirt import domain as description
from ucloud_vm.libvirt import migration, snapshots
from ucloud_vm.libvirt.accelerator import Accelerator
from ucloud_vm.libvirt.traits import Traits, traits_of

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
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: Power.BETWEEN,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: Power.BETWEEN,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: Power.BETWEEN,
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
    libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED: OffCause.MOVED,
    libvirt.VIR_DOMAIN_SHUTOFF_FAILED: OffCause.FAILED,
}
_HOPELESS = frozenset({libvirt.VIR_ERR_CONFIG_UNSUPPORTED, libvirt.VIR_ERR_XML_ERROR})
_DISCONNECTED = frozenset({libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC})
_MIB = 1024 * 1024
_MAX_PICTURE_BYTES = 64 * _MIB

_TASKS = {
    "find": "look at the VM",
    "list": "list the VMs",
    "define": "define the VM",
    "start": "start the VM",
    "shut_down": "shut the VM down",
    "power_off": "power the VM off",
    "suspend": "suspend the VM",
    "resume": "resume the VM",
    "send": "send the VM to another host",
    "stop_sending": "let the VM stay",
    "allow_downtime": "let the VM stand still for longer",
    "send_rest_later": "let the VM go on at its new host",
    "grow_disks": "grow the VM's disks",
    "take_snapshot": "take a snapshot",
    "remove_snapshot": "remove a snapshot",
    "plug": "plug the VM into a network",
    "unplug": "unplug the VM from a network",
    "plug_disk": "plug a disk into the VM",
    "unplug_disk": "unplug a disk from the VM",
    "screenshot": "look at the VM's display",
    "undefine": "undefine the VM",
    "capabilities": "ask for its capabilities",
}
"""The calls, as figures name them, each with the words in which an error tells of it."""


class LibvirtHypervisor:
    """A Hypervisor. libvirt has one event loop in a process: only one of these may run it."""

    def __init__(
        self,
        uri: str,
        accelerator: Accelerator,
        call_seconds: Histogram,
        secrets: Callable[[], Iterable[CephSecret]] = tuple,
    ) -> None:
        """`call_seconds` has the label "call". libvirt is told the `secrets` of disks at each connection."""
        self._secrets = secrets
        self._uri = uri
        self._accelerator = accelerator
        self._call_seconds = call_seconds
        self._lock = threading.Lock()
        self._connection: Any = None
        self._traits = traits_of("")
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
        with self._session("find") as (connection, traits):
            try:
                domain = connection.lookupByUUIDString(vm_uuid)
                mark = _mark(domain)
                if mark is None:
                    raise PermanentError("its host has a domain of this uuid that is not ucloud's")
                # In this order: when it is no longer being sent, what its power is then is what came of it.
                sending = migration.progress(domain) if traits.moves_live else None
                power, cause = _power(domain)
                xml = domain.XMLDesc()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise
            return Domain(
                mark.epoch,
                power,
                cause,
                mark.specs,
                disks=frozenset(description.read_disks(xml)),
                grows=traits.grows_disks,
                ports=frozenset(description.read_ports(xml)),
                plugs=traits.plugs_ports,
                takes_snapshots=traits.takes_snapshots,
                sending=sending,
            )

    def vms(self) -> frozenset[str]:
        """See Hypervisor."""
        with self._session("list") as (connection, _):
            return frozenset(domain.UUIDString() for domain in connection.listAllDomains() if _is_ours(domain))

    def define(self, machine: Machine) -> None:
        """See Hypervisor."""
        self.find(machine.vm_uuid)  # refuses where the uuid is taken by a domain that is not ours
        with self._session("define") as (connection, traits):
            connection.defineXML(description.to_xml(machine, self._accelerator, traits.domain_type))

    def start(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "start", lambda domain, _: domain.create(), {Power.RUNNING})

    def shut_down(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(
            vm_uuid, "shut_down", lambda domain, traits: domain.shutdownFlags(traits.shutdown_flags), {Power.OFF}
        )

    def power_off(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "power_off", lambda domain, _: domain.destroy(), {Power.OFF})

    def suspend(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "suspend", lambda domain, _: domain.suspend(), {Power.PAUSED})

    def resume(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "resume", lambda domain, _: domain.resume(), {Power.RUNNING})

    def send(self, vm_uuid: str, journey: Journey) -> None:
        """See Hypervisor. Of one connection libvirtd answers five calls at a time, so this one gets its own.

        Should this process die, libvirtd goes on.
        """
        own = self._open()
        try:
            with self._session("send", own) as (connection, _):
                migration.send(connection.lookupByUUIDString(vm_uuid), journey)
        finally:
            with suppress(libvirt.libvirtError):
                own[0].close()

    def stop_sending(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        with self._session("stop_sending") as (connection, _):
            connection.lookupByUUIDString(vm_uuid).abortJob()

    def allow_downtime(self, vm_uuid: str, downtime_ms: int) -> None:
        """See Hypervisor."""
        with self._session("allow_downtime") as (connection, _):
            connection.lookupByUUIDString(vm_uuid).migrateSetMaxDowntime(downtime_ms)

    def send_rest_later(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        with self._session("send_rest_later") as (connection, _):
            connection.lookupByUUIDString(vm_uuid).migrateStartPostCopy()

    def grow_disks(self, vm_uuid: str, disks: Iterable[DiskSpec]) -> None:
        """See Hypervisor."""
        with self._session("grow_disks") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            plugged = description.read_disks(domain.XMLDesc())
            for disk in disks:
                target = plugged[disk.serial].target if disk.serial in plugged else ""
                # Asked to, QEMU would shrink it.
                if target and domain.blockInfo(target)[0] < disk.size_mib * _MIB:
                    domain.blockResize(target, disk.size_mib * _MIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    def plug_disk(self, vm_uuid: str, serial: str, disk: Disk) -> None:
        """See Hypervisor. The domain keeps it, which says that the VM had it, should it be lost."""
        with self._session("plug_disk") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            live, kept = domain.XMLDesc(), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            if serial in description.read_disks(live):
                return
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
            if serial not in description.read_disks(kept):
                flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
            domain.attachDeviceFlags(description.disk_xml(serial, disk, description.free_target(live, kept)), flags)

    def unplug_disk(self, vm_uuid: str, serial: str) -> None:
        """See Hypervisor. Of its end libvirt tells by an event."""
        with self._session("unplug_disk") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            if plugged := description.read_disks(domain.XMLDesc()).get(serial):
                domain.detachDeviceAlias(plugged.alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def take_snapshot(self, vm_uuid: str, snapshot: str, serials: Collection[str]) -> None:
        """See Hypervisor."""
        with self._session("take_snapshot") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            snapshots.take(domain, snapshot, _aliases(domain, serials))

    def remove_snapshot(self, vm_uuid: str, snapshot: str, serials: Collection[str]) -> None:
        """See Hypervisor."""
        with self._session("remove_snapshot") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            snapshots.remove(domain, snapshot, _aliases(domain, serials))

    def plug(self, vm_uuid: str, nic: Nic) -> None:
        """See Hypervisor. The next start defines the domain anew, so only the guest that is on is changed."""
        with self._session("plug") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            if nic.port not in description.read_ports(domain.XMLDesc()):
                domain.attachDeviceFlags(description.nic_xml(nic), libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def unplug(self, vm_uuid: str, port: PortId) -> None:
        """See Hypervisor. Of the card's end libvirt tells by an event."""
        with self._session("unplug") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            if alias := description.read_ports(domain.XMLDesc()).get(port):
                domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def screenshot(self, vm_uuid: str) -> bytes:
        """See Hypervisor."""
        with self._session("screenshot") as (connection, _):
            domain = connection.lookupByUUIDString(vm_uuid)
            if not domain.isActive():  # which not every driver looks at
                raise TemporaryError("can't look at the VM's display: it is off")
            stream = connection.newStream()
            media_type = domain.screenshot(stream, 0)
            content = bytearray()
            try:
                while chunk := stream.recv(_MIB):
                    content += chunk
                    if len(content) > _MAX_PICTURE_BYTES:
                        raise TemporaryError(f"the picture of the display has more than {_MAX_PICTURE_BYTES} bytes")
                stream.finish()
            except BaseException:
                stream.abort()
                raise
            if media_type != "image/png":
                raise PermanentError("its host's QEMU can't picture a display as PNG: 7.1 or later does")
            return bytes(content)

    def undefine(self, vm_uuid: str) -> None:
        """See Hypervisor."""
        self._step(vm_uuid, "undefine", lambda domain, traits: domain.undefineFlags(traits.undefine_flags), {None})

    def socket_owner(self) -> tuple[int, int]:
        """See Hypervisor."""
        with self._session("capabilities") as (connection, _):
            return description.qemu_owner(connection.getCapabilities())

    def _step(self, vm_uuid: str, call: str, step: Callable[[Any, Traits], object], done: set[Power | None]) -> None:
        """Take a step with a domain of ours. That it can't be taken is fine if what it leads to is there already."""
        found = self.find(vm_uuid)
        if found is None:
            if None in done:
                return
            raise TemporaryError(f"can't {_TASKS[call]}: it has no domain on its host any more")
        try:
            with self._session(call) as (connection, traits):
                step(connection.lookupByUUIDString(vm_uuid), traits)
        except TemporaryError:
            found = self.find(vm_uuid)
            if (found.power if found else None) not in done:
                raise

    def _connect(self) -> tuple[Any, Traits]:
        """The connection, made anew when there is none; Unavailable when that fails."""
        with self._lock:
            if self._connection is not None and self._connection.isAlive():
                return self._connection, self._traits
            self._connection = None
            try:
                connection, self._traits = self._open()
                for secret in self._secrets() if self._traits.keeps_secrets else ():
                    _tell_secret(connection, secret)
                connection.registerCloseCallback(self._on_close, None)
                lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
                connection.domainEventRegisterAny(None, lifecycle, self._on_lifecycle, None)
                removed = libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED
                connection.domainEventRegisterAny(None, removed, self._on_removed, None)
            except libvirt.libvirtError as error:
                raise Unavailable("libvirt", f"{self._uri}: {error.get_error_message()}") from error
            except TemporaryError as error:
                raise Unavailable("libvirt", str(error)) from error
            self._connection = connection
            return connection, self._traits

    def _open(self) -> tuple[Any, Traits]:
        """A connection beside the one that all calls share."""
        try:
            connection = libvirt.open(self._uri)
            connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVES_MISSED)
            return connection, traits_of(connection.getType())
        except libvirt.libvirtError as error:
            raise Unavailable("libvirt", f"{self._uri}: {error.get_error_message()}") from error

    @contextmanager
    def _session(self, call: str, own: tuple[Any, Traits] | None = None) -> Iterator[tuple[Any, Traits]]:
        """A connection, `own` or that of all, and what its driver is like, for a `call`.

        libvirt's errors in it are turned into ours.
        """
        connection, traits = own or self._connect()
        try:
            with self._call_seconds.labels(call).time():
                yield connection, traits
        except libvirt.libvirtError as error:
            raise _translate(error, _TASKS[call], connection) from error

    def _on_close(self, _connection: Any, _reason: int, _opaque: object) -> None:
        _log.warning("the connection to %s is lost", self._uri)
        self._lost.set()

    def _on_lifecycle(self, _connection: Any, domain: Any, _event: int, _detail: int, _opaque: object) -> None:
        if domain.name().startswith(description.NAME_PREFIX):
            self._tell(domain.UUIDString())

    def _on_removed(self, _connection: Any, domain: Any, _device: str, _opaque: object) -> None:
        if domain.name().startswith(description.NAME_PREFIX):
            self._tell(domain.UUIDString())

    def _tell(self, vm_uuid: str | None) -> None:
        for listener in self._listeners:
            listener(vm_uuid)


def _aliases(domain: Any, serials: Collection[str]) -> list[str]:
    """What libvirt calls these disks of a guest that is on; TemporaryError when it has not got one."""
    has = description.read_disks(domain.XMLDesc())
    if missing := set(serials) - has.keys():
        raise TemporaryError(f"its guest has not got the disk {', '.join(sorted(missing))}")
    return [has[serial].alias for serial in serials]


def _tell_secret(connection: Any, secret: CephSecret) -> None:
    """Let QEMU have a secret. libvirt keeps it in memory, and gives it to nobody else."""
    defined = connection.secretDefineXML(description.secret_xml(secret))
    defined.setValue(secret.value)


def _mark(domain: Any) -> description.Mark | None:
    """What we keep in a domain of ours; None when it is not ours."""
    try:
        metadata = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, description.NAMESPACE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            return None
        raise
    return description.read_mark(metadata)


def _is_ours(domain: Any) -> bool:
    try:
        return domain.name().startswith(description.NAME_PREFIX) and _mark(domain) is not None
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        raise


def _power(domain: Any) -> tuple[Power, OffCause]:
    state, reason = domain.state()
    power = _POWER.get(state, Power.CHANGING)
    if power is Power.PAUSED:
        return _PAUSED_POWER.get(reason, power), OffCause.UNKNOWN
    if (state, reason) == (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_POSTCOPY_FAILED):
        return Power.BETWEEN, OffCause.UNKNOWN
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

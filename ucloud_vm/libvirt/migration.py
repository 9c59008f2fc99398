"""How libvirt sends a guest to another host: peer to peer, its libvirtd speaks to the other one.

Source: libvirt, "Guest migration" (migration.html), virDomainMigrateFlags and the parameters after it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from ucloud_vm.destination import Destination
from ucloud_vm.hypervisor import Journey, Sending
from ucloud_vm.libvirt import domain as description

T = TypeVar("T")
_ALWAYS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
)
_UNDER_WAY = (libvirt.VIR_DOMAIN_JOB_BOUNDED, libvirt.VIR_DOMAIN_JOB_UNBOUNDED)


def send(domain: Any, journey: Journey) -> None:
    """Send the guest of a domain; returns when it runs, or is paused as it was, on the other host.

    The domain stays here, off: the next look learns from it that the guest has moved. libvirtError says what failed.
    """
    destination = Destination.read(journey.destination)
    streams = destination.streams(domain.UUIDString())
    live = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE)
    kept = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_INACTIVE)
    parameters = {
        libvirt.VIR_MIGRATE_PARAM_URI: streams.memory,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: description.relocate(live, journey.epoch, destination.files),
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: description.relocate(kept, journey.epoch, destination.files),
    }
    flags = _ALWAYS | (libvirt.VIR_MIGRATE_TLS if streams.tls else 0)
    if journey.post_copy:
        flags |= libvirt.VIR_MIGRATE_POSTCOPY  # allowed by that; it begins when it is asked for
    if journey.copies_disks:
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_DISK
        if streams.disks:
            parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = streams.disks
    if description.disk_caches(live) == {"none"}:
        # libvirt knows few file systems that hosts share, and calls others unsafe. The other host has found the disk in
        # its store, and past the page cache there is nothing that one host could hold back from the other. With a
        # page cache libvirt's doubts stand.
        flags |= libvirt.VIR_MIGRATE_UNSAFE
    domain.migrateToURI3(destination.hypervisor, parameters, flags)


def progress(domain: Any) -> Sending | None:
    """How far a guest that is being sent has got; None when it is not being sent (or is off, or is arriving)."""
    job = _ask(domain.jobStats)
    if (
        not job
        or job["type"] not in _UNDER_WAY
        or job.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
    ):
        return None
    total = job.get(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL, 0)
    left = job.get(libvirt.VIR_DOMAIN_JOB_DATA_REMAINING, 0)
    return Sending(
        percent=int(100 * (1 - left / total)) if total else 0,
        passes=job.get(libvirt.VIR_DOMAIN_JOB_MEMORY_ITERATION, 0),
        max_downtime_ms=_ask(domain.migrateGetMaxDowntime) or 0,
    )


def _ask(question: Callable[[], T]) -> T | None:
    """The answer to a question that only a guest in the right state is asked; None: it is in another one."""
    try:
        return question()
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_UNSUPPORTED):
            return None
        raise

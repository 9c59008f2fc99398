"""From records to resources: what a reader of the API sees. Pure: no I/O, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common import keys
from common.schemas.disk import DiskSpec
from common.schemas.host import HostRequest, HostStatus, StoreCapacity
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from common.schemas.port import Port
from common.schemas.size import format_size
from common.schemas.snapshot import Rollback, Snapshot, SnapshotActual, SnapshotReport
from common.schemas.ssh_key import fingerprint
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual, Placement, Requested, Specs, VmRequest, VmStatus
from ucloud_api import models
from ucloud_api.models.host import HostVerdict
from ucloud_api.models.move import Move
from ucloud_api.models.placing import AffinityOut


@dataclass(frozen=True)
class VmFacts:
    """All that is known of one VM. `status` is what its host says, `word` what the scheduler does."""

    request: VmRequest
    host: str | None = None
    placement: Placement | None = None
    status: VmStatus | None = None
    word: VmStatus | None = None
    host_alive: bool = True
    image_name: str | None = None
    verdict: Verdict | None = None
    """On its host, while that is not alive."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the networks and security groups of its ports are called, by uuid."""


def current_status(facts: VmFacts) -> VmStatus | None:
    """The status, if it speaks of the VM's present life: one of an earlier epoch is of another one."""
    if facts.placement and facts.status and facts.status.epoch == facts.placement.epoch:
        return facts.status
    return None


def actual_state(facts: VmFacts) -> tuple[Actual, str]:
    """The state that a VM is in, with the reason."""
    status = current_status(facts)
    if facts.placement is None:
        if facts.request.requested is Requested.DELETED:
            return Actual.DELETING, ""
        return Actual.PENDING, facts.word.reason if facts.word else "waits for the scheduler"
    if not facts.host_alive:
        return Actual.UNKNOWN, _lost(facts, status)
    if status is None:
        return Actual.DEPLOYING, f"ordered from host {facts.host}, which has not answered yet"
    # A resize that waits for room is the scheduler's to explain: the host has no order for it.
    waits = facts.placement.request.specs != facts.request.specs
    word = facts.word.reason if facts.word and waits else ""
    return status.actual, "; ".join(filter(None, (status.reason, word)))


def _lost(facts: VmFacts, status: VmStatus | None) -> str:
    """What to say of a VM whose host has no sign of life."""
    last = f", it last said {status.actual}" if status else ""
    if facts.verdict is None or facts.verdict.sentence is not Sentence.DEAD:
        return f"host {facts.host} is silent{last}"
    has_ha = facts.placement is not None and facts.placement.request.ha
    hope = "it is to be started on another host" if has_ha else "it runs again when the host does, as its ha is off"
    return f"host {facts.host} is dead{last}; {facts.word.reason if facts.word else hope}"


def vm(facts: VmFacts) -> models.Vm:
    """The VM resource."""
    request, status = facts.request, current_status(facts)
    actual, reason = actual_state(facts)
    return models.Vm(
        uuid=request.uuid,
        name=request.name,
        owner=request.owner,
        specs=specs(request.specs),
        disks=tuple(map(_disk, request.specs.disks)),
        image=request.image,
        image_name=facts.image_name,
        hostname=keys.host(facts.host) if facts.host else None,
        requested=request.requested,
        protected=request.protected,
        ha=request.ha,
        priority=request.priority,
        affinity=tuple(AffinityOut(**wish.model_dump()) for wish in request.affinity),
        host_labels=request.host_labels,
        status=actual,
        reason=reason,
        generation=request.generation,
        observed_generation=status.generation if status else 0,
        created_at=request.created_at,
        changed_at=request.changed_at or request.created_at,
        reboots=request.reboots,
        restart_needed=_restart_needed(facts, status),
        ports=tuple(_port(port, facts.names) for port in request.ports),
        addresses=_addresses(request, status),
        ssh_keys=tuple(map(fingerprint, request.ssh_keys)),
        guest_hostname=request.hostname or request.name,
        seed_disk=request.seed_disk,
        move=_move(facts),
        snapshots=snapshots(facts),
        rollback=_rollback(facts),
        events=tuple(models.EventOut(at=event.at, what=event.what) for event in status.events) if status else (),
    )


def _restart_needed(facts: VmFacts, status: VmStatus | None) -> bool:
    if status is None or status.specs is None or facts.placement is None:
        return False
    # The host's answer may be heard of before the order that it answers: what was ordered is then what is requested.
    answered = facts.placement.generation >= status.generation
    ordered = facts.placement.request if answered else facts.request
    return status.specs != ordered.specs


def _disk(disk: DiskSpec) -> models.DiskOut:
    return models.DiskOut(serial=disk.serial, kind=disk.kind, size=format_size(disk.size_mib))


def _port(port: Port, names: Mapping[str, str]) -> models.PortOut:
    def named(uuid: str) -> models.Named:
        return models.Named(uuid=uuid, name=names.get(uuid))

    return models.PortOut(
        id=port.id,
        network=named(port.network),
        mac=port.mac,
        ipv6=port.ipv6,
        ipv4=port.ipv4,
        prefixes=port.prefixes,
        security_groups=tuple(map(named, port.security_groups)),
    )


def _addresses(request: VmRequest, status: VmStatus | None) -> tuple[str, ...]:
    """What its ports may call themselves, and what else its host says."""
    of_ports = [str(address) for port in request.ports for address in port.addresses()]
    return tuple(dict.fromkeys((*of_ports, *(status.addresses if status else ()))))


def _move(facts: VmFacts) -> Move | None:
    wish, order, status = facts.request.move, facts.placement, current_status(facts)
    if order is None or not (wish or order.leaving or order.tried):
        return None
    leaving, report = order.leaving, status.move if status else None
    is_current = leaving and report and report.epoch == leaving.epoch
    return Move(
        wish=wish.number if wish else 0,
        dealt_with=order.moved,
        to=leaving.to if leaving else None,
        live=bool(leaving and leaving.live),
        percent=report.percent if report and is_current else 0,
        failure=order.tried.reason if order.tried else "",
    )


def snapshot_report(facts: VmFacts, snapshot: str) -> SnapshotReport:
    """What the VM's host says of a snapshot."""
    status = current_status(facts)
    found = (each for each in (status.snapshots if status else ()) if each.id == snapshot)
    return next(found, SnapshotReport(id=snapshot, actual=SnapshotActual.PENDING))


def snapshots(facts: VmFacts) -> tuple[models.SnapshotOut, ...]:
    """The snapshots of a VM."""
    return tuple(_snapshot(each, snapshot_report(facts, each.id)) for each in facts.request.snapshots)


def _snapshot(wanted: Snapshot, report: SnapshotReport) -> models.SnapshotOut:
    return models.SnapshotOut(
        id=wanted.id,
        name=wanted.name,
        created_at=wanted.created_at,
        status=report.actual,
        reason=report.reason,
        taken_at=report.taken_at,
        disks=tuple(models.SnapshotDisk(serial=disk.serial, size=format_size(disk.size_mib)) for disk in wanted.disks),
    )


def pending_rollback(facts: VmFacts) -> Rollback | None:
    """The roll-back that is yet to be done, as far as the VM's host has told."""
    wish, status = facts.request.rollback, current_status(facts)
    if wish is None or (status and status.rolled_back >= wish.number):
        return None
    return wish if any(snapshot.id == wish.snapshot for snapshot in facts.request.snapshots) else None


def _rollback(facts: VmFacts) -> models.RollbackOut | None:
    wish = facts.request.rollback
    if wish is None:
        return None
    is_pending = pending_rollback(facts) is not None
    return models.RollbackOut(number=wish.number, snapshot=wish.snapshot, name=wish.name, pending=is_pending)


def specs(record: Specs) -> models.SpecsOut:
    """Specs as users read them."""
    return models.SpecsOut(
        cpu=record.cpu,
        ram=format_size(record.ram_mib),
        ssd=format_size(record.ssd_mib),
        hdd=format_size(record.hdd_mib),
        firmware=record.firmware,
    )


def free_space(store: StoreCapacity | None) -> int | str | None:
    """How much more a store takes, as users read it; None where that is not known."""
    return None if store is None or store.free_mib is None else format_size(store.free_mib)


def host(
    name: str,
    word: HostRequest | None,
    status: HostStatus | None,
    alive: bool,
    verdict: Verdict | None,
    placed: Sequence[Placement],
) -> models.Host:
    """The host resource; `placed` are the orders to it."""
    admin = word or HostRequest(name=name, generation=0)
    ordered = [placement.request.specs for placement in placed]
    capacity = status and models.Amounts(
        cpu=status.cpu,
        ram=format_size(status.ram_mib),
        ssd=format_size(status.ssd.total_mib if status.ssd else 0),
        hdd=format_size(status.hdd.total_mib if status.hdd else 0),
    )
    return models.Host(
        name=name,
        state=admin.state,
        status="ALIVE" if alive else "DEAD" if verdict and verdict.sentence is Sentence.DEAD else "SILENT",
        verdict=HostVerdict.model_validate(verdict.model_dump()) if verdict and not alive else None,
        overcommit=models.OvercommitOut(**admin.overcommit.model_dump()),
        labels=admin.labels,
        tenants=admin.tenants,
        generation=admin.generation,
        capacity=capacity,
        free=models.FreeSpace(
            ssd=free_space(status.ssd if status else None), hdd=free_space(status.hdd if status else None)
        ),
        ordered=models.Amounts(
            cpu=sum(each.cpu for each in ordered),
            ram=format_size(sum(each.ram_mib for each in ordered)),
            ssd=format_size(sum(each.ssd_mib for each in ordered)),
            hdd=format_size(sum(each.hdd_mib for each in ordered)),
        ),
        vms=len(ordered),
        addresses=status.addresses if status else (),
        hypervisor=status.hypervisor if status else "",
        versions=status.versions if status else {},
    )


def image_state(request: ImageRequest, status: ImageStatus | None) -> tuple[ImageActual, str]:
    """The state that an image is in, with the reason."""
    if request.requested is ImageRequested.DELETED:
        return ImageActual.DELETING, status.reason if status and status.actual is ImageActual.DELETING else ""
    if status is None:
        return ImageActual.PENDING, "waits for the image daemon"
    return status.actual, status.reason


def image(request: ImageRequest, status: ImageStatus | None) -> models.Image:
    """The image resource."""
    actual, reason = image_state(request, status)
    return models.Image(
        uuid=request.uuid,
        name=request.name,
        owner=request.owner,
        file=request.file,
        source=models.ImageSource(**request.source.model_dump()) if request.source else None,
        public=request.public,
        protected=request.protected,
        min_ram=format_size(request.min_ram_mib),
        min_disk=format_size(request.min_disk_mib),
        firmware=request.firmware,
        store=request.store,
        requested=request.requested,
        status=actual,
        reason=reason,
        percent=status.percent if status and actual is ImageActual.IMPORTING else 0,
        generation=request.generation,
        created_at=request.created_at,
        virtual_size=format_size(status.virtual_size_mib if status else 0),
        file_size_bytes=status.file_size_bytes if status else 0,
        sha256=status.sha256 if status else "",
    )

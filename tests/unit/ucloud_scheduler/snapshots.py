"""Short ways to write down hosts, VMs and snapshots."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from common.schemas.host import HostState
from common.schemas.verdict import Sentence
from common.schemas.vm import Actual, Placement, Requested, Specs, VmRequest
from ucloud_scheduler.groups import GroupIndex
from ucloud_scheduler.ranking import Ranks
from ucloud_scheduler.views import BriefStatus, Disk, Host, Judged, Placed, Reported, Snapshot, Vm

NOW = datetime(2030, 1, 1, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
SMALL = Specs.of(cpu=1, ram_mib=1024, ssd_mib=1024)


def make_host(name: str = "h1", cpu: int = 8, ram_mib: int = 8192, ssd_mib: int = 100_000, **changes: object) -> Host:
    """A host that takes VMs, unless `changes` say otherwise."""
    values: dict[str, object] = {
        "state": HostState.ENABLED,
        "is_alive": True,
        "is_registered": True,
        "cpu": cpu,
        "ram_mib": ram_mib,
        "ssd": Disk(f"store-{name}", ssd_mib),
        **changes,
    }
    return Host(name, **values)  # type: ignore[arg-type]


def make_request(
    number: int = 1,
    specs: Specs = SMALL,
    requested: Requested = Requested.RUNNING,
    generation: int = 1,
    **changes: object,
) -> VmRequest:
    """The request for the VM with that number; VMs are created in the order of their numbers."""
    values: dict[str, object] = {
        "uuid": str(UUID(int=number)),
        "owner": "admin",
        "name": f"vm{number}",
        "specs": specs,
        "image": "image",
        "requested": requested,
        "generation": generation,
        "created_at": EARLIER + timedelta(seconds=number),
        **changes,
    }
    return VmRequest.model_validate(values)


def make_dead(name: str = "h1", **changes: object) -> Host:
    """A host that was found dead."""
    values: dict[str, object] = {"is_alive": False, "verdict": Judged(Sentence.DEAD, 40), **changes}
    return make_host(name, **values)  # type: ignore[arg-type]


def make_placement(request: VmRequest, epoch: int = 1) -> Placement:
    """The order that answers `request`."""
    return Placement(epoch=epoch, generation=request.generation, request=request, placed_at=EARLIER)


def make_status(epoch: int, actual: Actual, generation: int = 1, reason: str = "") -> BriefStatus:
    """A status of an hour ago."""
    return BriefStatus(epoch=epoch, generation=generation, actual=actual, reason=reason, since=EARLIER)


def make_vm(
    request: VmRequest | None,
    placed: dict[str, Placement | None] | None = None,
    reported: dict[str, BriefStatus | None] | None = None,
    reason: str | None = None,
    is_malformed: bool = False,
) -> Vm:
    """A VM; a placement or status that is None can't be read."""
    return Vm(
        uuid=request.uuid if request else str(UUID(int=1)),
        request=request,
        revision=10,
        is_malformed=is_malformed,
        placements={host: Placed(record, 20) for host, record in (placed or {}).items()},
        statuses={host: Reported(record, 30) for host, record in (reported or {}).items()},
        pending=None if reason is None else make_status(0, Actual.PENDING, reason=reason),
    )


def make_snapshot(
    vms: list[Vm], hosts: list[Host], used_mib: dict[str, int] | None = None, keeps_spare: bool = False
) -> Snapshot:
    """These VMs and hosts."""
    by_name = {host.name: host for host in hosts}
    ranks = Ranks()
    ranks.change([(None, host) for host in hosts])
    groups = GroupIndex()
    for vm in vms:
        for host, placed in vm.placements.items():
            groups.set(host, vm.uuid, placed.record.request if placed.record else None)
    return Snapshot(
        tuple(vms),
        by_name,
        used_mib or {},
        ranks.open,
        ranks.closed,
        groups.members,
        has_tenants=bool(ranks.with_tenants),
        keeps_spare=keeps_spare,
    )

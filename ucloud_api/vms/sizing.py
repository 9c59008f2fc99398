"""What is said of a VM's sizes, made into its specs: at its creation, and by a change of the disks that it has.

Each function that changes specs takes those that are and returns the new ones, or raises an ApiProblem.
"""

from collections.abc import Mapping

from common.schemas.disk import HDD, MOST_DISKS, ROOT, DiskKind, DiskSpec, new_serial, sum_mib
from common.schemas.image import Firmware
from common.schemas.size import human_size
from common.schemas.vm import Specs
from ucloud_api import models
from ucloud_api.problems import ApiProblem, FieldProblem, not_found


def specs_of(wanted: models.SpecsIn, firmware: Firmware = Firmware.BIOS) -> Specs:
    """The specs of a new VM. Its root disk and its first HDD are called as hosts of earlier versions call them."""
    sizes = [(DiskKind.SSD, size_mib) for size_mib in wanted.ssd] + [
        (DiskKind.HDD, size_mib) for size_mib in wanted.hdd
    ]
    disks: list[DiskSpec] = []
    for kind, size_mib in sizes:
        taken = {disk.serial for disk in disks}
        known = {DiskKind.SSD: ROOT, DiskKind.HDD: HDD}[kind]
        serial = new_serial(taken) if known in taken else known
        disks.append(DiskSpec(kind=kind, size_mib=size_mib, serial=serial))
    return Specs(cpu=wanted.cpu, ram_mib=wanted.ram, disks=tuple(disks), firmware=firmware)


def resized(specs: Specs, sizes: Mapping[str, int]) -> Specs:
    """Specs with other `cpu`, `ram_mib`, `ssd_mib`, `hdd_mib`; 422 where a disk is to shrink, or which one is not said.

    An HDD for a VM that has none is added.
    """
    problems: list[FieldProblem] = []
    disks = specs.disks
    for kind in DiskKind:
        wanted_mib = sizes.get(f"{kind}_mib")
        of_kind = [disk for disk in disks if disk.kind is kind]
        if wanted_mib is None or wanted_mib == sum_mib(of_kind, kind):
            continue
        if not of_kind:
            disks = _with(disks, kind, wanted_mib)
        elif len(of_kind) > 1:
            which = f"{', '.join(disk.serial for disk in of_kind)}: each is changed for itself"
            problems.append(FieldProblem(field=f"specs.{kind}", problem="has several disks", allowed=which))
        elif wanted_mib < of_kind[0].size_mib:
            problems.append(_shrinks(f"specs.{kind}", of_kind[0]))
        else:
            disks = _grown(disks, of_kind[0].serial, wanted_mib)
    if problems:
        raise _invalid(problems)
    others = {field: value for field, value in sizes.items() if field in ("cpu", "ram_mib")}
    return specs.model_copy(update={**others, "disks": disks})


def with_disk(specs: Specs, kind: DiskKind, size_mib: int) -> Specs:
    """Specs with a disk more, the last one; 409 where there are as many as there may be."""
    if len(specs.disks) >= MOST_DISKS:
        raise ApiProblem(409, "too-many-disks", f"it has {MOST_DISKS} disks, which is the most for a VM")
    return specs.model_copy(update={"disks": _with(specs.disks, kind, size_mib)})


def with_larger_disk(specs: Specs, serial: str, size_mib: int) -> Specs:
    """Specs with a disk that is larger; 404, or 422 where it would shrink."""
    disk = _find(specs, serial)
    if size_mib < disk.size_mib:
        raise _invalid([_shrinks("size", disk)])
    return specs.model_copy(update={"disks": _grown(specs.disks, serial, size_mib)})


def without_disk(specs: Specs, serial: str) -> Specs:
    """Specs without a disk; 404, or 409 where that is the root disk."""
    if _find(specs, serial).serial == ROOT:
        raise ApiProblem(409, "root-disk", "the root disk goes only with its VM")
    return specs.model_copy(update={"disks": tuple(disk for disk in specs.disks if disk.serial != serial)})


def _find(specs: Specs, serial: str) -> DiskSpec:
    for disk in specs.disks:
        if disk.serial == serial:
            return disk
    raise not_found("disk", serial)


def _with(disks: tuple[DiskSpec, ...], kind: DiskKind, size_mib: int) -> tuple[DiskSpec, ...]:
    serial = new_serial(disk.serial for disk in disks)
    return (*disks, DiskSpec(kind=kind, size_mib=size_mib, serial=serial))


def _grown(disks: tuple[DiskSpec, ...], serial: str, size_mib: int) -> tuple[DiskSpec, ...]:
    return tuple(disk.model_copy(update={"size_mib": size_mib}) if disk.serial == serial else disk for disk in disks)


def _shrinks(field: str, disk: DiskSpec) -> FieldProblem:
    """A disk that would be cut off."""
    return FieldProblem(
        field=field,
        problem="is smaller than the disk, and disks only grow",
        allowed=f"at least {human_size(disk.size_mib)}",
    )


def _invalid(problems: list[FieldProblem]) -> ApiProblem:
    detail = "; ".join(f"{each.field} {each.problem}: {each.allowed}" for each in problems)
    return ApiProblem(422, "invalid-fields", detail, problems)

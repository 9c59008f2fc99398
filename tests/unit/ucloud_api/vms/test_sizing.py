"""What is said of disks, made into the list of them: which are called what, what is refused."""

from collections.abc import Callable

import pytest

from common.schemas.disk import MOST_DISKS, DiskKind
from common.schemas.vm import Specs
from ucloud_api import models
from ucloud_api.problems import ApiProblem
from ucloud_api.vms.sizing import resized, specs_of, with_disk, with_larger_disk, without_disk

ONE = Specs.of(cpu=1, ram_mib=64, ssd_mib=1024)
TWO = Specs.of(cpu=1, ram_mib=64, ssd_mib=1024, hdd_mib=2048)


def refusal(act: Callable[[], Specs]) -> ApiProblem:
    with pytest.raises(ApiProblem) as caught:
        act()
    return caught.value


def test_a_new_vm_has_its_disks_in_the_order_in_which_they_were_said() -> None:
    specs = specs_of(models.SpecsIn.model_validate({"cpu": 2, "ram": 1, "ssd": [1, "2GiB"], "hdd": [3, 4]}))
    assert [(disk.kind, disk.size_mib) for disk in specs.disks] == [
        ("ssd", 1024), ("ssd", 2048), ("hdd", 3072), ("hdd", 4096),
    ]  # fmt: skip
    serials = [disk.serial for disk in specs.disks]
    assert (serials[0], serials[2]) == ("root", "hdd")
    assert len(set(serials)) == 4
    assert (specs.ssd_mib, specs.hdd_mib) == (3072, 7168)


def test_sizes_alone_make_what_they_always_made() -> None:
    for hdd_mib, body in ((0, {}), (0, {"hdd": 0}), (512, {"hdd": "512MiB"})):
        wanted = models.SpecsIn.model_validate({"cpu": 1, "ram": "64MiB", "ssd": 1, **body})
        assert specs_of(wanted) == Specs.of(1, 64, 1024, hdd_mib)


def test_a_disk_more_is_the_last_one_and_never_called_as_another_was() -> None:
    specs = with_disk(without_disk(TWO, "hdd"), DiskKind.HDD, 8)
    assert specs.disks[0] == TWO.disks[0]
    assert specs.disks[1].serial not in ("root", "hdd")
    while len(specs.disks) < MOST_DISKS:
        specs = with_disk(specs, DiskKind.SSD, 8)
    assert Specs.model_validate(specs.model_dump()) == specs
    problem = refusal(lambda: with_disk(specs, DiskKind.SSD, 8)).problem
    assert (problem.status, problem.type) == (409, "urn:ucloud:problem:too-many-disks")


def test_a_disk_grows_and_never_shrinks() -> None:
    assert with_larger_disk(TWO, "hdd", 4096) == Specs.of(1, 64, 1024, 4096)
    assert with_larger_disk(TWO, "hdd", 2048) == TWO
    (error,) = refusal(lambda: with_larger_disk(TWO, "hdd", 2047)).problem.errors
    assert (error.field, error.allowed) == ("size", "at least 2 GiB")


def test_all_but_the_root_disk_can_go() -> None:
    assert without_disk(TWO, "hdd") == ONE
    problem = refusal(lambda: without_disk(TWO, "root")).problem
    assert (problem.status, problem.type) == (409, "urn:ucloud:problem:root-disk")


def test_a_disk_that_is_not_there_is_not_found() -> None:
    for act in (lambda: without_disk(ONE, "hdd"), lambda: with_larger_disk(ONE, "0ddba115", 9)):
        assert refusal(act).problem.status == 404


def test_a_size_alone_is_that_of_the_only_disk_of_its_kind() -> None:
    assert resized(TWO, {"cpu": 3, "ssd_mib": 2048, "hdd_mib": 2048}) == Specs.of(3, 64, 2048, 2048)
    added = resized(ONE, {"hdd_mib": 512})
    assert (added.hdd_mib, len(added.disks), added.disks[0]) == (512, 2, ONE.disks[0])
    assert resized(ONE, {"hdd_mib": 0}) == ONE
    several = with_disk(TWO, DiskKind.SSD, 1024)
    assert resized(several, {"hdd_mib": 4096}).hdd_mib == 4096
    assert resized(several, {"ssd_mib": 2048}) == several
    (error,) = refusal(lambda: resized(several, {"ssd_mib": 4096})).problem.errors
    assert (error.field, error.problem) == ("specs.ssd", "has several disks")
    assert several.disks[2].serial in str(error.allowed)

"""Disks in records: those of earlier versions, lists and sums that can't disagree, serials."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from common.schemas.disk import MOST_DISKS, DiskKind, DiskSpec, new_serial, sum_mib
from common.schemas.vm import Specs

ROOT = {"kind": "ssd", "size_mib": 1024, "serial": "root"}
HDD = {"kind": "hdd", "size_mib": 8, "serial": "hdd"}


@pytest.mark.parametrize(("hdd", "disks"), [({}, [ROOT]), ({"hdd_mib": 0}, [ROOT]), ({"hdd_mib": 8}, [ROOT, HDD])])
def test_a_record_without_a_list_has_the_disks_that_its_sizes_meant(hdd: dict[str, int], disks: list[object]) -> None:
    specs = Specs.model_validate_json(json.dumps({"cpu": 1, "ram_mib": 64, "ssd_mib": 1024, **hdd}))
    assert [disk.model_dump() for disk in specs.disks] == disks
    assert (specs.ssd_mib, specs.hdd_mib) == (1024, hdd.get("hdd_mib", 0))


def test_hosts_of_earlier_versions_find_the_sums_in_a_record() -> None:
    specs = Specs(
        cpu=1, ram_mib=64, disks=tuple(map(DiskSpec.model_validate, (ROOT, HDD, {**ROOT, "serial": "a" * 8})))
    )
    written = json.loads(specs.model_dump_json())
    assert (written["ssd_mib"], written["hdd_mib"]) == (2048, 8)


def test_a_list_holds_whatever_the_sums_beside_it_say() -> None:
    specs = Specs.model_validate({"cpu": 1, "ram_mib": 64, "ssd_mib": 7, "hdd_mib": 7, "disks": [ROOT]})
    assert (specs.ssd_mib, specs.hdd_mib) == (1024, 0)
    assert specs.model_copy(update={"ssd_mib": 7}).ssd_mib == 1024


@pytest.mark.parametrize(
    "disks",
    [
        [],
        [HDD],
        [{**ROOT, "kind": "hdd"}],
        [ROOT, ROOT],
        [HDD, ROOT],
        [{**ROOT, "size_mib": 0}],
        [ROOT, {**HDD, "serial": "../x"}],
        [ROOT, {**HDD, "serial": "hdd\n"}],
        [ROOT, *({**HDD, "serial": f"{n:08x}"} for n in range(MOST_DISKS))],
    ],
)
def test_what_is_no_list_of_disks_is_refused(disks: list[object]) -> None:
    with pytest.raises(ValidationError):
        Specs.model_validate({"cpu": 1, "ram_mib": 64, "disks": disks})


def test_a_serial_is_none_that_is_taken() -> None:
    taken = {new_serial(()) for _ in range(99)}
    assert new_serial(taken) not in taken
    assert DiskSpec(kind=DiskKind.SSD, size_mib=1, serial=new_serial(taken)).size_mib == 1


@given(st.lists(st.tuples(st.sampled_from(DiskKind), st.integers(1, 99)), max_size=7))
def test_the_sums_are_those_of_the_list_and_come_back_as_they_were_written(more: list[tuple[DiskKind, int]]) -> None:
    disks = [DiskSpec.model_validate(ROOT)]
    disks += [DiskSpec(kind=kind, size_mib=size, serial=f"{n:08x}") for n, (kind, size) in enumerate(more)]
    specs = Specs(cpu=1, ram_mib=64, disks=tuple(disks))
    assert specs.ssd_mib + specs.hdd_mib == sum(disk.size_mib for disk in disks)
    assert specs.hdd_mib == sum_mib(disks, DiskKind.HDD)
    assert Specs.model_validate_json(specs.model_dump_json()) == specs

"""Registration of a host: measured on this machine, written to a real etcd."""

import os
from pathlib import Path

import pytest

from common import keys
from common.events import EventLog
from common.schemas.event import EventRecord
from common.schemas.host import HostStatus
from common.settings import HostSettings, StorageSettings
from common.storage.directory import DirectoryStore
from common.store import Put, Store, absent, present
from ucloud_host.measure import measure
from ucloud_host.register import Registration


def _measured(directory: Path, reserved_ram_mib: int = 1024) -> HostStatus:
    disks = DirectoryStore(StorageSettings(ssd_directory=directory))
    settings = HostSettings(name="h1", reserved_ram_mib=reserved_ram_mib)
    return measure(settings, disks, image_store="fast", moves_live=True)


def test_what_is_measured_is_what_the_machine_has(tmp_path: Path) -> None:
    measured = _measured(tmp_path)
    memory_kib = next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert measured.ram_mib == pytest.approx(int(memory_kib) // 1024 - 1024, abs=1)
    assert measured.cpu == len(os.sched_getaffinity(0))
    disk = os.statvfs(tmp_path)
    assert measured.ssd is not None
    assert measured.ssd.total_mib == disk.f_blocks * disk.f_frsize // 2**20
    assert measured.hdd is None
    assert "QEMU emulator version" in measured.versions["qemu"]
    assert not any(address.startswith(("127.", "::1", "fe80")) for address in measured.addresses)


def test_hosts_that_share_a_store_name_the_same_one(tmp_path: Path) -> None:
    one, other, alone = (_measured(tmp_path / name) for name in ("shared", "shared", "own"))
    assert one.ssd == other.ssd
    assert one.ssd != alone.ssd


def test_a_host_that_reserves_more_than_it_has_offers_nothing(tmp_path: Path) -> None:
    assert _measured(tmp_path, reserved_ram_mib=10**9).ram_mib == 0


def test_it_is_written_once_and_again_when_it_changes_or_was_broken(store: Store, tmp_path: Path) -> None:
    measured = _measured(tmp_path)
    registration = Registration(store, lambda: measured, EventLog(store, "h1", 3600))
    key = keys.host_status("h1")

    def revision() -> int:
        entry = store.get(key)
        assert entry is not None
        assert HostStatus.read(key, entry.value).name == "h1"
        return entry.mod_revision

    registration.register(measured)
    first = revision()
    registration.register(measured)
    assert revision() == first
    registration.register(measured.model_copy(update={"ram_mib": 1}))
    second = revision()
    assert second > first
    store.commit([present(key)], [Put(key, b"[]")])
    registration.register(measured)
    assert revision() > second


def test_the_word_of_the_admin_is_left_alone(store: Store, tmp_path: Path) -> None:
    measured = _measured(tmp_path)
    store.commit([absent(keys.host("h1"))], [Put(keys.host("h1"), b"the admin's word")])
    Registration(store, lambda: measured, EventLog(store, "h1", 3600)).register(measured)
    entry = store.get(keys.host("h1"))
    assert entry is not None
    assert entry.value == b"the admin's word"


def test_what_is_new_is_told(store: Store, tmp_path: Path) -> None:
    measured = _measured(tmp_path)
    registration = Registration(store, lambda: measured, EventLog(store, "h1", 3600))
    for each in (
        measured,
        measured,
        measured.model_copy(update={"cpu": 99}),
        measured.model_copy(update={"boot_id": "x"}),
    ):
        registration.register(each)
    entries = store.list(keys.events("h1", "host", "h1")).entries
    told = [EventRecord.read(entry.key, entry.value).what for entry in entries]
    assert told == ["registered", "has changed: cpu", "booted"]

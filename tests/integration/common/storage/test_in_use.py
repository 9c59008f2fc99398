"""Whether a disk is in use, as QEMU itself sees it: qemu-img refuses what another QEMU writes to."""

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.settings import StorageSettings
from common.storage.directory import DirectoryStore
from devcloud.waiting import wait_for
from tests.integration.common.storage.disks import sized, stage

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
IMAGE = "00000000-0000-4000-8000-00000000001a"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """A store with a VM that has two disks."""
    store = DirectoryStore(StorageSettings(ssd_directory=tmp_path / "ssd", hdd_directory=tmp_path / "hdd"))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "ssd/i"), "1M"], check=True)
    store.publish(IMAGE, stage(store, IMAGE, tmp_path / "ssd/i"))
    store.create(VM, IMAGE, sized(2, 2))
    return store


@contextmanager
def opened(path: Path, *options: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A QEMU that has an image open."""
    command = ["qemu-io", *options, "-f", "qcow2", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"length\n")
        process.stdin.flush()
        process.stdout.readline()
        yield process
        process.kill()


def refused(path: Path) -> bool:
    """Whether QEMU says that another one writes to an image."""
    done = subprocess.run(["qemu-img", "info", str(path)], capture_output=True, text=True, check=False)
    return done.returncode != 0 and "lock" in done.stderr


@pytest.mark.parametrize("disk", ["ssd", "hdd"])
def test_a_disk_is_in_use_while_qemu_has_it_open(store: DirectoryStore, tmp_path: Path, disk: str) -> None:
    (path,) = (tmp_path / disk / "vms" / VM).glob("*.qcow2")
    assert (store.is_in_use(VM), refused(path)) == (False, False)
    with opened(path) as process:
        assert (store.is_in_use(VM), refused(path)) == (True, True)
        process.kill()
        wait_for("the lock to go", lambda: store.is_in_use(VM) is False, 20)
    assert not refused(path)


def test_one_who_only_reads_is_a_user_as_well(store: DirectoryStore, tmp_path: Path) -> None:
    with opened(tmp_path / "ssd/vms" / VM / "root.qcow2", "-r"):
        assert store.is_in_use(VM) is True


def test_another_vm_of_the_same_image_is_none(store: DirectoryStore, tmp_path: Path) -> None:
    other = str(uuid.uuid4())
    store.create(other, IMAGE, sized(2))
    with opened(tmp_path / "ssd/vms" / other / "root.qcow2"):
        assert store.is_in_use(VM) is False


def test_a_vm_without_disks_uses_none(store: DirectoryStore) -> None:
    assert store.is_in_use(str(uuid.uuid4())) is False


def test_of_a_store_that_is_away_nothing_can_be_told(store: DirectoryStore, tmp_path: Path) -> None:
    (tmp_path / "ssd").rename(tmp_path / "away")
    assert store.is_in_use(VM) is None

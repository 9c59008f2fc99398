"""Snapshots in every store: taken, removed, rolled back to, made images of; also by processes that are killed."""

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common.errors import PermanentError, TemporaryError
from common.settings import StorageSettings
from common.storage import Disk, FileDisk, Layers, Store
from common.storage.choice import open_store
from common.storage.rbd import RbdStore
from devcloud.waiting import wait_for
from tests.integration.common.storage import disks
from tests.integration.common.storage.disks import (
    IMAGE,
    OTHER_IMAGE,
    VM,
    file_of,
    holds,
    opened,
    qemu_io,
    root,
    sized,
)

ONE, TWO = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
BOTH = ("root", "hdd")


@pytest.fixture(params=["directory", "rbd"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> StorageSettings:
    """Of each store."""
    if request.param == "rbd":
        found: StorageSettings = request.getfixturevalue("rbd_settings")
        return found
    return StorageSettings(ssd_directory=tmp_path / "ssd", hdd_directory=tmp_path / "hdd")


@pytest.fixture
def store(settings: StorageSettings, tmp_path: Path) -> Iterator[Store]:
    """A store with a VM that has two disks, of 100 and 8 MiB, whose first 64 KiB are 1."""
    store = open_store(settings)
    disks.import_image(store, tmp_path)
    store.create(VM, IMAGE, sized(100, 8))
    write(store, 1)
    yield store
    # The last call of a process that a test has killed may still be at a disk.
    wait_for("the end of the VMs", lambda: _are_removed(store), 60)
    for image in store.templates():
        store.remove_template(image)


def _are_removed(store: Store) -> bool:
    try:
        for vm in store.vms():
            store.remove(vm)
    except TemporaryError:
        return False
    return True


def write(store: Store, pattern: int, place: str = "0 64k") -> None:
    """Fill a part of both disks."""
    for serial in BOTH:
        qemu_io(store.disks(VM).whole[serial], f"write -P {pattern} {place}")


def hold(store: Store, pattern: int) -> bool:
    """Whether both disks begin with it."""
    return all(holds(store.disks(VM).whole[serial], pattern) for serial in BOTH)


def of(store: Store) -> dict[str, set[str]]:
    """The snapshots of each disk."""
    return {serial: set(disk.snapshots) for serial, disk in store.disks(VM).whole.items()}


def test_a_snapshot_is_of_the_disks_that_it_is_taken_of(store: Store) -> None:
    assert of(store) == {"root": set(), "hdd": set()}
    store.take_snapshot(VM, ONE, BOTH)
    store.take_snapshot(VM, TWO, ("root",))
    assert of(store) == {"root": {ONE, TWO}, "hdd": {ONE}}
    now = datetime.now(UTC)
    for disk in store.disks(VM).whole.values():
        assert all(abs(now - taken_at) < timedelta(seconds=60) for taken_at in disk.snapshots.values())
    for _ in range(2):
        store.remove_snapshot(VM, ONE)
        assert of(store) == {"root": {TWO}, "hdd": set()}


def test_what_is_written_after_it_goes_by_a_roll_back_and_nothing_else_does(store: Store) -> None:
    store.take_snapshot(VM, ONE, BOTH)
    write(store, 2)
    write(store, 2, "1M 64k")
    store.take_snapshot(VM, TWO, BOTH)
    write(store, 3)
    assert store.disks(VM).rolled_back == 0
    store.roll_back(VM, ONE, BOTH, 1)
    assert hold(store, 1)
    assert "Pattern verification failed" not in qemu_io(root(store), "read -P 0 1M 64k")
    assert store.disks(VM).rolled_back == 1
    # Later snapshots stay, and can be rolled back to in turn.
    assert of(store) == {"root": {ONE, TWO}, "hdd": {ONE, TWO}}
    write(store, 4)
    store.roll_back(VM, TWO, BOTH, 2)
    assert hold(store, 2)
    assert "Pattern verification failed" not in qemu_io(root(store), "read -P 2 1M 64k")


def test_a_roll_back_is_done_once_whoever_asks(store: Store, settings: StorageSettings) -> None:
    store.take_snapshot(VM, ONE, BOTH)
    write(store, 2)
    store.roll_back(VM, ONE, BOTH, 7)
    write(store, 3)
    # Another host, which knows nothing but what is in the store.
    other = open_store(settings)
    assert other.disks(VM).rolled_back == 7
    for number in (7, 3):
        other.roll_back(VM, ONE, BOTH, number)
    assert hold(store, 3)
    other.roll_back(VM, ONE, BOTH, 8)
    assert hold(store, 1)


def test_only_the_disks_of_a_snapshot_are_rolled_back(store: Store) -> None:
    store.take_snapshot(VM, ONE, ("root",))
    write(store, 2)
    store.roll_back(VM, ONE, ("root",), 1)
    whole = store.disks(VM).whole
    assert holds(whole["root"], 1)
    assert holds(whole["hdd"], 2)


def test_a_disk_that_has_no_such_snapshot_stops_a_roll_back_before_it_begins(store: Store) -> None:
    store.take_snapshot(VM, ONE, ("root",))
    write(store, 2)
    for snapshot in (ONE, TWO):
        with pytest.raises(PermanentError, match="gone from the store"):
            store.roll_back(VM, snapshot, BOTH, 1)
    assert hold(store, 2)
    assert store.disks(VM).rolled_back == 0


def test_disks_with_snapshots_grow_and_are_rolled_back_to_what_they_were(store: Store) -> None:
    store.take_snapshot(VM, ONE, BOTH)
    store.grow(VM, sized(200, 16))
    write(store, 2)
    write(store, 2, "12M 64k")
    store.take_snapshot(VM, TWO, BOTH)
    store.roll_back(VM, ONE, BOTH, 1)
    assert {serial: disk.size_mib for serial, disk in store.disks(VM).whole.items()} == {"root": 100, "hdd": 8}
    assert hold(store, 1)
    store.roll_back(VM, TWO, BOTH, 2)
    assert {serial: disk.size_mib for serial, disk in store.disks(VM).whole.items()} == {"root": 200, "hdd": 16}
    assert hold(store, 2)
    for serial in BOTH:
        assert "failed" not in qemu_io(store.disks(VM).whole[serial], "read -P 2 12M 64k")
    store.roll_back(VM, ONE, BOTH, 3)
    store.grow(VM, sized(200, 16))
    assert {serial: disk.size_mib for serial, disk in store.disks(VM).whole.items()} == {"root": 200, "hdd": 16}
    # What it grows by is empty, whatever was there once.
    assert "failed" not in qemu_io(store.disks(VM).whole["hdd"], "read -P 0 12M 64k")


def test_with_its_vm_all_goes(store: Store) -> None:
    store.take_snapshot(VM, ONE, BOTH)
    write(store, 2)
    store.take_snapshot(VM, TWO, BOTH)
    store.roll_back(VM, ONE, BOTH, 1)
    store.remove(VM)
    assert not store.disks(VM).leftovers
    assert store.disks(VM).rolled_back == 0
    assert store.vms() == frozenset()
    store.remove_template(IMAGE)


def test_snapshots_that_others_made_are_left_alone(store: Store) -> None:
    disk = root(store)
    if isinstance(disk, FileDisk):
        subprocess.run(["qemu-img", "snapshot", "-c", "by-hand", str(disk.path)], check=True)
    else:
        where = f"{disk.pool}/{disk.image}@by-hand"
        command = ["rbd", "--conf", str(disk.conf), "--id", disk.client]
        keyring = disk.conf.parent / f"ceph.client.{disk.client}.keyring"
        subprocess.run([*command, *(["--keyring", str(keyring)] if keyring.exists() else []), "snap", "create", where],
                       check=True, capture_output=True)  # fmt: skip
    store.take_snapshot(VM, ONE, BOTH)
    assert of(store) == {"root": {ONE}, "hdd": {ONE}}
    store.remove_snapshot(VM, ONE)
    store.remove(VM)
    assert store.vms() == frozenset()


def test_a_guest_that_has_a_file_keeps_qemu_img_out(tmp_path: Path) -> None:
    store = open_store(StorageSettings(ssd_directory=tmp_path / "ssd", hdd_directory=tmp_path / "hdd"))
    disks.import_image(store, tmp_path)
    store.create(VM, IMAGE, sized(64))
    store.take_snapshot(VM, ONE, ("root",))
    with opened(root(store)):
        # They are read all the same.
        assert of(store) == {"root": {ONE}}
        with pytest.raises(TemporaryError, match="lock"):
            store.take_snapshot(VM, TWO, ("root",))
        with pytest.raises(TemporaryError, match="lock"):
            store.remove_snapshot(VM, ONE)
        with pytest.raises(TemporaryError, match="lock"):
            store.roll_back(VM, ONE, ("root",), 1)
    assert of(store) == {"root": {ONE}}
    assert store.disks(VM).rolled_back == 0


def test_a_guest_that_has_an_image_has_snapshots_taken_of_it_and_writes_on(
    rbd_settings: StorageSettings, tmp_path: Path
) -> None:
    """The cluster lets nobody else do it while the guest's QEMU holds the lock: that is asked to, and does it."""
    store = open_store(rbd_settings)
    disks.import_image(store, tmp_path)
    store.create(VM, IMAGE, sized(64, 8))
    with opened(root(store)) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None

        def ask(command: str, answer: str) -> None:
            assert guest.stdin is not None
            assert guest.stdout is not None
            guest.stdin.write(f"{command}\n")
            guest.stdin.flush()
            while answer not in guest.stdout.readline():
                pass

        ask("write -P 1 0 64k", "wrote")
        began_s = time.monotonic()
        store.take_snapshot(VM, ONE, BOTH)
        took_s = time.monotonic() - began_s
        ask("write -P 2 0 64k", "wrote")
        store.take_snapshot(VM, TWO, BOTH)
        store.remove_snapshot(VM, TWO)
        ask("read -P 2 0 64k", "read")
        guest.communicate("quit\n")
    assert of(store) == {"root": {ONE}, "hdd": {ONE}}
    assert took_s < 5
    store.expel(VM)
    store.roll_back(VM, ONE, BOTH, 1)
    assert holds(root(store), 1)
    store.remove(VM)
    store.remove_template(IMAGE)


# --- images -----------------------------------------------------------------------------------------------------------


def convert(layers: Layers, target: Path) -> None:
    """What the image daemon does in its sandbox."""
    options = f"driver=qcow2,file.filename={layers.disk},backing.driver=qcow2,backing.file.filename={layers.template}"
    source = ["-U", "-l", f"snapshot.name={ONE}", "--image-opts", options]
    subprocess.run(["qemu-img", "convert", *source, "-O", "qcow2", str(target)], check=True)


def test_an_image_of_a_snapshot_rests_on_nothing_of_its_vm(store: Store, tmp_path: Path) -> None:
    store.take_snapshot(VM, ONE, BOTH)
    store.grow(VM, sized(200, 8))
    write(store, 2)
    told: list[int] = []
    with opened(root(store)):  # its guest is on
        staged = store.stage_snapshot(OTHER_IMAGE, VM, ONE, convert, told.append)
    # As large as it was, though the disk has grown.
    assert staged.size_mib == 100
    assert store.drafts() == {OTHER_IMAGE: {staged.draft}}
    store.remove_snapshot(VM, ONE)
    store.publish(OTHER_IMAGE, staged.draft)
    store.remove(VM)
    store.remove_template(IMAGE)
    other = str(uuid.uuid4())
    store.create(other, OTHER_IMAGE, sized(128))
    assert holds(root(store, other), 1)
    assert of(store) == {}
    assert root(store, other).snapshots == {}
    assert all(0 <= percent <= 100 for percent in told)


def test_of_a_snapshot_that_is_not_there_no_image_is_made(store: Store, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="gone from the store"):
        store.stage_snapshot(OTHER_IMAGE, VM, ONE, convert, lambda _: None)
    with pytest.raises(PermanentError, match="gone from the store"):
        store.stage_snapshot(OTHER_IMAGE, OTHER_IMAGE, ONE, convert, lambda _: None)
    store.drop_drafts(OTHER_IMAGE)
    assert store.drafts() == {}


# --- killed -----------------------------------------------------------------------------------------------------------

_ROLL_BACK = """
import sys
from common.settings import StorageSettings
from common.storage.choice import open_store
store = open_store(StorageSettings.model_validate_json(sys.argv[1]))
store.disks(sys.argv[2])
print("go", flush=True)
store.roll_back(sys.argv[2], sys.argv[3], ("root",), int(sys.argv[4]))
"""


def test_a_roll_back_that_is_killed_is_done_anew_and_leaves_nothing_of_what_was(
    store: Store, settings: StorageSettings
) -> None:
    """The disk has objects and clusters before and after that the snapshot has not, and the other way round."""
    disk = root(store)
    for at in range(0, 96, 8):
        qemu_io(disk, f"write -P 7 {at}M 1M", f"write -P 7 {at + 4}M 64k")
    store.take_snapshot(VM, ONE, ("root",))
    interrupted = 0
    for attempt in range(6):
        for at in range(2, 96, 4):
            qemu_io(disk, f"write -P {attempt + 10} {at}M 1M", f"discard {at - 2}M 1M")
        arguments = [settings.model_dump_json(), VM, ONE, str(attempt + 1)]
        with subprocess.Popen([sys.executable, "-c", _ROLL_BACK, *arguments], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            threading.Event().wait((0, 0.003, 0.01, 0.03, 0.1, 0.2)[attempt])
            process.kill()
        interrupted += store.disks(VM).rolled_back != attempt + 1
        # The qemu-img of the process that was killed may still be at it.
        wait_for("a roll-back", lambda number=attempt + 1: _rolled_back(store, number), 60)  # type: ignore[misc]
        expected = [f"read -P 7 {at}M 1M" for at in range(0, 96, 8)]
        expected += [f"read -P 0 {at + 1}M 3M" for at in range(0, 96, 8)]
        expected += [f"read -P 7 {at + 4}M 64k" for at in range(0, 96, 8)]
        # What is written into what was not there brings nothing back that once was beside it.
        expected += ["write -P 1 6M 4k", "read -P 0 6148k 1020k", "discard 6M 64k"]
        said = wait_for("nobody else to have it open", lambda commands=expected: _said(disk, *commands), 30)  # type: ignore[misc]
        assert "failed" not in said, said
        _check(store)
    assert interrupted, "they were all too fast to be killed"


def test_what_a_roll_back_was_killed_before_it_reached_does_not_come_back(
    rbd_settings: StorageSettings, tmp_path: Path
) -> None:
    """Objects that the snapshot has not: they go, so that what is written into them anew has nothing old beside it."""
    store = RbdStore(rbd_settings)
    disks.import_image(store, tmp_path)
    store.create(VM, IMAGE, sized(1024))
    store.take_snapshot(VM, ONE, ("root",))
    objects, interrupted = range(4, 1024, 4), 0
    for attempt in range(6):
        qemu_io(root(store), *(f"write -P 9 {at}M 8k" for at in objects))
        arguments = [rbd_settings.model_dump_json(), VM, ONE, str(attempt + 1)]
        with subprocess.Popen([sys.executable, "-c", _ROLL_BACK, *arguments], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            noted = f"{attempt} begun"
            wait_for("its beginning", lambda noted=noted: store._snapshots._noted(VM) == noted, 20, 0.01)  # type: ignore[misc]
            threading.Event().wait(0.02 * attempt)
            process.kill()
        interrupted += store.disks(VM).rolled_back != attempt + 1
        wait_for("a roll-back", lambda number=attempt + 1: _rolled_back(store, number), 60)  # type: ignore[misc]
        written = (f"write -P 1 {at}M 4k" for at in objects)
        said = qemu_io(root(store), *written, *(f"read -P 0 {1024 * at + 4}k 4k" for at in objects))
        assert "failed" not in said, said
    assert interrupted, "they were all too fast to be killed"
    store.remove(VM)
    store.remove_template(IMAGE)


def _rolled_back(store: Store, number: int) -> bool:
    try:
        store.expel(VM)
        store.roll_back(VM, ONE, ("root",), number)
    except TemporaryError:
        return False
    return True


def _said(disk: Disk, *commands: str) -> str | None:
    """What qemu-io says; None while somebody else has the disk open, as a process may that was left by a killed one."""
    try:
        return qemu_io(disk, *commands)
    except AssertionError as error:
        if "lock" not in str(error):
            raise
        return None


def _check(store: Store) -> None:
    """That a file has neither errors nor leaks."""
    disk = root(store)
    if isinstance(disk, FileDisk):
        subprocess.run(["qemu-img", "check", "-q", str(file_of(disk))], check=True)

"""What every store must do, with the real qemu-img. A new store is a new entry of `stores`."""

import subprocess
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from common.errors import PermanentError, TemporaryError
from common.settings import StorageSettings
from common.storage import DiskStore, ImageStore, VmDisks
from common.storage.directory import DirectoryStore

IMAGE = "00000000-0000-4000-8000-00000000001a"
OTHER_IMAGE = "00000000-0000-4000-8000-00000000001b"
VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"


class AnyStore(ImageStore, DiskStore, Protocol):
    """Every store so far is both."""


def _directory(tmp_path: Path) -> AnyStore:
    return DirectoryStore(StorageSettings(ssd_directory=tmp_path / "ssd", hdd_directory=tmp_path / "hdd"))


stores: list[Callable[[Path], AnyStore]] = [_directory]


@pytest.fixture(params=stores)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> AnyStore:
    made: AnyStore = request.param(tmp_path)
    return made


def qemu_io(path: Path, *commands: str) -> str:
    options = [word for command in commands for word in ("-c", command)]
    return subprocess.run(
        ["qemu-io", "-f", "qcow2", *options, str(path)], check=True, capture_output=True, text=True
    ).stdout


def import_image(store: ImageStore, image: str = IMAGE, size_mib: int = 64, pattern: int = 0xAB) -> None:
    """A template whose first 64 KiB are filled with `pattern`."""
    prepared = store.staging(image)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(prepared), f"{size_mib}M"], check=True)
    qemu_io(prepared, f"write -P {pattern} 0 64k")
    store.import_template(image, prepared)


def root(store: DiskStore, vm: str = VM) -> Path:
    disk = store.disks(vm).root
    assert disk is not None
    return disk.path


def sizes(store: DiskStore) -> tuple[int | None, int | None]:
    disks = store.disks(VM)
    return disks.root.size_mib if disks.root else None, disks.hdd.size_mib if disks.hdd else None


def check_image(path: Path) -> None:
    subprocess.run(["qemu-img", "check", "-q", str(path)], check=True)


def holds(path: Path, pattern: int) -> bool:
    return "Pattern verification failed" not in qemu_io(path, f"read -P {pattern} 0 64k")


def test_a_template_appears_at_once_and_goes_again(store: AnyStore) -> None:
    assert (store.templates(), store.has_template(IMAGE)) == (frozenset(), False)
    store.staging(IMAGE).write_bytes(b"half an import")
    assert store.templates() == frozenset()
    store.staging(IMAGE).unlink()
    import_image(store)
    assert store.templates() == {IMAGE}
    assert store.has_template(IMAGE)
    store.staging(IMAGE).write_bytes(b"half of another import")
    store.remove_template(IMAGE)
    assert store.templates() == frozenset()
    assert not store.staging(IMAGE).exists()
    store.remove_template(IMAGE)


def test_a_template_is_whole(store: AnyStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(1024 * 1024))
    backing = ["-F", "raw", "-b", str(tmp_path / "secret")]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(store.staging(IMAGE))], check=True)
    with pytest.raises(PermanentError, match="backing file"):
        store.import_template(IMAGE, store.staging(IMAGE))
    store.staging(IMAGE).write_bytes(b"not a disk")
    with pytest.raises(PermanentError, match="not a qcow2 file"):
        store.import_template(IMAGE, store.staging(IMAGE))
    assert store.templates() == frozenset()


def test_a_root_disk_is_the_image_grown_and_its_own(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=100, hdd_mib=0)
    disks = store.disks(VM)
    assert disks.hdd is None
    assert (
        "virtual size: 100 MiB"
        in subprocess.run(["qemu-img", "info", str(root(store))], check=True, capture_output=True, text=True).stdout
    )
    assert holds(root(store), 0xAB)
    qemu_io(root(store), "write -P 0xcd 0 64k")
    other = str(uuid.uuid4())
    store.create(other, IMAGE, ssd_mib=64, hdd_mib=0)
    assert holds(root(store, other), 0xAB)
    assert holds(root(store), 0xCD)


def test_what_is_there_is_not_made_again(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=0)
    qemu_io(root(store), "write -P 0xcd 0 64k")
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=32)
    assert holds(root(store), 0xCD)
    hdd = store.disks(VM).hdd
    assert hdd is not None
    assert holds(hdd.path, 0)


def test_disks_grow_and_keep_what_they_hold(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=32)
    qemu_io(root(store), "write -P 0xcd 0 64k")
    for _ in range(2):
        store.grow(VM, ssd_mib=100, hdd_mib=48)
        assert sizes(store) == (100, 48)
    assert holds(root(store), 0xCD)
    check_image(root(store))


def test_disks_never_shrink(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=100, hdd_mib=32)
    store.grow(VM, ssd_mib=64, hdd_mib=0)
    assert sizes(store) == (100, 32)
    store.grow(VM, ssd_mib=64, hdd_mib=64)
    assert sizes(store) == (100, 64)


def test_growing_makes_no_disk(store: AnyStore) -> None:
    store.grow(VM, ssd_mib=100, hdd_mib=32)
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=0)
    store.grow(VM, ssd_mib=64, hdd_mib=32)
    assert sizes(store) == (64, None)


def test_no_disk_grows_by_more_than_there_is_room_for(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=32)
    for grow in (store.check_growth, store.grow):
        with pytest.raises(TemporaryError, match=r"can't grow the root disk.*not that much room"):
            grow(VM, ssd_mib=2**30, hdd_mib=32)
        with pytest.raises(TemporaryError, match="can't grow the hdd disk"):
            grow(VM, ssd_mib=65, hdd_mib=2**30)
    assert sizes(store) == (64, 32)


def test_a_disk_in_use_is_not_grown_under_its_guest(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=0)
    guest = ["qemu-io", "-f", "qcow2", str(root(store))]
    with subprocess.Popen(guest, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("length\n")
        process.stdin.flush()
        assert "64 MiB" in process.stdout.readline()
        with pytest.raises(TemporaryError, match="lock"):
            store.grow(VM, ssd_mib=100, hdd_mib=0)
        assert sizes(store) == (64, None)
        process.stdin.write("quit\n")
    store.grow(VM, ssd_mib=100, hdd_mib=0)
    assert sizes(store) == (100, None)


def test_without_its_template_no_disk(store: AnyStore) -> None:
    with pytest.raises(PermanentError, match=f"image {IMAGE} is not in the store"):
        store.create(VM, IMAGE, ssd_mib=64, hdd_mib=0)
    assert store.disks(VM).root is None
    store.remove(VM)


def test_a_disk_smaller_than_its_image_would_cut_it_off(store: AnyStore) -> None:
    import_image(store, size_mib=64)
    with pytest.raises(PermanentError, match=r"takes 64 MiB, the VM's SSD has only 63 MiB"):
        store.create(VM, IMAGE, ssd_mib=63, hdd_mib=0)


def test_a_template_in_use_stays(store: AnyStore) -> None:
    import_image(store)
    import_image(store, OTHER_IMAGE)
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=0)
    with pytest.raises(PermanentError, match=VM):
        store.remove_template(IMAGE)
    assert holds(root(store), 0xAB)
    store.remove_template(OTHER_IMAGE)
    store.remove(VM)
    store.remove_template(IMAGE)
    assert store.templates() == frozenset()


def test_removed_is_removed(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, ssd_mib=64, hdd_mib=32)
    other = str(uuid.uuid4())
    store.create(other, IMAGE, ssd_mib=64, hdd_mib=32)
    assert store.vms() == {VM, other}
    store.remove(VM)
    assert store.vms() == {other}
    assert (store.disks(VM).root, store.disks(VM).hdd, store.disks(VM).leftovers) == (None, None, False)
    assert store.disks(other).root is not None
    store.remove(VM)


@pytest.mark.parametrize("name", ["", "..", "../x", "x/y", VM.upper(), f"{VM}/..", f"{VM}\n"])
def test_names_that_are_no_uuids_reach_no_file(store: AnyStore, name: str) -> None:
    for act in (store.disks, store.remove, store.staging, store.has_template, store.remove_template):
        with pytest.raises(PermanentError, match="uuid"):
            act(name)
    with pytest.raises(PermanentError, match="uuid"):
        store.create(name, IMAGE, 64, 0)


def test_many_clones_at_once_while_the_template_is_to_go(store: AnyStore) -> None:
    """Either the template goes first and there are no clones, or a clone is first and the template stays."""
    import_image(store)
    vms = [str(uuid.uuid4()) for _ in range(8)]
    refused: list[Exception] = []

    def attempt(act: Callable[[], None]) -> None:
        try:
            act()
        except PermanentError as error:
            refused.append(error)

    acts: list[Callable[[], None]] = [lambda vm=vm: store.create(vm, IMAGE, 64, 0) for vm in vms]  # type: ignore[misc]
    acts.insert(4, lambda: store.remove_template(IMAGE))
    threads = [threading.Thread(target=attempt, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clones = [vm for vm in vms if store.disks(vm).root]
    assert store.has_template(IMAGE) or not clones
    assert all(holds(root(store, vm), 0xAB) for vm in clones)
    assert len(refused) == (1 if clones else len(vms))


def test_capacity_has_the_stores_identity(store: AnyStore) -> None:
    capacity = store.capacity()
    assert capacity.hdd is not None
    assert capacity.ssd.total_mib > 0
    assert capacity.ssd.store_id != capacity.hdd.store_id


def test_disks_to_copy_into_are_empty_and_go_again(store: AnyStore) -> None:
    store.prepare_arrival(VM, 64, 8)
    store.prepare_arrival(VM, 64, 8)
    assert sizes(store) == (64, 8)
    assert store.disks(VM).arriving
    # They rest on no template: what comes is whole.
    assert "read 65536/65536" in qemu_io(root(store), "read -P 0 0 64k")
    store.drop_arrival(VM)
    assert store.disks(VM) == VmDisks()
    store.drop_arrival(VM)


def test_disks_that_have_arrived_stay(store: AnyStore) -> None:
    store.prepare_arrival(VM, 64, 8)
    store.keep_arrival(VM)
    assert not store.disks(VM).arriving
    store.drop_arrival(VM)
    assert sizes(store) == (64, 8)


def test_disks_of_a_vm_are_not_taken_for_ones_to_copy_into(store: AnyStore) -> None:
    import_image(store)
    store.create(VM, IMAGE, 64, 8)
    with pytest.raises(PermanentError, match="there are disks of this VM"):
        store.prepare_arrival(VM, 64, 8)
    store.drop_arrival(VM)
    assert sizes(store) == (64, 8)
    assert not store.disks(VM).arriving

"""What every store must do, with the real qemu-img and a real Ceph. A new store is a new parameter of `store`."""

import subprocess
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from common.errors import PermanentError, TemporaryError
from common.schemas.disk import DiskKind, DiskSpec
from common.settings import StorageSettings
from common.storage import DiskStore, FileDisk, Store, Target, VmDisks
from common.storage.choice import open_store
from tests.integration.common.storage import disks
from tests.integration.common.storage.disks import (
    IMAGE,
    OTHER_IMAGE,
    VM,
    holds,
    opened,
    prepare,
    qemu_io,
    qemu_options,
    root,
    sized,
    stage,
)


@pytest.fixture(params=["directory", "rbd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "rbd":
        return open_store(request.getfixturevalue("rbd_settings"))
    return open_store(StorageSettings(ssd_directory=tmp_path / "ssd", hdd_directory=tmp_path / "hdd"))


@pytest.fixture
def import_image(store: Store, tmp_path: Path) -> Callable[..., None]:
    return lambda image=IMAGE, size_mib=64, pattern=0xAB: disks.import_image(store, tmp_path, image, size_mib, pattern)


def sizes(store: DiskStore) -> tuple[int | None, int | None]:
    whole = store.disks(VM).whole
    root, hdd = (whole.get(serial) for serial in ("root", "hdd"))
    return root.size_mib if root else None, hdd.size_mib if hdd else None


def check_image(disk: object) -> None:
    if isinstance(disk, FileDisk):
        subprocess.run(["qemu-img", "check", "-q", str(disk.path)], check=True)


def test_a_template_appears_at_once_and_goes_again(store: Store, tmp_path: Path) -> None:
    assert (store.templates(), store.has_template(IMAGE)) == (frozenset(), False)
    draft = stage(store, IMAGE, prepare(tmp_path / "a.qcow2"))
    assert (store.templates(), store.has_template(IMAGE)) == (frozenset(), False)
    assert store.drafts() == {IMAGE: {draft}}
    store.publish(IMAGE, draft)
    assert store.templates() == {IMAGE}
    assert store.has_template(IMAGE)
    assert store.drafts() == {}
    stage(store, IMAGE, prepare(tmp_path / "b.qcow2"))
    store.remove_template(IMAGE)
    assert (store.templates(), store.drafts()) == (frozenset(), {})
    store.remove_template(IMAGE)


def test_a_draft_that_was_dropped_is_none(store: Store, tmp_path: Path) -> None:
    draft = stage(store, IMAGE, prepare(tmp_path / "a.qcow2"))
    store.drop_drafts(IMAGE)
    store.drop_drafts(IMAGE)
    assert store.drafts() == {}
    with pytest.raises(TemporaryError):
        store.publish(IMAGE, draft)
    assert store.templates() == frozenset()


def test_what_could_not_be_written_is_no_template(store: Store) -> None:
    def write(target: Target) -> None:
        raise TemporaryError("it can't be read")

    with pytest.raises(TemporaryError, match="it can't be read"):
        store.stage(IMAGE, 1024 * 1024, write)
    assert store.templates() == frozenset()
    store.drop_drafts(IMAGE)
    assert store.drafts() == {}


def test_a_root_disk_is_the_image_grown_and_its_own(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(100))
    assert store.disks(VM).whole.keys() == {"root"}
    shown = subprocess.run(["qemu-img", "info", *qemu_options(root(store))], check=True, capture_output=True, text=True)
    assert "virtual size: 100 MiB" in shown.stdout
    assert holds(root(store), 0xAB)
    qemu_io(root(store), "write -P 0xcd 0 64k")
    other = str(uuid.uuid4())
    store.create(other, IMAGE, sized(64))
    assert holds(root(store, other), 0xAB)
    assert holds(root(store), 0xCD)


def test_what_is_there_is_not_made_again(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64))
    qemu_io(root(store), "write -P 0xcd 0 64k")
    store.create(VM, IMAGE, sized(64, 32))
    assert holds(root(store), 0xCD)
    assert holds(store.disks(VM).whole["hdd"], 0)


def test_disks_grow_and_keep_what_they_hold(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64, 32))
    qemu_io(root(store), "write -P 0xcd 0 64k")
    for _ in range(2):
        store.grow(VM, sized(100, 48))
        assert sizes(store) == (100, 48)
    assert holds(root(store), 0xCD)
    check_image(root(store))


def test_disks_never_shrink(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(100, 32))
    store.grow(VM, sized(64))
    assert sizes(store) == (100, 32)
    store.grow(VM, sized(64, 64))
    assert sizes(store) == (100, 64)


ADDED, OTHER = "0ddba115", "5eedf00d"


def more(*sizes_mib: int, kind: DiskKind = DiskKind.SSD) -> tuple[DiskSpec, ...]:
    """Disks that were added to a VM."""
    return tuple(
        DiskSpec(kind=kind, size_mib=size_mib, serial=serial)
        for serial, size_mib in zip((ADDED, OTHER), sizes_mib, strict=False)
    )


def found(store: DiskStore) -> dict[str, int]:
    return {serial: disk.size_mib for serial, disk in store.disks(VM).whole.items()}


@pytest.mark.parametrize("kind", DiskKind)
def test_a_disk_more_is_empty_and_known_by_its_serial(
    store: Store, import_image: Callable[..., None], kind: DiskKind
) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64, 32))
    qemu_io(root(store), "write -P 0xcd 0 64k")
    wanted = (*sized(64, 32), *more(16, 8, kind=kind))
    for _ in range(2):
        store.create(VM, IMAGE, wanted)
        assert found(store) == {"root": 64, "hdd": 32, ADDED: 16, OTHER: 8}
    whole = store.disks(VM).whole
    assert (holds(whole["root"], 0xCD), holds(whole[ADDED], 0)) == (True, True)
    qemu_io(whole[ADDED], "write -P 1 0 64k")
    qemu_io(whole[OTHER], "write -P 2 0 64k")
    store.grow(VM, (*sized(64, 32), *more(24, 8, kind=kind)))
    assert found(store) == {"root": 64, "hdd": 32, ADDED: 24, OTHER: 8}
    assert (holds(whole[ADDED], 1), holds(whole[OTHER], 2)) == (True, True)


@pytest.mark.parametrize("kind", DiskKind)
def test_one_disk_goes_and_the_others_stay(store: Store, import_image: Callable[..., None], kind: DiskKind) -> None:
    import_image()
    other = str(uuid.uuid4())
    for vm in (VM, other):
        store.create(vm, IMAGE, (*sized(64, 32), *more(16, 8, kind=kind)))
    qemu_io(store.disks(VM).whole[OTHER], "write -P 2 0 64k")
    for _ in range(2):
        store.remove_disk(VM, ADDED)
        assert found(store) == {"root": 64, "hdd": 32, OTHER: 8}
        assert store.disks(VM).unfinished == frozenset()
    store.remove_disk(VM, "hdd")
    assert found(store) == {"root": 64, OTHER: 8}
    assert holds(store.disks(VM).whole[OTHER], 2)
    assert len(store.disks(other).whole) == 4
    # A disk that is asked for again is a new one.
    store.create(VM, IMAGE, (*sized(64), *more(16, kind=kind)))
    assert holds(store.disks(VM).whole[ADDED], 0)
    store.remove(VM)
    assert store.vms() == {other}


def test_any_disk_in_use_is_told(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, (*sized(64), *more(16)))
    assert store.is_in_use(VM) is False
    with opened(store.disks(VM).whole[ADDED]) as process:
        assert store.is_in_use(VM) is True
        process.communicate("quit\n")
    assert store.is_in_use(VM) is False


def test_what_all_disks_of_a_vm_grow_by_must_have_room(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, (*sized(64), *more(8, 8)))
    free_mib = store.capacity().ssd.free_mib
    assert free_mib
    for size_mib, both_mib in ((free_mib * 3 // 5, 8), (8, free_mib * 3 // 5)):
        store.check_growth(VM, more(size_mib, both_mib))
    with pytest.raises(TemporaryError, match=f"can't grow the {OTHER} disk.*not that much room"):
        store.check_growth(VM, more(free_mib * 3 // 5, free_mib * 3 // 5))


@pytest.mark.parametrize("serial", ["", "..", "../root", "ROOT", "0ddba11", "template", "root.qcow2"])
def test_what_is_no_serial_reaches_no_disk(store: Store, import_image: Callable[..., None], serial: str) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64))
    with suppress(PermanentError):
        store.remove_disk(VM, serial)
    assert found(store) == {"root": 64}
    assert store.templates() == {IMAGE}


def test_growing_makes_no_disk(store: Store, import_image: Callable[..., None]) -> None:
    store.grow(VM, sized(100, 32))
    import_image()
    store.create(VM, IMAGE, sized(64))
    store.grow(VM, sized(64, 32))
    assert sizes(store) == (64, None)


def test_no_disk_grows_by_more_than_there_is_room_for(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64, 32))
    for grow in (store.check_growth, store.grow):
        with pytest.raises(TemporaryError, match=r"can't grow the root disk.*not that much room"):
            grow(VM, sized(2**30, 32))
        with pytest.raises(TemporaryError, match="can't grow the hdd disk"):
            grow(VM, sized(65, 2**30))
    assert sizes(store) == (64, 32)


def test_a_disk_in_use_is_not_grown_under_its_guest(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64))
    with opened(root(store)) as process:
        with pytest.raises(TemporaryError, match="lock"):
            store.grow(VM, sized(100))
        assert sizes(store) == (64, None)
        process.communicate("quit\n")
    store.grow(VM, sized(100))
    assert sizes(store) == (100, None)


def test_without_its_template_no_disk(store: Store) -> None:
    with pytest.raises(PermanentError, match=f"image {IMAGE} is not in the store"):
        store.create(VM, IMAGE, sized(64))
    assert store.disks(VM).root is None
    store.remove(VM)


def test_a_disk_smaller_than_its_image_would_cut_it_off(store: Store, import_image: Callable[..., None]) -> None:
    import_image(size_mib=64)
    with pytest.raises(PermanentError, match=r"takes 64 MiB, the VM's SSD has only 63 MiB"):
        store.create(VM, IMAGE, sized(63))


def test_a_template_in_use_stays(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    import_image(OTHER_IMAGE)
    store.create(VM, IMAGE, sized(64))
    with pytest.raises(PermanentError, match=VM):
        store.remove_template(IMAGE)
    assert holds(root(store), 0xAB)
    store.remove_template(OTHER_IMAGE)
    store.remove(VM)
    store.remove_template(IMAGE)
    assert store.templates() == frozenset()


def test_removed_is_removed(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64, 32))
    other = str(uuid.uuid4())
    store.create(other, IMAGE, sized(64, 32))
    assert store.vms() == {VM, other}
    store.remove(VM)
    assert store.vms() == {other}
    assert store.disks(VM) == VmDisks()
    assert store.disks(other).root is not None
    store.remove(VM)


@pytest.mark.parametrize("name", ["", "..", "../x", "x/y", VM.upper(), f"{VM}/..", f"{VM}\n"])
def test_names_that_are_no_uuids_reach_no_file(store: Store, name: str) -> None:
    for act in (store.disks, store.remove, store.has_template, store.remove_template, store.drop_drafts):
        with pytest.raises(PermanentError, match="uuid"):
            act(name)
    with pytest.raises(PermanentError, match="uuid"):
        store.create(name, IMAGE, sized(64))


def test_many_clones_at_once_while_the_template_is_to_go(store: Store, import_image: Callable[..., None]) -> None:
    """Either the template goes first and there are no clones, or a clone is first and the template stays."""
    import_image()
    vms = [str(uuid.uuid4()) for _ in range(8)]
    refused: list[Exception] = []

    def attempt(act: Callable[[], None]) -> None:
        try:
            act()
        except PermanentError as error:
            refused.append(error)

    acts: list[Callable[[], None]] = [lambda vm=vm: store.create(vm, IMAGE, sized(64)) for vm in vms]  # type: ignore[misc]
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


def test_capacity_has_the_stores_identity(store: Store) -> None:
    capacity = store.capacity()
    assert capacity.hdd is not None
    assert capacity.ssd.total_mib > 0
    assert capacity.ssd.store_id != capacity.hdd.store_id
    assert store.store_ids() == (capacity.ssd.store_id, capacity.hdd.store_id)


def test_disks_to_copy_into_are_empty_and_go_again(store: Store) -> None:
    store.prepare_arrival(VM, sized(64, 8))
    store.prepare_arrival(VM, sized(64, 8))
    assert sizes(store) == (64, 8)
    assert store.disks(VM).arriving
    # They rest on no template: what comes is whole.
    assert "read 65536/65536" in qemu_io(root(store), "read -P 0 0 64k")
    store.drop_arrival(VM)
    assert store.disks(VM) == VmDisks()
    store.drop_arrival(VM)


def test_disks_that_have_arrived_stay(store: Store) -> None:
    store.prepare_arrival(VM, sized(64, 8))
    store.keep_arrival(VM)
    assert not store.disks(VM).arriving
    store.drop_arrival(VM)
    assert sizes(store) == (64, 8)


@pytest.mark.parametrize("kind", DiskKind)
def test_all_disks_of_a_vm_are_copied_into_or_none(store: Store, kind: DiskKind) -> None:
    wanted = (*sized(64), *more(16, 8, kind=kind))
    for end in (store.drop_arrival, store.keep_arrival):
        store.prepare_arrival(VM, wanted[:2])
        store.prepare_arrival(VM, wanted)
        assert found(store) == {"root": 64, ADDED: 16, OTHER: 8}
        assert store.disks(VM).arriving
        end(VM)
        assert not store.disks(VM).arriving
        if end == store.drop_arrival:
            assert store.disks(VM) == VmDisks()
    store.drop_arrival(VM)
    assert found(store) == {"root": 64, ADDED: 16, OTHER: 8}
    with pytest.raises(PermanentError, match="there are disks of this VM"):
        store.prepare_arrival(VM, wanted)


def test_disks_of_a_vm_are_not_taken_for_ones_to_copy_into(store: Store, import_image: Callable[..., None]) -> None:
    import_image()
    store.create(VM, IMAGE, sized(64, 8))
    with pytest.raises(PermanentError, match="there are disks of this VM"):
        store.prepare_arrival(VM, sized(64, 8))
    store.drop_arrival(VM)
    assert sizes(store) == (64, 8)
    assert not store.disks(VM).arriving


def test_of_what_is_free_less_is_told_than_there_is_in_all(store: Store) -> None:
    ssd = store.capacity().ssd
    assert ssd.free_mib is not None
    assert 0 < ssd.free_mib <= ssd.total_mib

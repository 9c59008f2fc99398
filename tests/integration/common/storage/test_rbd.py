"""What is the Ceph store's own: names in the cluster, locks, clients that are cut off, processes killed halfway."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import PermanentError, TemporaryError
from common.schemas.disk import DiskKind, DiskSpec
from common.settings import StorageSettings
from common.storage import RbdDisk
from common.storage.rbd import RbdStore
from devcloud.ceph import CephCluster
from devcloud.waiting import wait_for
from tests.integration.common.storage.disks import IMAGE, VM, holds, import_image, opened, prepare, qemu_io, root, sized


@pytest.fixture
def store(rbd_settings: StorageSettings, tmp_path: Path) -> Iterator[RbdStore]:
    """A store with a template."""
    made = RbdStore(rbd_settings)
    import_image(made, tmp_path)
    yield made
    made.close()


def test_disks_are_clones_in_the_pools_of_their_kinds(store: RbdStore, ceph: CephCluster) -> None:
    store.create(VM, IMAGE, sized(100, 8))
    (template,) = (name for name in ceph.rbd("ls", "ssd").split() if name.startswith(f"template-{IMAGE}-"))
    assert ceph.rbd("children", f"ssd/{template}@template").split() == [f"ssd/vm-{VM}-root"]
    assert ceph.rbd("ls", "hdd").split() == [f"vm-{VM}-hdd"]
    assert "exclusive-lock" in ceph.rbd("info", f"ssd/vm-{VM}-root")
    assert "protected: True" in ceph.rbd("info", f"ssd/{template}@template")


def test_a_disk_that_was_added_is_found_by_the_ledger(store: RbdStore, ceph: CephCluster) -> None:
    more = DiskSpec(kind=DiskKind.HDD, size_mib=4, serial="0ddba115")
    store.create(VM, IMAGE, (*sized(100, 8), more))
    assert set(ceph.rbd("ls", "hdd").split()) == {f"vm-{VM}-hdd", f"vm-{VM}-0ddba115"}
    # The others are noted by nobody, as were those of earlier versions.
    assert store._read("vm.") == {f"vm.{VM}.0ddba115": "hdd"}
    ceph.rbd("rm", "--no-progress", f"hdd/vm-{VM}-0ddba115")
    found = store.disks(VM)
    assert (set(found.whole), set(found.unfinished)) == ({"root", "hdd"}, {"0ddba115"})
    store.remove(VM)
    assert store._read("vm.") == {}


def test_nothing_is_left_of_what_was_removed(store: RbdStore, ceph: CephCluster) -> None:
    store.create(VM, IMAGE, sized(100, 8))
    store.remove(VM)
    store.remove_template(IMAGE)
    for pool in ("ssd", "hdd"):
        assert ceph.rbd("ls", pool).split() == []
        assert ceph.rbd("trash", "ls", "--all", pool).split() == []
        assert {name for name in ceph.objects(pool) if name.startswith(("rbd_data", "rbd_header", "rbd_id"))} == set()


def test_hosts_that_share_pools_agree_on_their_identity(store: RbdStore, rbd_settings: StorageSettings) -> None:
    other = RbdStore(rbd_settings)
    mine, theirs = store.capacity(), other.capacity()
    assert mine.ssd.store_id == theirs.ssd.store_id
    assert mine.hdd is not None
    assert mine.hdd.store_id != mine.ssd.store_id
    assert other.templates() == {IMAGE}


def test_without_a_pool_for_hdds_there_are_none(rbd_settings: StorageSettings, tmp_path: Path) -> None:
    store = RbdStore(rbd_settings.model_copy(update={"rbd_hdd_pool": None}))
    import_image(store, tmp_path)
    assert store.capacity().hdd is None
    with pytest.raises(PermanentError, match="no store for HDDs"):
        store.create(VM, IMAGE, sized(64, 32))


def test_a_pool_that_is_not_there_is_named(rbd_settings: StorageSettings) -> None:
    store = RbdStore(rbd_settings.model_copy(update={"rbd_ssd_pool": "nvme"}))
    with pytest.raises(TemporaryError, match="no pool nvme"):
        store.disks(VM)


def test_a_client_without_its_key_is_told_so(rbd_settings: StorageSettings, tmp_path: Path) -> None:
    store = RbdStore(rbd_settings.model_copy(update={"rbd_keyring": tmp_path / "none"}))
    for call in (lambda: store.disks(VM), store.secrets):
        with pytest.raises(TemporaryError, match=r"storage.rbd_keyring: .*/none: No such file"):
            call()
    store.close()


def test_the_key_is_the_hypervisor_s_secret_and_is_in_no_text(store: RbdStore, rbd_settings: StorageSettings) -> None:
    (secret,) = store.secrets()
    assert rbd_settings.rbd_keyring
    assert len(secret.value) == 28
    assert str(secret.value) not in repr(secret)
    store.create(VM, IMAGE, sized(64))
    disk = root(store)
    assert isinstance(disk, RbdDisk)
    assert (disk.secret_uuid, disk.client) == (secret.uuid, "ucloud")


def test_a_disk_is_in_use_while_qemu_has_it_open(store: RbdStore) -> None:
    store.create(VM, IMAGE, sized(64, 8))
    for disk in (root(store), store.disks(VM).whole["hdd"]):
        assert store.is_in_use(VM) is False
        with opened(disk) as process:
            assert store.is_in_use(VM) is True
            process.communicate("quit\n")
    assert store.is_in_use(VM) is False


def test_who_is_expelled_writes_no_more_and_another_does(store: RbdStore) -> None:
    store.create(VM, IMAGE, sized(64))
    with opened(root(store)) as old:
        assert old.stdin is not None
        assert old.stdout is not None
        old.stdin.write("write -P 1 0 64k\n")
        old.stdin.flush()
        while "wrote" not in old.stdout.readline():
            pass
        # Frozen, it does not even hear of it.
        os.kill(old.pid, signal.SIGSTOP)
        store.expel(VM)
        assert store.is_in_use(VM) is False
        qemu_io(root(store), "write -P 2 0 64k")
        os.kill(old.pid, signal.SIGCONT)
        # What it is told is another matter: one in some hundred hears that write and flush were done, and neither was.
        old.communicate("write -P 3 0 64k\nflush\nquit\n", timeout=60)
    assert holds(root(store), 2)


def test_a_guest_that_was_killed_is_in_nobodys_way(store: RbdStore) -> None:
    store.create(VM, IMAGE, sized(64))
    with opened(root(store)) as guest:
        assert guest.stdin is not None
        assert guest.stdout is not None
        guest.stdin.write("write -P 1 0 64k\n")
        guest.stdin.flush()
        while "wrote" not in guest.stdout.readline():
            pass
        guest.kill()
        guest.wait()
    store.expel(VM)
    assert store.is_in_use(VM) is False
    qemu_io(root(store), "write -P 2 0 64k")
    with opened(root(store)) as guest:
        guest.kill()
        guest.wait()
        store.remove(VM)
    assert store.vms() == frozenset()


_REMOVE_HALF = """
import sys, rados, rbd
with rados.Rados(conffile=sys.argv[1], name="client.ucloud", conf={"keyring": sys.argv[2]}) as cluster:
    pool = cluster.open_ioctx("ssd")
    with rados.WriteOpCtx() as noting:
        pool.set_omap(noting, (f"vm.{sys.argv[3]}.root",), (b"removing ",))
        pool.operate_write_op(noting, "ucloud")
    rbd.RBD().trash_move(pool, f"vm-{sys.argv[3]}-root")
    (entry,) = rbd.RBD().trash_list(pool)
    image = rbd.Image(pool, image_id=entry["id"])
    print("gone", flush=True)
    sys.stdin.read()
"""


def test_who_was_killed_while_it_removed_a_disk_is_in_nobodys_way(
    store: RbdStore, rbd_settings: StorageSettings, ceph: CephCluster
) -> None:
    """librbd has a disk open while it removes it from the trash, and OSDs wait for a dead client for 30 seconds."""
    store.create(VM, IMAGE, sized(64))
    arguments = [str(rbd_settings.rbd_conf), str(rbd_settings.rbd_keyring), VM]
    command = [sys.executable, "-c", _REMOVE_HALF, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"gone\n"
        process.kill()
    began_s = time.monotonic()
    store.create(VM, IMAGE, sized(64))
    assert time.monotonic() - began_s < 25
    assert holds(root(store), 0xAB)
    assert ceph.rbd("trash", "ls", "--all", "ssd").split() == []


_DIE_WHILE_OPENING = """
import os, rados, random, sys, threading
for _ in range(40):
    if os.fork() == 0:
        cluster = rados.Rados(conffile=sys.argv[1], name="client.ucloud", conf={"keyring": sys.argv[2]})
        cluster.connect()
        pool = cluster.open_ioctx("ssd")
        pool.stat(sys.argv[3])
        threading.Timer(random.uniform(0.0005, 0.01), os.kill, (os.getpid(), 9)).start()
        pool.watch(sys.argv[3], print)
        threading.Event().wait()
    os.wait()
"""


def test_who_was_killed_while_it_opened_a_disk_is_in_nobodys_way(
    store: RbdStore, rbd_settings: StorageSettings, ceph: CephCluster
) -> None:
    """Of some, OSDs keep a watch that neither times out nor goes with the blocklist."""
    store.create(VM, IMAGE, sized(64))
    header = json.loads(ceph.rbd("info", "--format", "json", f"ssd/vm-{VM}-root"))["id"]
    arguments = [str(rbd_settings.rbd_conf), str(rbd_settings.rbd_keyring), f"rbd_header.{header}"]

    def is_left_by_some() -> bool | None:
        subprocess.run([sys.executable, "-c", _DIE_WHILE_OPENING, *arguments], check=True)
        return store.is_in_use(VM)

    wait_for("some who died just after it was theirs", is_left_by_some, 60)
    store.expel(VM)
    assert store.is_in_use(VM) is False
    store.grow(VM, sized(65))
    assert root(store).size_mib == 65
    store.remove(VM)
    assert store.vms() == frozenset()
    store.create(VM, IMAGE, sized(64))
    assert holds(root(store), 0xAB)


_CREATE_FOR_EVER = """
import sys
from common.schemas.disk import DiskKind, DiskSpec
from common.schemas.vm import Specs
from common.settings import StorageSettings
from common.storage.rbd import RbdStore
store = RbdStore(StorageSettings.model_validate_json(sys.argv[1]))
print("go", flush=True)
while True:
    more = DiskSpec(kind=DiskKind.HDD, size_mib=4, serial="0ddba115")
    store.create(sys.argv[2], sys.argv[3], (*Specs.of(1, 64, 100, 8).disks, more))
    store.remove_disk(sys.argv[2], "0ddba115")
    store.remove(sys.argv[2])
"""


def _works(act: Callable[[], object]) -> bool:
    """Whether something can be done: the last call of a process that was killed may still be at it."""
    try:
        act()
    except TemporaryError:
        return False
    return True


def test_a_process_killed_at_any_point_leaves_no_half_disk(store: RbdStore, rbd_settings: StorageSettings) -> None:
    for attempt in range(5):
        arguments = [rbd_settings.model_dump_json(), VM, IMAGE]
        with subprocess.Popen([sys.executable, "-c", _CREATE_FOR_EVER, *arguments], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            threading.Event().wait(0.3 + 0.06 * attempt)
            process.kill()
        disks = store.disks(VM)
        assert disks.root is None or (disks.root.size_mib == 100 and holds(disks.root, 0xAB))
        assert "0ddba115" not in disks.whole or disks.whole["0ddba115"].size_mib == 4
        wait_for("the end of the disk", lambda: _works(lambda: store.remove_disk(VM, "0ddba115")), 30)
        assert "0ddba115" not in store.disks(VM).whole.keys() | store.disks(VM).unfinished
        wait_for("the disks", lambda: _works(lambda: store.create(VM, IMAGE, sized(100, 8))), 30)
        assert root(store).size_mib == 100
        assert holds(root(store), 0xAB)
        store.remove(VM)
        assert store.vms() == frozenset()


_IMPORT = """
import sys, pathlib
from common.settings import StorageSettings
from common.storage.rbd import RbdStore
from tests.integration.common.storage.disks import stage
store = RbdStore(StorageSettings.model_validate_json(sys.argv[1]))
print("go", flush=True)
store.publish(sys.argv[2], stage(store, sys.argv[2], pathlib.Path(sys.argv[3])))
"""


def test_an_import_killed_at_any_point_leaves_no_half_template(
    store: RbdStore, rbd_settings: StorageSettings, ceph: CephCluster, tmp_path: Path
) -> None:
    prepared = prepare(tmp_path / "big.qcow2", size_mib=256)
    qemu_io(prepared, "write -P 0xcd 1M 200M")
    image = str(uuid.uuid4())
    for attempt in range(4):
        arguments = [rbd_settings.model_dump_json(), image, str(prepared)]
        command = [sys.executable, "-c", _IMPORT, *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[4]) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            threading.Event().wait(0.2 + 0.15 * attempt)
            process.kill()
        if store.has_template(image):
            store.create(VM, image, sized(256))
            assert "Pattern verification failed" not in qemu_io(root(store), "read -P 0xcd 200M 1M")
            store.remove(VM)
            store.remove_template(image)
        # The qemu-img of the process that was killed may still be at it.
        wait_for("nothing of it", lambda: _dropped(store, image), 60)
    assert {name for name in ceph.rbd("ls", "ssd").split() if image in name} == set()


def _dropped(store: RbdStore, image: str) -> bool:
    try:
        store.drop_drafts(image)
    except TemporaryError:
        return False
    return image not in store.drafts()

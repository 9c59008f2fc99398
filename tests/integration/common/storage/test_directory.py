"""What is the directory store's own: files, modes, mounts that come and go, processes killed halfway."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from common.errors import PermanentError, TemporaryError
from common.settings import StorageSettings
from common.storage import NewFile, Target
from common.storage.directory import DirectoryStore
from devcloud.waiting import wait_for
from tests.integration.common.storage.disks import file_of, sized, stage

IMAGE = "00000000-0000-4000-8000-00000000001a"
VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"


def made(path: Path) -> DirectoryStore:
    """A store with a template."""
    store = DirectoryStore(StorageSettings(ssd_directory=path))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path / "i"), "64M"], check=True)
    store.publish(IMAGE, stage(store, IMAGE, path / "i"))
    return store


def test_templates_are_read_only_and_the_store_can_be_moved(tmp_path: Path) -> None:
    made(tmp_path / "a").create(VM, IMAGE, sized(64))
    assert (tmp_path / f"a/templates/{IMAGE}.qcow2").stat().st_mode & 0o777 == 0o444
    (tmp_path / "a").rename(tmp_path / "b")
    disk = tmp_path / f"b/vms/{VM}/root.qcow2"
    assert disk.stat().st_mode & 0o777 == 0o600
    subprocess.run(["qemu-img", "info", "--backing-chain", str(disk)], check=True, capture_output=True)


def test_hosts_that_share_a_directory_agree_on_its_identity(tmp_path: Path) -> None:
    identities: list[str] = []

    def look() -> None:
        store = DirectoryStore(StorageSettings(ssd_directory=tmp_path / "s"))
        identities.append(store.capacity().ssd.store_id)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(identities) == 8
    assert len(set(identities)) == 1
    assert [path.name for path in (tmp_path / "s").iterdir() if path.is_file()] == [".ucloud-store"]


def test_a_store_that_is_not_mounted_is_not_an_empty_one(tmp_path: Path) -> None:
    store = made(tmp_path / "s")
    store.create(VM, IMAGE, sized(64))
    (tmp_path / "s").rename(tmp_path / "elsewhere")
    for act in (store.disks, store.remove, store.has_template):
        with pytest.raises(TemporaryError, match="is it mounted"):
            act(VM)
    DirectoryStore(StorageSettings(ssd_directory=tmp_path / "s"))
    with pytest.raises(TemporaryError, match="another store"):
        store.remove(VM)
    shutil.rmtree(tmp_path / "s")
    (tmp_path / "elsewhere").rename(tmp_path / "s")
    assert store.disks(VM).root is not None


def test_without_a_directory_for_hdds_there_are_none(tmp_path: Path) -> None:
    store = made(tmp_path)
    assert store.capacity().hdd is None
    with pytest.raises(PermanentError, match="no store for HDDs"):
        store.create(VM, IMAGE, sized(64, 32))


def test_a_full_disk_may_be_emptied(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)
    try:
        store = made(tmp_path)
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "filler").write_bytes(bytes(2**20))
        with pytest.raises(TemporaryError, match="No space"):
            store.create(VM, IMAGE, sized(64))
        (tmp_path / "filler").unlink()
        store.create(VM, IMAGE, sized(64))
        assert [path.name for path in (tmp_path / "vms" / VM).iterdir()] == ["root.qcow2"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


_CREATE_FOR_EVER = """
import sys, itertools, pathlib
from common.schemas.vm import Specs
from common.settings import StorageSettings
from common.storage.directory import DirectoryStore
store = DirectoryStore(StorageSettings(ssd_directory=pathlib.Path(sys.argv[1])))
print("go", flush=True)
while True:
    store.create(sys.argv[2], sys.argv[3], Specs.of(1, 64, 64).disks)
    store.remove(sys.argv[2])
"""


def test_a_process_killed_at_any_point_leaves_no_half_disk(tmp_path: Path) -> None:
    store = made(tmp_path)
    for attempt in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", _CREATE_FOR_EVER, str(tmp_path), VM, IMAGE], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        threading.Event().wait(0.003 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        root = store.disks(VM).root
        if root:
            subprocess.run(["qemu-img", "check", "-q", str(file_of(root))], check=True)
        store.create(VM, IMAGE, sized(64))
        root = store.disks(VM).root
        assert root is not None
        subprocess.run(["qemu-img", "check", "-q", str(file_of(root))], check=True)
        wait_for("nothing of the VM", lambda: _removed(store), 30)


_GROW_FOR_EVER = """
import sys, itertools, pathlib
from common.schemas.vm import Specs
from common.errors import TemporaryError
from common.settings import StorageSettings
from common.storage.directory import DirectoryStore
store = DirectoryStore(StorageSettings(ssd_directory=pathlib.Path(sys.argv[1])))
size_mib = store.disks(sys.argv[2]).root.size_mib
print("go", flush=True)
for size_mib in itertools.count(size_mib, 600):
    store.grow(sys.argv[2], Specs.of(1, 64, size_mib).disks)
"""


def test_a_process_killed_while_a_disk_grows_leaves_it_whole(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.create(VM, IMAGE, sized(64))
    sizes_mib = [64]
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", _GROW_FOR_EVER, str(tmp_path), VM], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        threading.Event().wait(0.1 + 0.007 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        sizes_mib.append(wait_for("a larger disk", lambda: _grown(store, sizes_mib[-1] + 1), 30))
    wait_for("a look at the disk", lambda: _is_whole(tmp_path / f"vms/{VM}/root.qcow2"), 30)


def _is_whole(disk: Path) -> bool:
    """Whether a disk could be checked; a qemu-img of a process that was killed may still hold it."""
    done = subprocess.run(["qemu-img", "check", "-q", disk], check=False)
    assert done.returncode != 2, "it is broken"
    # Clusters may have leaked (3).
    return done.returncode in (0, 3)


def _grown(store: DirectoryStore, size_mib: int) -> int | None:
    """The size of the disk after it was grown; the qemu-img of the process that was killed may still be at it."""
    try:
        store.grow(VM, sized(size_mib))
    except TemporaryError:
        return None
    root = store.disks(VM).root
    return root.size_mib if root else None


def test_a_disk_that_is_broken_can_be_removed_but_not_grown(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.create(VM, IMAGE, sized(64))
    (tmp_path / "vms" / VM / "root.qcow2").write_bytes(b"rubbish" * 100)
    root = store.disks(VM).root
    assert root is not None
    assert root.size_mib == 0
    with pytest.raises(TemporaryError, match="qemu-img resize failed"):
        store.grow(VM, sized(100))
    store.remove(VM)
    assert store.vms() == frozenset()


def _removed(store: DirectoryStore) -> bool:
    """Remove the VM; the qemu-img of the process that was killed may still be about to make a file."""
    try:
        store.remove(VM)
    except TemporaryError:
        return False
    return store.vms() == frozenset()


def test_what_was_written_is_whole_and_of_the_size_that_was_said(tmp_path: Path) -> None:
    store = DirectoryStore(StorageSettings(ssd_directory=tmp_path / "store"))
    prepared = tmp_path / "a.qcow2"
    (tmp_path / "secret").write_bytes(bytes(1024 * 1024))
    backing = ["-F", "raw", "-b", str(tmp_path / "secret")]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(prepared)], check=True)
    with pytest.raises(PermanentError, match="another disk than it was to be"):
        stage(store, IMAGE, prepared)
    prepared.write_text("no disk")

    def write(target: Target) -> None:
        assert isinstance(target, NewFile)
        shutil.copyfile(prepared, target.path)

    with pytest.raises(PermanentError, match="not a qcow2 file"):
        store.stage(IMAGE, 1024, write)
    assert store.templates() == frozenset()
    assert (tmp_path / "store/templates/.drafts").stat().st_mode & 0o777 == 0o700

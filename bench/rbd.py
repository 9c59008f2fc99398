"""Images in Ceph: how long a clone takes of a small image and of a large one, and how fast an image is imported.

    .venv/bin/python -m bench.rbd --rounds 5

A Ceph of one OSD on this machine is started for it. An import, from a file that was copied and checked, is compared, in
turn, with the shortest command of qemu-img into the same pool. What a guest's start takes is the time until a QEMU with
the disk answers.
"""

import argparse
import contextlib
import os
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from bench.report import Row, show
from common.schemas.vm import Specs
from common.storage import RbdDisk, Target
from common.storage.rbd import RbdStore
from devcloud.ceph import CephCluster
from devcloud.waiting import wait_for
from ucloud_image import qemu_img
from ucloud_image.qcow2_tables import check_file
from ucloud_image.upload import CopyReader

_MIB = 1024 * 1024
_CLONE, _START = "clone", "QEMU with it answers"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-mib", type=int, default=1024, help="how much data the images hold")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-rbd-", dir="/var/tmp") as folder,
        CephCluster(Path(folder) / "ceph", size_bytes=200 * 1024 * _MIB) as ceph,
        contextlib.closing(RbdStore(ceph.storage_settings(timeout_s=60))) as store,
    ):
        _measure(store, ceph, Path(folder), arguments.rounds, arguments.data_mib)


def _measure(store: RbdStore, ceph: CephCluster, folder: Path, rounds: int, data_mib: int) -> None:
    sources = {size_gib: _source(folder / f"{size_gib}.qcow2", size_gib, data_mib) for size_gib in (10, 100)}
    imports = _imports(store, ceph, sources[10], rounds)
    images = {size_gib: _publish(store, source) for size_gib, source in sources.items()}
    clones: dict[int, dict[str, list[float]]] = {size_gib: {_CLONE: [], _START: []} for size_gib in images}
    for size_gib, image in [*images.items()] * (4 * rounds):
        _clone(store, image, size_gib, clones[size_gib])
    show(
        f"An image of 10 GiB with {data_mib} MiB of data into Ceph",
        "MiB/s",
        [
            Row("qemu-img convert, nothing else", [data_mib / took_s for took_s in imports["plain"]]),
            Row(
                "ucloud: image made, filled, sealed",
                [data_mib / took_s for took_s in imports["ucloud"]],
                [data_mib / took_s for took_s in imports["plain"]],
                "at least 0.80",
            ),
        ],
    )
    show(
        "A VM's root disk from an image",
        "ms",
        [
            Row(f"{what}, image of {size_gib} GiB", values, aim="less than 200" if what == _CLONE else "")
            for what in (_CLONE, _START)
            for size_gib, found in clones.items()
            for values in [found[what]]
        ],
    )


def _source(path: Path, size_gib: int, data_mib: int) -> Path:
    """A qcow2 file with data that can't be compressed."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), f"{size_gib}G"], check=True)
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        for _ in range(data_mib):
            file.write(os.urandom(_MIB))
        file.truncate(size_gib * 1024 * _MIB)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(path)], check=True)
    raw.unlink()
    return path


def _imports(store: RbdStore, ceph: CephCluster, source: Path, rounds: int) -> dict[str, list[float]]:
    took_s: dict[str, list[float]] = {"plain": [], "ucloud": []}
    for _ in range(rounds):
        target = f"rbd:ssd/plain:id=ucloud:conf={ceph.layout.conf}"
        command = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(source), target]
        took_s["plain"].append(_time(lambda: subprocess.run(command, check=True)))  # noqa: B023 - called at once
        ceph.rbd("rm", "--no-progress", "ssd/plain")
        image = str(uuid.uuid4())
        took_s["ucloud"].append(_time(lambda: _stage(store, image, source)))  # noqa: B023
        store.drop_drafts(image)
    return took_s


def _publish(store: RbdStore, source: Path) -> str:
    image = str(uuid.uuid4())
    store.publish(image, _stage(store, image, source))
    return image


def _stage(store: RbdStore, image: str, source: Path) -> str:
    """As ucloud-image does it, once it has a copy that was found good."""
    with source.open("rb") as file:
        contents = check_file(CopyReader(file.fileno()), 1024)

    def write(target: Target) -> None:
        qemu_img.convert(source, target, contents, lambda _said: None)

    return store.stage(image, contents.virtual_size_bytes, write)


def _clone(store: RbdStore, image: str, size_gib: int, found: dict[str, list[float]]) -> None:
    """Make a VM's disk, have a QEMU open it, and add the times that took, in ms, to what was found."""
    vm = str(uuid.uuid4())
    found[_CLONE].append(1000 * _time(lambda: store.create(vm, image, Specs.of(1, 64, size_gib * 1024).disks)))
    disk = store.disks(vm).root
    assert isinstance(disk, RbdDisk)
    found[_START].append(1000 * _start(disk))
    store.remove(vm)


def _start(disk: RbdDisk) -> float:
    """How long a QEMU takes until it answers with the disk open, in seconds."""
    mine, its = socket.socketpair()
    drive = f"file=rbd:{disk.pool}/{disk.image}:id={disk.client}:conf={disk.conf},format=raw,if=virtio"
    command = ["qemu-system-x86_64", "-M", "q35,accel=tcg", "-m", "64", "-nodefaults", "-display", "none", "-S"]
    monitor = ["-chardev", f"socket,id=monitor,fd={its.fileno()}", "-mon", "chardev=monitor,mode=control"]
    began = time.monotonic()
    with mine, subprocess.Popen([*command, "-drive", drive, *monitor], pass_fds=[its.fileno()]) as process:
        its.close()
        mine.settimeout(60)
        assert b"QMP" in mine.recv(4096)
        took_s = time.monotonic() - began
        mine.sendall(b'{"execute": "qmp_capabilities"}{"execute": "quit"}')
        wait_for("QEMU's end", lambda: process.poll() is not None, 60)
    return took_s


def _time(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


if __name__ == "__main__":
    main()

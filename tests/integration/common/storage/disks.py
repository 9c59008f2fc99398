"""Looking into the disks of any store, and writing to them, as a guest would: with qemu-io."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.schemas.disk import DiskSpec
from common.schemas.vm import Specs
from common.storage import Disk, DiskStore, FileDisk, ImageStore, NbdServer, NewFile, Target
from common.storage.qcow2 import read_header

IMAGE = "00000000-0000-4000-8000-00000000001a"
OTHER_IMAGE = "00000000-0000-4000-8000-00000000001b"
VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"


def qemu_options(disk: Disk | Path) -> list[str]:
    """What programs of QEMU are told to open a disk."""
    if isinstance(disk, Path):
        return ["-f", "qcow2", str(disk)]
    if isinstance(disk, FileDisk):
        return ["-f", "qcow2", str(disk.path)]
    return ["-f", "raw", f"rbd:{disk.pool}/{disk.image}:id={disk.client}:conf={disk.conf}"]


def qemu_io(disk: Disk | Path, *commands: str) -> str:
    """What qemu-io says to commands."""
    options = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", *options, *qemu_options(disk)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr}"
    return done.stdout


def holds(disk: Disk, pattern: int) -> bool:
    """Whether the first 64 KiB of a disk are filled with `pattern`."""
    return "Pattern verification failed" not in qemu_io(disk, f"read -P {pattern} 0 64k")


@contextmanager
def opened(disk: Disk, *options: str) -> "Iterator[subprocess.Popen[str]]":
    """A QEMU that has a disk open; it is killed at the end."""
    command = ["qemu-io", *options, *qemu_options(disk)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("length\n")
        process.stdin.flush()
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def prepare(path: Path, size_mib: int = 64, pattern: int = 0xAB) -> Path:
    """A whole qcow2 file whose first 64 KiB are filled with `pattern`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), f"{size_mib}M"], check=True)
    qemu_io(path, f"write -P {pattern} 0 64k")
    return path


def stage(store: ImageStore, image: str, prepared: Path) -> str:
    """A draft with the contents of a qcow2 file."""

    def write(target: Target) -> None:
        match target:
            case NewFile(path):
                shutil.copyfile(prepared, path)
            case NbdServer(socket):
                into = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={socket}"
                options = ["-f", "qcow2", "-n", str(prepared), "--target-image-opts", into]
                subprocess.run(["qemu-img", "convert", *options], check=True)

    return store.stage(image, read_header(prepared).virtual_size_bytes, write)


def import_image(store: ImageStore, folder: Path, image: str = IMAGE, size_mib: int = 64, pattern: int = 0xAB) -> None:
    """A template whose first 64 KiB are filled with `pattern`, made by way of a file in `folder`."""
    store.publish(image, stage(store, image, prepare(folder / f"{image}.qcow2", size_mib, pattern)))


def sized(ssd_mib: int, hdd_mib: int = 0) -> tuple[DiskSpec, ...]:
    """A root disk, and an HDD unless that is 0."""
    return Specs.of(1, 64, ssd_mib, hdd_mib).disks


def root(store: DiskStore, vm: str = VM) -> Disk:
    """The root disk of a VM."""
    disk = store.disks(vm).root
    assert disk is not None
    return disk


def file_of(disk: Disk | None) -> Path:
    """The file that a disk is."""
    assert isinstance(disk, FileDisk)
    return disk.path

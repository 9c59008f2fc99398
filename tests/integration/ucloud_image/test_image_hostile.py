"""Hostile and broken uploads: each is refused with its own reason, and the next good one is imported all the same."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

from common.schemas.image import ImageActual
from tests.integration.ucloud_image.conftest import Images, StartImageDaemon, qemu_img, qemu_io

Make = Callable[[Images, Path], None]


def _patched(offset: int, layout: str, value: int) -> Make:
    """A good file with one field of its header changed."""

    def make(images: Images, path: Path) -> None:
        images.make_good(path.name)
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(struct.pack(layout, value))

    return make


def _backing_file(images: Images, path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", path, "1M")


def _backing_json(images: Images, path: Path) -> None:
    backing = 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'
    qemu_img("create", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", path, "1M")


def _external_data(images: Images, path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={path}.raw,data_file_raw=on", path, "1M")


def _snapshot(images: Images, path: Path) -> None:
    images.make_good(path.name)
    qemu_img("snapshot", "-c", "one", path)


def _too_large(images: Images, path: Path) -> None:
    qemu_img("create", "-f", "qcow2", path, "8P", "-o", "cluster_size=2M")


def _truncated_data(images: Images, path: Path) -> None:
    images.make_good(path.name)
    os.truncate(path, path.stat().st_size // 2)


def _truncated_tables(images: Images, path: Path) -> None:
    images.make_good(path.name)
    os.truncate(path, 200)


def _vmdk(images: Images, path: Path) -> None:
    path.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        'RW 8 FLAT "../../../../etc/passwd" 0\n'
    )


def _raw(images: Images, path: Path) -> None:
    path.write_bytes(bytes(1024 * 1024))


def _empty(images: Images, path: Path) -> None:
    path.touch()


def _bad_l1(images: Images, path: Path) -> None:
    """The tables are inside the file, and what they point at is not."""
    images.make_good(path.name)
    with path.open("r+b") as file:
        file.seek(40)
        (l1_offset,) = struct.unpack(">Q", file.read(8))
        file.seek(l1_offset)
        file.write(struct.pack(">Q", (1 << 63) | (1 << 40)))


def _symlink(images: Images, path: Path) -> None:
    path.symlink_to(images.make_good(f"target-of-{path.name}"))


def _hard_link(images: Images, path: Path) -> None:
    path.hardlink_to(images.make_good(f"target-of-{path.name}"))


def _pipe(images: Images, path: Path) -> None:
    os.mkfifo(path)


def _directory(images: Images, path: Path) -> None:
    path.mkdir()


def _device(images: Images, path: Path) -> None:
    os.mknod(path, 0o020666, os.makedev(1, 5))


def _missing(images: Images, path: Path) -> None:
    pass


HOSTILE: list[tuple[str, Make, str]] = [
    ("backing-file", _backing_file, "it has a backing file"),
    ("backing-json", _backing_json, "it has a backing file"),
    ("external-data", _external_data, "its data are in another file"),
    ("encrypted", _patched(32, ">I", 2), "it is encrypted"),
    ("snapshot", _snapshot, "it holds 1 internal snapshots"),
    ("many-snapshots", _patched(60, ">I", 65000), "it holds 65000 internal snapshots"),
    ("too-large", _too_large, "(allowed: 1 byte to 10 GiB)"),
    ("size-zero", _patched(24, ">Q", 0), "its disk is of 0 bytes"),
    ("truncated-data", _truncated_data, "it is damaged, or was cut off"),
    ("truncated-tables", _truncated_tables, "its tables lie beyond its end"),
    ("cluster-bits", _patched(20, ">I", 63), "its clusters are of 2^63 bytes"),
    ("version", _patched(4, ">I", 4), "qcow2 version 4 is unknown"),
    ("corrupt", _patched(72, ">Q", 2), "it is marked as corrupt"),
    ("unknown-feature", _patched(72, ">Q", 1 << 40), "incompatible features that are unknown here (0x10000000000)"),
    ("l1-too-large", _patched(36, ">I", 0xFFFFFFFF), "its tables lie beyond its end"),
    ("l1-too-small", _patched(36, ">I", 0), "its L1 table is too short"),
    ("bad-l1", _bad_l1, "it is damaged"),
    ("vmdk", _vmdk, "not a qcow2 file"),
    ("raw", _raw, "not a qcow2 file"),
    ("empty", _empty, "not a qcow2 file"),
    ("symlink", _symlink, "is a symbolic link"),
    ("hard-link", _hard_link, "has 2 names"),
    ("pipe", _pipe, "is not a plain file"),
    ("directory", _directory, "is not a plain file"),
    ("device", _device, "is not a plain file"),
    ("missing", _missing, "is not in alice's upload folder"),
]


def test_hostile_uploads_are_refused_each_with_its_reason(images: Images, start_daemon: StartImageDaemon) -> None:
    daemon = start_daemon()
    expected = []
    for name, make, reason in HOSTILE:
        make(images, images.uploads / f"{name}.qcow2")
        expected.append((images.request(f"{name}.qcow2"), reason))
    for request, reason in expected:
        status = images.wait_status(request)
        assert status.actual is ImageActual.REJECTED, request.file
        assert reason in status.reason, request.file
        assert str(images.ssd.parent) not in status.reason
        assert "/proc/" not in status.reason
        assert not images.template(request).exists()
    assert images.work_left() == []
    images.make_good("good.qcow2")
    assert images.wait_status(images.request("good.qcow2")).actual is ImageActual.READY
    assert (daemon.health() or {})["status"] == "ok"


def test_a_folder_that_is_a_link_is_refused(images: Images, start_daemon: StartImageDaemon) -> None:
    images.make_good("good.qcow2")
    elsewhere = images.uploads.parent / "elsewhere"
    images.uploads.rename(elsewhere)
    images.uploads.symlink_to(elsewhere)
    start_daemon()
    status = images.wait_status(images.request("good.qcow2"))
    assert (status.actual, status.reason) == (ImageActual.REJECTED, "alice has no upload folder")


def test_a_small_file_that_unfolds_to_zeros_stays_small(images: Images, start_daemon: StartImageDaemon) -> None:
    path = images.uploads / "bomb.qcow2"
    qemu_img("create", "-f", "qcow2", path, "256M")
    qemu_io(path, "write -P 0 0 256M")
    squeezed = images.uploads / "squeezed.qcow2"
    qemu_img("convert", "-c", "-S", "0", "-O", "qcow2", path, squeezed)
    start_daemon()
    request = images.request("squeezed.qcow2")
    assert images.wait_status(request).actual is ImageActual.READY
    assert images.template(request).stat().st_blocks * 512 < 1024 * 1024

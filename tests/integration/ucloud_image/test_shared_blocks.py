"""Copies of uploads on a file system that shares blocks (XFS)."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ucloud_image.upload import copy_upload

MIB = 1024 * 1024


@pytest.fixture
def xfs(tmp_path: Path) -> Iterator[Path]:
    """A file system of 320 MiB in a file."""
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(320 * MIB)
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_a_copy_takes_no_room_and_stays_as_it_was_when_the_upload_changes(xfs: Path) -> None:
    content = os.urandom(64 * MIB)
    (xfs / "upload").write_bytes(content)
    os.sync()
    source, target = (os.open(xfs / name, os.O_RDWR | os.O_CREAT) for name in ("upload", "copy"))
    before = os.statvfs(xfs).f_bfree
    copied = copy_upload(source, target)
    os.fsync(target)
    assert (before - os.statvfs(xfs).f_bfree) * os.statvfs(xfs).f_bsize < MIB
    assert copied.sha256 == hashlib.sha256(content).hexdigest()
    os.pwrite(source, bytes(MIB), 0)
    assert (xfs / "copy").read_bytes() == content
    os.close(source)
    os.close(target)

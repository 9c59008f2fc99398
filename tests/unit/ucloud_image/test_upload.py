"""Copies of uploads that change, and descriptors that don't leak."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from common.errors import TemporaryError
from tests.qcow2_files import Qcow2File
from ucloud_image.qcow2 import Refused
from ucloud_image.upload import check_upload, copy_upload, open_upload, size_of_copy

MIB = 1024 * 1024
GIB = 1024**3


def test_a_copy_has_the_digest_of_the_file(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB + 5)
    (tmp_path / "alice").mkdir()
    (tmp_path / "alice" / "file").write_bytes(content)
    target = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
    with open_upload(tmp_path, "alice", "file") as source:
        copied = copy_upload(source, target)
    os.close(target)
    assert (copied.size_bytes, copied.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (tmp_path / "copy").read_bytes() == content


def test_holes_stay_holes_and_count_in_the_digest(tmp_path: Path) -> None:
    source, target = (os.open(tmp_path / name, os.O_RDWR | os.O_CREAT) for name in ("file", "copy"))
    os.pwrite(source, b"beginning", 3 * MIB + 7)
    os.pwrite(source, b"middle", 9 * MIB)
    os.truncate(source, 40 * MIB)
    copied = copy_upload(source, target)
    content = (tmp_path / "file").read_bytes()
    assert (tmp_path / "copy").read_bytes() == content
    assert (copied.size_bytes, copied.sha256) == (40 * MIB, hashlib.sha256(content).hexdigest())
    assert os.fstat(target).st_blocks == os.fstat(source).st_blocks
    assert size_of_copy(source) == os.fstat(source).st_blocks * 512 < MIB
    os.close(source)
    os.close(target)


@pytest.mark.parametrize(
    ("size_bytes", "reason"),
    [(12 * GIB, r"it is of 12884901888 bytes \(allowed: 10 GiB\)"), (1 << 42, r"allowed: 10 GiB")],
)
def test_a_file_that_is_larger_than_any_disk_is_refused_unread(tmp_path: Path, size_bytes: int, reason: str) -> None:
    _refuse_at_a_glance(tmp_path, size_bytes, 10, reason)


def test_a_file_of_little_but_holes_is_refused_unread(tmp_path: Path) -> None:
    _refuse_at_a_glance(tmp_path, 100 * GIB, 1000, "and all but [0-9]+ are holes")


def _refuse_at_a_glance(folder: Path, size_bytes: int, max_virtual_gib: int, reason: str) -> None:
    (folder / "file").write_bytes(bytes(Qcow2File()))
    os.truncate(folder / "file", size_bytes)
    source = os.open(folder / "file", os.O_RDONLY)
    before = _read_bytes()
    with pytest.raises(Refused, match=reason):
        check_upload(source, max_virtual_gib)
    assert _read_bytes() - before < MIB
    os.close(source)


def _read_bytes() -> int:
    """What this process has read so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_copied_is_no_copy(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4 * MIB))
    # The copy goes into a pipe, so that it stands still until the file was changed.
    reader, writer = os.pipe()

    def change_and_drain() -> None:
        os.read(reader, 1)
        with path.open("r+b") as file:
            match change:
                case "grow":
                    file.seek(0, os.SEEK_END)
                    file.write(b"x")
                case "shrink":
                    file.truncate(2 * MIB)
                case _:
                    file.write(b"x")
        while os.read(reader, MIB):
            pass

    thread = threading.Thread(target=change_and_drain)
    thread.start()
    source = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(TemporaryError, match="still being uploaded"):
            copy_upload(source, writer)
    finally:
        os.close(writer)
        os.close(source)
        thread.join(10)
        os.close(reader)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()
    os.mkfifo(tmp_path / "alice" / "pipe")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for owner, name in (("alice", "pipe"), ("alice", "none"), ("bob", "none")):
        with pytest.raises(Refused), open_upload(tmp_path, owner, name):
            pass
    with pytest.raises(TemporaryError), open_upload(tmp_path / "none", "alice", "pipe"):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before

"""Copies of uploads that change, and descriptors that don't leak."""

import hashlib
import os
import threading
from pathlib import Path

import pytest

from common.errors import TemporaryError
from ucloud_image.qcow2 import Refused
from ucloud_image.upload import copy_upload, open_upload

MIB = 1024 * 1024


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

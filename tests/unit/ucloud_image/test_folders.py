"""Upload folders on a real file system: what is whole, who writes, and that the quota is never exceeded."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ucloud_image.folders import FolderLimits, UploadFolders, Writer
from ucloud_image.parts import Parts, WrongDigest, WrongOffset

MIB = 1024 * 1024
NEW = os.O_CREAT
X = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
"""The SHA-256 of "x"."""


@pytest.fixture
def folders(tmp_path: Path) -> UploadFolders:
    """No folder yet; a quota of 10 MiB, and of four files."""
    return UploadFolders(tmp_path, FolderLimits(10 * MIB, 4))


def _write(folders: UploadFolders, name: str, data: bytes, flags: int = NEW) -> Writer:
    writer = folders.open_to_write("alice", name, flags)
    writer.write(0, data)
    return writer


def test_a_file_is_whole_once_its_writer_says_so(folders: UploadFolders, tmp_path: Path) -> None:
    assert folders.files("alice") == []
    writer = _write(folders, "a", b"abc")
    (begun,) = folders.files("alice")
    assert (begun.name, begun.size_bytes, begun.is_whole) == ("a", 3, False)
    writer.finish()
    (done,) = folders.files("alice")
    assert done.is_whole
    assert done.stamp != begun.stamp
    _write(folders, "a", b"ABC", flags=0).leave()
    assert not folders.look("alice", "a").is_whole
    assert stat.S_IMODE((tmp_path / "alice").stat().st_mode) == 0o700


def test_who_opens_it_next_writes(folders: UploadFolders) -> None:
    first = _write(folders, "a", b"abc")
    second = folders.open_to_write("alice", "a", 0)
    with pytest.raises(OSError, match="another session") as refused:
        first.write(3, b"d")
    assert refused.value.errno == errno.ESTALE
    second.write(3, b"d")
    first.finish()  # which is nobody's any more
    assert not folders.look("alice", "a").is_whole
    second.finish()
    assert folders.look("alice", "a").is_whole


def test_flags_mean_what_they_mean_to_open(folders: UploadFolders) -> None:
    with pytest.raises(FileNotFoundError):
        folders.open_to_write("alice", "a", 0)
    _write(folders, "a", b"abc").finish()
    with pytest.raises(FileExistsError):
        folders.open_to_write("alice", "a", os.O_CREAT | os.O_EXCL)
    folders.open_to_write("alice", "a", os.O_TRUNC).finish()
    assert folders.look("alice", "a").size_bytes == 0


def test_the_quota_is_never_exceeded_by_many_writers(folders: UploadFolders) -> None:
    writers = [folders.open_to_write("alice", f"f{number}", NEW) for number in range(4)]

    ends: list[int | None] = []

    def fill(writer: Writer) -> None:
        offset = 0
        try:
            while True:
                writer.write(offset, b"x" * 100_000)
                offset += 100_000
        except OSError as error:
            ends.append(error.errno)

    threads = [threading.Thread(target=fill, args=(writer,)) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [errno.EDQUOT] * 4
    assert 9 * MIB < folders.used_bytes("alice") <= 10 * MIB
    with pytest.raises(OSError, match="may have"):
        folders.open_to_write("bob", "b", NEW).truncate(10 * MIB + 1)


def test_there_are_only_so_many_files(folders: UploadFolders) -> None:
    for number in range(4):
        _write(folders, f"f{number}", b"x").finish()
    with pytest.raises(OSError, match="which is the most"):
        folders.open_to_write("alice", "f4", NEW)
    with pytest.raises(OSError, match="which is the most"):
        Parts(folders).begin("alice", "f4", 1, None)
    folders.rename("alice", "f0", "f9", replace=False)
    with pytest.raises(FileExistsError):
        folders.rename("alice", "f9", "f1", replace=False)
    folders.rename("alice", "f9", "f1", replace=True)
    folders.remove("alice", "f1")
    assert [file.name for file in folders.files("alice")] == ["f2", "f3"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "-rf", "a/b", "../a", "a\n", "a\0", "ä", "a" * 256])
def test_names_that_no_file_can_have(folders: UploadFolders, name: str) -> None:
    _write(folders, "a", b"x").finish()
    with pytest.raises(OSError, match="a file's name is"):
        folders.open_to_write("alice", name, NEW)
    with pytest.raises(OSError, match="a file's name is"):
        folders.open_to_read("alice", name)
    with pytest.raises(OSError, match="a file's name is"):
        folders.rename("alice", "a", name, replace=True)
    with pytest.raises(FileNotFoundError):
        folders.look("alice", name)
    for owner in ("", "..", "a/b", ".part"):
        with pytest.raises(PermissionError):
            folders.look(owner, "a")


def test_a_part_becomes_a_file_when_it_has_the_digest(folders: UploadFolders, tmp_path: Path) -> None:
    parts = Parts(folders)
    assert parts.begin("alice", "a", 1, X).offset_bytes == 0
    assert folders.files("alice") == []
    with pytest.raises(WrongOffset):
        parts.append("alice", "a", 1, [b"x"])
    assert parts.append("alice", "a", 0, [b"x"]).is_complete
    assert folders.look("alice", "a").is_whole
    assert (tmp_path / "alice/a").read_bytes() == b"x"
    assert parts.begin("alice", "a", 1, X).is_complete, "its end was told, and may have got lost"
    _write(folders, "a", b"y", flags=0).finish()
    assert not parts.begin("alice", "a", 1, X).is_complete, "it is another file by now"
    with pytest.raises(WrongDigest):
        parts.append("alice", "a", 0, [b"z"])
    with pytest.raises(FileNotFoundError):
        parts.look("alice", "a")
    assert (tmp_path / "alice/a").read_bytes() == b"y"


def test_parts_are_kept_as_far_as_they_came_and_forgotten_some_day(folders: UploadFolders) -> None:
    parts = Parts(folders)
    parts.begin("alice", "a", 10, None)

    def broken() -> Iterator[bytes]:
        yield b"xx"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        parts.append("alice", "a", 0, broken())
    assert parts.look("alice", "a").offset_bytes == 2
    assert folders.used_bytes("alice") == 2
    with pytest.raises(OSError, match="more came than"):
        parts.append("alice", "a", 2, [b"x" * 9])
    assert parts.begin("alice", "a", 10, None).offset_bytes == 0, "nobody knows that it is the same"
    assert parts.expire("alice", 60) == []
    assert parts.expire("alice", -1) == ["a"]
    assert parts.expire("nobody", -1) == []
    with pytest.raises(OSError, match="may have"):
        parts.begin("alice", "big", 11 * MIB, None)

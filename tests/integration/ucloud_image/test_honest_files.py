"""Files that QEMU itself makes, of all kinds: their tables are found in order, and their disks come out as they were.

And these files with words of them changed: whatever is let through, the conversion of it keeps its limits.
"""

import contextlib
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from common.storage import NewFile
from tests.integration.ucloud_image.conftest import qemu_img, qemu_io
from ucloud_image.qcow2 import Refused
from ucloud_image.qcow2_tables import Contents, check_file
from ucloud_image.qemu_img import convert, size_of_copy
from ucloud_image.upload import CopyReader

MIB = 1024 * 1024
MAX_VIRTUAL_GIB = 10
CREATED = [
    "compat=0.10", "compat=1.1", "compat=0.10,cluster_size=4k", "cluster_size=512", "cluster_size=4k",
    "cluster_size=2M", "lazy_refcounts=on", "extended_l2=on", "extended_l2=on,cluster_size=16k",
    "extended_l2=on,cluster_size=2M", "preallocation=metadata", "preallocation=falloc", "preallocation=full",
    "extended_l2=on,preallocation=metadata", "refcount_bits=1", "refcount_bits=64",
    "refcount_bits=8,cluster_size=512", "compression_type=zstd",
]  # fmt: skip


def _data(path: Path) -> None:
    """Data, zeros and holes, with borders inside of clusters."""
    for command in ("write -P 7 1M 3M", "write -P 9 33333k 5k", "write -z 2M 256k", "write -P 3 40M 64k",
                    "discard 3M 128k", "write -z 50M 1M", "write -P 1 67107840 512"):  # fmt: skip
        qemu_io(path, command)


def _check(path: Path) -> Contents:
    with path.open("rb") as file:
        return check_file(CopyReader(file.fileno()), MAX_VIRTUAL_GIB)


def _import(path: Path, target: Path) -> Contents:
    contents = _check(path)
    path.chmod(0o444)
    target.touch()
    convert(path, NewFile(target), contents, lambda _said: None)
    assert target.stat().st_blocks * 512 <= size_of_copy(contents)
    return contents


@pytest.mark.parametrize("options", CREATED)
def test_files_made_with_all_options_are_imported(tmp_path: Path, options: str) -> None:
    path = tmp_path / "made.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", options, path, "64M")
    _check(path)
    _data(path)
    contents = _import(path, tmp_path / "target.qcow2")
    assert contents.virtual_size_bytes == 64 * MIB
    assert contents.data_bytes >= 2 * MIB
    qemu_img("compare", "-f", "qcow2", "-F", "qcow2", path, tmp_path / "target.qcow2")


def _compressed(options: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        whole = path.with_suffix(".whole")
        qemu_img("create", "-f", "qcow2", whole, "64M")
        _data(whole)
        qemu_img("convert", "-c", "-O", "qcow2", "-o", options, whole, path)

    return make


def _grown(path: Path) -> None:
    qemu_img("create", "-f", "qcow2", path, "40M")
    qemu_img("resize", path, "3G")
    qemu_img("resize", "--shrink", path, "64M")
    _data(path)


def _snapshots_gone(path: Path) -> None:
    qemu_img("create", "-f", "qcow2", path, "64M")
    _data(path)
    qemu_img("snapshot", "-c", "one", path)
    qemu_io(path, "write -P 5 0 8M")
    qemu_img("snapshot", "-d", "one", path)


def _backing_gone(path: Path) -> None:
    base = path.with_suffix(".base")
    qemu_img("create", "-f", "qcow2", base, "64M")
    _data(base)
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "qcow2", path)
    qemu_io(path, "write -P 4 5M 1M")
    qemu_img("rebase", "-b", "", path)


def _bitmaps(path: Path) -> None:
    qemu_img("create", "-f", "qcow2", path, "64M")
    for name in ("one", "another, with a long name"):
        qemu_img("bitmap", "--add", "-g", "64k", path, name)
    _data(path)


def _amended(path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-o", "compat=0.10", path, "64M")
    _data(path)
    qemu_img("amend", "-f", "qcow2", "-o", "compat=1.1,lazy_refcounts=on", path)


def _not_closed(path: Path) -> None:
    """Lazy reference counts, and a machine that lost its power."""
    qemu_img("create", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "64M")
    command = ["qemu-io", "-c", "write -P 7 1M 3M", "-c", "flush", "-c", "sigraise 9", str(path)]
    subprocess.run(command, check=False, capture_output=True)
    with path.open("rb") as file:
        assert file.read(80)[-1] & 1, "it is not marked as dirty"


WORKED_ON = [
    _compressed("compression_type=zlib"), _compressed("compression_type=zstd"), _compressed("cluster_size=4k"),
    _compressed("extended_l2=on"), _compressed("cluster_size=2M"), _compressed("compat=0.10"),
    _grown, _snapshots_gone, _backing_gone, _bitmaps, _amended, _not_closed,
]  # fmt: skip


@pytest.mark.parametrize("make", WORKED_ON)
def test_files_that_were_worked_on_are_imported(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "made.qcow2"
    make(path)
    _import(path, tmp_path / "target.qcow2")
    qemu_img("compare", "-f", "qcow2", "-F", "qcow2", path, tmp_path / "target.qcow2")


def _encrypted(path: Path) -> None:
    """An encrypted file. qemu-img gives up where it can't tell how long the processor took, as happens."""
    options = ["--object", "secret,id=key,data=abc", "-o", "encrypt.format=luks,encrypt.key-secret=key"]
    command = ["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"]
    assert any(subprocess.run(command, check=False).returncode == 0 for _ in range(10))


def test_what_is_not_allowed_of_an_honest_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "made.qcow2"
    qemu_img("create", "-f", "qcow2", path, "64M")
    qemu_img("snapshot", "-c", "one", path)
    with pytest.raises(Refused, match="it holds 1 internal snapshots"):
        _check(path)
    _encrypted(tmp_path / "luks.qcow2")
    with pytest.raises(Refused, match="it is encrypted"):
        _check(tmp_path / "luks.qcow2")


@pytest.mark.parametrize("make", [_compressed("compression_type=zlib"), _compressed("extended_l2=on"), _bitmaps])
def test_changed_files_are_refused_or_converted_within_their_limits(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path, changed, target = (tmp_path / name for name in ("made.qcow2", "changed.qcow2", "target.qcow2"))
    make(path)
    raw = path.read_bytes()
    words = [offset for offset in range(0, len(raw) - 8, 8) if raw[offset : offset + 8] != bytes(8)]
    dice = random.Random(1)  # noqa: S311 - the same changes in each run
    converted = 0
    while converted < 10:
        mutant = bytearray(raw)
        for _ in range(dice.randint(1, 3)):
            offset = dice.choice(words[: dice.choice((30, 300, len(words)))])
            (word,) = struct.unpack_from(">Q", mutant, offset)
            word = dice.choice((word ^ 1 << dice.randrange(64), word ^ 512 << dice.randrange(12), dice.getrandbits(64)))
            struct.pack_into(">Q", mutant, offset, word)
        changed.unlink(missing_ok=True)
        changed.write_bytes(mutant)
        try:
            contents = _check(changed)
        except Refused:
            continue
        converted += 1
        target.unlink(missing_ok=True)
        with contextlib.suppress(Refused):
            _import(changed, target)
        assert target.stat().st_blocks * 512 <= size_of_copy(contents)

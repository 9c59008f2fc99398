"""Tables of qcow2 files, by bytes: what is in the file is accepted, everything else has its reason, all is bounded."""

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.qcow2_cases import BAD, GOOD, K64
from tests.qcow2_files import Qcow2File, compressed
from ucloud_image import qcow2_tables
from ucloud_image.qcow2 import Refused
from ucloud_image.qcow2_tables import Contents, check_file


class Bytes:
    """A Reader that counts."""

    def __init__(self, raw: bytes, size_bytes: int | None = None) -> None:
        self._raw = raw
        self.size_bytes = len(raw) if size_bytes is None else size_bytes
        self.read_bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        """Zeros follow the bytes, up to the size."""
        length = max(0, min(length, self.size_bytes - offset))
        self.read_bytes += length
        return self._raw[offset : offset + length].ljust(length, b"\0")


def _check(file: Qcow2File) -> Contents:
    return check_file(Bytes(bytes(file)), 10)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_in_the_file_is_accepted(name: str) -> None:
    file, data_bytes = GOOD[name]
    assert _check(file) == Contents(file.virtual_size, data_bytes)


@pytest.mark.parametrize("name", BAD)
def test_everything_else_is_refused(name: str) -> None:
    file, reason = BAD[name]
    with pytest.raises(Refused) as refusal:
        _check(file)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("name", GOOD)
def test_a_file_that_is_cut_off_anywhere_before_its_last_data_is_refused(name: str) -> None:
    file, _ = GOOD[name]
    raw = bytes(file)
    for length in (*range(0, 120, 8), *range(0, file.data_offset(max(0, file.data - 1)), file.cluster)):
        with pytest.raises(Refused):
            check_file(Bytes(raw[:length]), 10)


def test_more_clusters_than_can_be_looked_at_in_time_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qcow2_tables, "_MOST_ENTRIES", 40)
    file = Qcow2File()
    for index in range(2, 40):
        file.words[file.l2_entry(index)] = 1
    assert _check(file).data_bytes == 2 * K64
    file.words[file.l2_entry(40)] = 1
    with pytest.raises(Refused, match="more than 40 entries"):
        _check(file)


@pytest.mark.parametrize(
    ("name", "word", "reason"),
    [
        ("L1 table", {"l1_entries": (32 << 20) // 8 + 1}, "its L1 table is of 33554440 bytes"),
        ("refcount table", {"refcount_clusters": 129}, "its refcount table is of 8454144 bytes"),
    ],
)
def test_large_tables_are_refused_unread(name: str, word: dict[str, object], reason: str) -> None:
    reader = Bytes(bytes(Qcow2File(header=word)), 1 << 30)
    with pytest.raises(Refused, match=reason):
        check_file(reader, 10)
    assert reader.read_bytes < 1024, name


def test_a_file_with_too_many_clusters_is_refused_unread() -> None:
    reader = Bytes(bytes(Qcow2File(cluster_bits=9, virtual_size=32768)), 1 << 40)
    with pytest.raises(Refused, match="it has more than 1073741824 clusters"):
        check_file(reader, 10)
    assert reader.read_bytes < 1024


@given(st.sampled_from(sorted(GOOD)), st.data())
def test_any_change_of_any_words_is_accepted_or_refused_and_reads_no_more_than_twice_the_file(
    name: str, data: st.DataObject
) -> None:
    file, _ = GOOD[name]
    raw = bytearray(bytes(file))
    for _ in range(data.draw(st.integers(1, 4))):
        offset = 8 * data.draw(st.one_of(st.integers(0, 20), st.integers(0, len(raw) // 8 - 1),
                                         st.sampled_from([file.l1 // 8, file.l2 // 8, file.cluster // 8])))  # fmt: skip
        word = data.draw(st.one_of(st.integers(0, (1 << 64) - 1), st.integers(0, 16).map(lambda n: n * file.cluster),
                                   st.integers(0, 63).map(lambda n: 1 << n)))  # fmt: skip
        raw[offset : offset + 8] = struct.pack(">Q", word)
    reader = Bytes(bytes(raw))
    with contextlib.suppress(Refused):
        contents = check_file(reader, 10)
        assert 0 < contents.virtual_size_bytes <= 10 << 30
        assert 0 <= contents.data_bytes <= contents.virtual_size_bytes + K64
    assert reader.read_bytes <= 2 * len(raw) + 2 * file.cluster


@given(st.binary(max_size=4096))
def test_any_bytes_behind_the_magic_are_accepted_or_refused(tail: bytes) -> None:
    with contextlib.suppress(Refused):
        check_file(Bytes(b"QFI\xfb" + tail), 10)


def test_data_of_a_compressed_cluster_are_counted_in_full() -> None:
    packed = zlib.compress(bytes(K64))
    file = Qcow2File(data=1)
    for index in range(64):
        file.words[file.l2_entry(index)] = compressed(16, file.data_offset(0), 1)
    file.extra[file.data_offset(0)] = packed
    assert _check(file).data_bytes == 64 * K64

"""Headers of qcow2 files, by bytes: what stands alone is accepted, everything else has its reason."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucloud_image.qcow2 import HEADER_SIZE, Refused, check_header

GIB = 1024**3
GOOD = {
    "magic": b"QFI\xfb", "version": 3, "backing_offset": 0, "backing_length": 0, "cluster_bits": 16,
    "virtual_size": GIB, "encryption": 0, "l1_entries": 2, "l1_offset": 0x30000, "refcount_offset": 0x10000,
    "refcount_clusters": 1, "snapshots": 0, "snapshots_offset": 0, "features": 0,
}  # fmt: skip
FILE_SIZE = 0x40000


def _header(**changes: object) -> bytes:
    raw = struct.pack(">4sIQIIQIIQQIIQQ", *{**GOOD, **changes}.values())
    return raw.ljust(HEADER_SIZE, b"\0")


@pytest.mark.parametrize("changes", [{}, {"version": 2}, {"features": 0b11001}, {"backing_length": 7}])
def test_what_stands_alone_is_accepted(changes: dict[str, object]) -> None:
    assert check_header(_header(**changes), FILE_SIZE, 1).virtual_size_bytes == GIB


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"magic": b"KDMV"}, "not a qcow2 file"),
        ({"version": 1}, "version 1"),
        ({"backing_offset": 104}, "backing file"),
        ({"cluster_bits": 8}, "2^8"),
        ({"cluster_bits": 22}, "2^22"),
        ({"virtual_size": 0}, "0 bytes"),
        ({"virtual_size": GIB + 1}, "allowed: 1 byte to 1 GiB"),
        ({"encryption": 1}, "encrypted"),
        ({"l1_offset": FILE_SIZE - 8}, "beyond its end"),
        ({"l1_entries": 0xFFFFFFFF}, "beyond its end"),
        ({"refcount_offset": 2**63}, "beyond its end"),
        ({"refcount_clusters": 2**31}, "beyond its end"),
        ({"snapshots": 1}, "1 internal snapshots"),
        ({"features": 0b10}, "corrupt"),
        ({"features": 0b100}, "another file"),
        ({"features": 0b100000}, "0x20"),
    ],
)
def test_everything_else_is_refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(Refused) as refusal:
        check_header(_header(**changes), FILE_SIZE, 1)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("length", [0, 3, 4, 71, 72, 103])
def test_a_header_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(Refused):
        check_header(_header()[:length], length, 1)


@given(st.binary(max_size=200).map(lambda tail: b"QFI\xfb" + tail), st.integers(0, 2**62))
def test_any_bytes_are_accepted_or_refused(raw: bytes, size: int) -> None:
    with contextlib.suppress(Refused):
        assert 0 < check_header(raw[:HEADER_SIZE], size, 1).virtual_size_bytes <= GIB

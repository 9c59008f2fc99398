"""Headers of qcow2 files, by bytes: what stands alone is accepted, everything else has its reason."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.qcow2_files import Qcow2File
from ucloud_image.qcow2 import HEADER_SIZE, Refused, check_header

GIB = 1024**3
FILE_SIZE = Qcow2File(virtual_size=GIB).size


def _header(**changes: object) -> bytes:
    return bytes(Qcow2File(virtual_size=GIB, header=changes))[:HEADER_SIZE]


@pytest.mark.parametrize(
    "changes", [{}, {"version": 2}, {"incompatible": 0b01001, "compression": 1}, {"backing_length": 7}]
)
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
        ({"incompatible": 0b10}, "corrupt"),
        ({"incompatible": 0b100}, "another file"),
        ({"incompatible": 0b100000}, "0x20"),
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

"""Is this the header of a qcow2 file that stands alone? Pure, on bytes.

Source: QEMU, docs/interop/qcow2.txt, "Header". What is refused here is refused before any other program sees the file.
"""

import struct
from dataclasses import dataclass

from common.errors import PermanentError

HEADER_SIZE = 104
_MAGIC = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES = struct.Struct(">Q")
_SMALLEST_CLUSTER_BITS, _LARGEST_CLUSTER_BITS = 9, 21
_GIB = 1024**3

_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION_TYPE, _EXTENDED_L2 = (1 << bit for bit in range(5))
_HARMLESS_FEATURES = _DIRTY | _COMPRESSION_TYPE | _EXTENDED_L2


class Refused(PermanentError):
    """The file is not accepted; the text says why, to its owner."""


@dataclass(frozen=True)
class Header:
    """What is known of a file whose header is in order."""

    virtual_size_bytes: int


def check_header(raw: bytes, file_size_bytes: int, max_virtual_gib: int) -> Header:
    """Check `raw`, the first HEADER_SIZE bytes of a file (all, if it is shorter); Refused with the reason."""
    if not raw.startswith(_MAGIC):
        raise Refused("not a qcow2 file")
    if len(raw) < _V2.size:
        raise Refused("the qcow2 header is cut off")
    (
        _,
        version,
        backing_offset,
        _,
        cluster_bits,
        virtual_size_bytes,
        encryption,
        l1_entries,
        l1_offset,
        refcount_offset,
        refcount_clusters,
        snapshots,
        _,
    ) = _V2.unpack_from(raw)
    if version not in (2, 3):
        raise Refused(f"qcow2 version {version} is unknown (allowed: 2 and 3)")
    if not _SMALLEST_CLUSTER_BITS <= cluster_bits <= _LARGEST_CLUSTER_BITS:
        raise Refused(f"its clusters are of 2^{cluster_bits} bytes (allowed: 2^9 to 2^21)")
    if not 0 < virtual_size_bytes <= max_virtual_gib * _GIB:
        raise Refused(f"its disk is of {virtual_size_bytes} bytes (allowed: 1 byte to {max_virtual_gib} GiB)")
    if version == 3:
        _check_features(raw)
    _check_stands_alone(backing_offset, encryption, snapshots)
    tables_end = max(l1_offset + 8 * l1_entries, refcount_offset + (refcount_clusters << cluster_bits))
    if tables_end > file_size_bytes:
        raise Refused("it is cut off: its tables lie beyond its end")
    return Header(virtual_size_bytes)


def _check_stands_alone(backing_offset: int, encryption: int, snapshots: int) -> None:
    if backing_offset:
        raise Refused("it has a backing file: an image must stand alone (qemu-img convert makes it so)")
    if encryption:
        raise Refused("it is encrypted")
    if snapshots:
        raise Refused(f"it holds {snapshots} internal snapshots (qemu-img convert leaves them out)")


def _check_features(raw: bytes) -> None:
    if len(raw) < HEADER_SIZE:
        raise Refused("the qcow2 header is cut off")
    (features,) = _FEATURES.unpack_from(raw, _V2.size)
    if features & _CORRUPT:
        raise Refused("it is marked as corrupt")
    if features & _EXTERNAL_DATA:
        raise Refused("its data are in another file: an image must stand alone (qemu-img convert makes it so)")
    if features & ~_HARMLESS_FEATURES:
        raise Refused(f"it has incompatible features that are unknown here ({features & ~_HARMLESS_FEATURES:#x})")

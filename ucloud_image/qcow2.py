"""Does this header of a qcow2 file stand alone, and are its tables in the file? Pure, on bytes.

Source: QEMU, docs/interop/qcow2.txt, "Header" and "Header extensions". What is refused here is refused before any other
program sees the file. What the tables hold is looked at in qcow2_tables.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from common.errors import PermanentError

HEADER_SIZE = 112
"""What is enough for check_header: the fixed fields of version 3, and the compression type behind them."""

_MAGIC = b"QFI\xfb"
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_V3_SIZE = _V2.size + _V3.size
_EXTENSION = struct.Struct(">II")
_BITMAPS = struct.Struct(">IIQQ")

_SMALLEST_CLUSTER_BITS, _LARGEST_CLUSTER_BITS = 9, 21
_SMALLEST_EXTENDED_CLUSTER_BITS = 14
_LARGEST_REFCOUNT_ORDER = 6
_LARGEST_L1_BYTES = 32 * 1024**2
_LARGEST_REFCOUNT_TABLE_BYTES = 8 * 1024**2
_MOST_CLUSTERS = 1 << 30
_GIB = 1024**3

_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION_TYPE, _EXTENDED_L2 = (1 << bit for bit in range(5))
_HARMLESS_FEATURES = _DIRTY | _COMPRESSION_TYPE | _EXTENDED_L2
_AUTOCLEAR_BITMAPS = 1
_ZLIB, _ZSTD = 0, 1

_END = 0
_BACKING_FORMAT = 0xE2792ACA
_BITMAPS_EXTENSION = 0x23852875
_ENCRYPTION_EXTENSION = 0x0537BE77
_DATA_FILE_NAME = 0x44415441


class Refused(PermanentError):
    """The file is not accepted; the text says why, to its owner."""


class Reader(Protocol):
    """A file that does not change."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer at the file's end."""
        ...


@dataclass(frozen=True)
class Header:
    """What is known of a file whose header is in order; offsets are in bytes, tables lie within the file."""

    version: int
    virtual_size_bytes: int
    cluster_bits: int
    l1_offset: int
    l1_entries: int
    refcount_offset: int
    refcount_clusters: int
    length_bytes: int
    has_extended_l2: bool
    has_bitmaps: bool
    """Whether a bitmap extension counts; one without this mark is out of date, and no program reads it."""

    @property
    def cluster_bytes(self) -> int:
        """The size of a cluster."""
        return 1 << self.cluster_bits

    @property
    def entries_per_l2(self) -> int:
        """How many clusters of the disk one L2 table describes."""
        return self.cluster_bytes // (16 if self.has_extended_l2 else 8)


@dataclass(frozen=True)
class BitmapDirectory:
    """Where the bitmaps that backup programs keep are listed."""

    offset: int
    size_bytes: int
    bitmaps: int


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
    _check_stands_alone(backing_offset, encryption, snapshots)
    features, autoclear, length_bytes = _check_features(raw, cluster_bits) if version == 3 else (0, 0, _V2.size)
    header = Header(
        version=version,
        virtual_size_bytes=virtual_size_bytes,
        cluster_bits=cluster_bits,
        l1_offset=l1_offset,
        l1_entries=l1_entries,
        refcount_offset=refcount_offset,
        refcount_clusters=refcount_clusters,
        length_bytes=length_bytes,
        has_extended_l2=bool(features & _EXTENDED_L2),
        has_bitmaps=bool(autoclear & _AUTOCLEAR_BITMAPS),
    )
    _check_tables(header, file_size_bytes)
    return header


def _check_stands_alone(backing_offset: int, encryption: int, snapshots: int) -> None:
    if backing_offset:
        raise Refused("it has a backing file: an image must stand alone (qemu-img convert makes it so)")
    if encryption:
        raise Refused("it is encrypted")
    if snapshots:
        raise Refused(f"it holds {snapshots} internal snapshots (qemu-img convert leaves them out)")


def _check_features(raw: bytes, cluster_bits: int) -> tuple[int, int, int]:
    """The incompatible and the autoclear features, and the header's length, of a header of version 3."""
    if len(raw) < _V3_SIZE:
        raise Refused("the qcow2 header is cut off")
    features, _, autoclear, refcount_order, length_bytes = _V3.unpack_from(raw, _V2.size)
    if features & _CORRUPT:
        raise Refused("it is marked as corrupt")
    if features & _EXTERNAL_DATA:
        raise Refused("its data are in another file: an image must stand alone (qemu-img convert makes it so)")
    if features & ~_HARMLESS_FEATURES:
        raise Refused(f"it has incompatible features that are unknown here ({features & ~_HARMLESS_FEATURES:#x})")
    if refcount_order > _LARGEST_REFCOUNT_ORDER:
        raise Refused(f"its reference counts are of 2^{refcount_order} bits (allowed: 2^0 to 2^6)")
    if length_bytes % 8 or not _V3_SIZE <= length_bytes <= 1 << cluster_bits:
        raise Refused(f"its header is of {length_bytes} bytes (allowed: 104 to one cluster, in steps of 8)")
    compression = raw[_V3_SIZE] if length_bytes > _V3_SIZE and len(raw) > _V3_SIZE else _ZLIB
    if compression not in (_ZLIB, _ZSTD):
        raise Refused(f"its compression is unknown (type {compression}; allowed: zlib and zstd)")
    if bool(features & _COMPRESSION_TYPE) != (compression != _ZLIB):
        raise Refused("its header contradicts itself about the compression")
    if features & _EXTENDED_L2 and cluster_bits < _SMALLEST_EXTENDED_CLUSTER_BITS:
        raise Refused("its clusters are too small for extended L2 entries (allowed: 2^14 to 2^21 bytes)")
    return features, autoclear, length_bytes


def _check_tables(header: Header, file_size_bytes: int) -> None:
    if file_size_bytes >> header.cluster_bits > _MOST_CLUSTERS:
        raise Refused(f"it has more than {_MOST_CLUSTERS} clusters (qemu-img convert -o cluster_size=2M makes fewer)")
    l1_bytes = 8 * header.l1_entries
    refcount_bytes = header.refcount_clusters << header.cluster_bits
    if max(header.l1_offset + l1_bytes, header.refcount_offset + refcount_bytes) > file_size_bytes:
        raise Refused("it is cut off: its tables lie beyond its end")
    if l1_bytes > _LARGEST_L1_BYTES:
        raise Refused(f"its L1 table is of {l1_bytes} bytes (allowed: {_LARGEST_L1_BYTES})")
    if not 0 < refcount_bytes <= _LARGEST_REFCOUNT_TABLE_BYTES:
        raise Refused(
            f"its refcount table is of {refcount_bytes} bytes (allowed: 1 to {_LARGEST_REFCOUNT_TABLE_BYTES})"
        )
    if (header.l1_offset | header.refcount_offset) % header.cluster_bytes:
        raise Refused("its tables don't begin at clusters")
    if header.l1_entries * header.entries_per_l2 << header.cluster_bits < header.virtual_size_bytes:
        raise Refused("its L1 table is too short for its disk")


def check_extensions(reader: Reader, header: Header) -> BitmapDirectory | None:
    """Check the header's extensions, which fill the first cluster at most; returns where bitmaps are, if there are any.

    Unknown extensions are for nobody who does not know them: the format has readers pass over them.
    """
    directory = None
    for kind, value in _extensions(reader.read(0, header.cluster_bytes), header.length_bytes):
        match kind:
            # Left behind, empty, when a backing file was taken away.
            case _ if kind == _BACKING_FORMAT and value:
                raise Refused("it names a format of a backing file: an image must stand alone")
            case _ if kind == _DATA_FILE_NAME:
                raise Refused("it names another file for its data: an image must stand alone")
            case _ if kind == _ENCRYPTION_EXTENSION:
                raise Refused("it is encrypted")
            case _ if kind == _BITMAPS_EXTENSION and header.has_bitmaps and header.version == 3:
                if len(value) != _BITMAPS.size:
                    raise Refused("its list of bitmaps is damaged")
                bitmaps, _, size_bytes, offset = _BITMAPS.unpack(value)
                directory = BitmapDirectory(offset, size_bytes, bitmaps)
    return directory


def _extensions(raw: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start + _EXTENSION.size <= len(raw):
        kind, length = _EXTENSION.unpack_from(raw, start)
        if kind == _END:
            return
        start += _EXTENSION.size
        if length > len(raw) - start:
            raise Refused("a header extension lies beyond the header's cluster")
        yield kind, raw[start : start + length]
        start += -(-length // 8) * 8

"""Do the tables of a qcow2 file speak of nothing but the file itself? Pure, over a Reader.

Source: QEMU, docs/interop/qcow2.txt, "Host cluster management", "Cluster mapping" and "Bitmaps".

Each table is read once, each cluster belongs to one thing alone (nothing but internal snapshots, which are refused,
shares clusters), and the number of entries is bounded. So what this takes is bounded, in memory by a bit for each
cluster of the file and the L1 table, in time by _MOST_ENTRIES and the size of the file.
"""

import struct
import sys
from array import array
from dataclasses import dataclass

from ucloud_image.qcow2 import HEADER_SIZE, BitmapDirectory, Header, Reader, Refused, check_extensions, check_header

_MOST_ENTRIES = 1 << 25
"""2 TiB in clusters of 64 KiB, the usual ones."""
_MOST_BITMAPS = 65535
_LARGEST_BITMAP_DIRECTORY_BYTES = 1024**2
_BITMAP = struct.Struct(">QIIBBHI")

_OFFSET = (1 << 56) - (1 << 9)
_COPIED = 1 << 63
_COMPRESSED = 1 << 62
_ZERO = 1
_SECTOR_BYTES = 512
_BLOCK_BITS = 16


@dataclass(frozen=True)
class Contents:
    """What was learnt of a file whose tables are in order.

    `data_bytes` is the most that a copy of its disk takes, in clusters of 64 KiB, without its tables.
    """

    virtual_size_bytes: int
    data_bytes: int


def check_file(reader: Reader, max_virtual_gib: int) -> Contents:
    """Check the header of a qcow2 file and all of its tables; Refused with the reason."""
    header = check_header(reader.read(0, HEADER_SIZE), reader.size_bytes, max_virtual_gib)
    directory = check_extensions(reader, header)
    walk = _Walk(reader, header)
    walk.check_refcounts()
    blocks = walk.check_mapping()
    if directory:
        walk.check_bitmaps(directory)
    return Contents(
        header.virtual_size_bytes, min(blocks << _BLOCK_BITS, header.virtual_size_bytes + (1 << _BLOCK_BITS))
    )


class _Walk:
    """The clusters of a file that were seen to be in use."""

    def __init__(self, reader: Reader, header: Header) -> None:
        self._reader = reader
        self._header = header
        self._clusters = -(-reader.size_bytes // header.cluster_bytes)
        self._used = bytearray(self._clusters // 8 + 1)
        self._entries_left = _MOST_ENTRIES
        self._empty_table = bytes(header.cluster_bytes)
        # In version 3, bit 0 says that a cluster reads as zeros; extended entries say so in their bitmap.
        has_zero_flag = header.version == 3 and not header.has_extended_l2
        self._meaningless = ((1 << 64) - 1) & ~(_OFFSET | _COPIED | (_ZERO if has_zero_flag else 0))
        self._within_cluster = header.cluster_bytes - 1 & _OFFSET
        self._size_bytes, self._cluster_bits = reader.size_bytes, header.cluster_bits
        self._take(0, header.cluster_bytes, "its header")

    def check_refcounts(self) -> None:
        """The refcount table and its blocks. What they count matters to those who write into the file, so to nobody."""
        header = self._header
        size_bytes = header.refcount_clusters << header.cluster_bits
        for entry in filter(None, self._table(header.refcount_offset, size_bytes, "its refcount table")):
            self._take_table(entry, entry, "a refcount block")

    def check_bitmaps(self, directory: BitmapDirectory) -> None:
        """The bitmap directory, and each bitmap's table and clusters."""
        if directory.bitmaps > _MOST_BITMAPS or directory.size_bytes > _LARGEST_BITMAP_DIRECTORY_BYTES:
            raise Refused(f"it has too many bitmaps ({directory.bitmaps})")
        self._check_aligned(directory.offset, "its list of bitmaps")
        self._take(directory.offset, directory.size_bytes, "its list of bitmaps")
        raw = self._reader.read(directory.offset, directory.size_bytes)
        start = 0
        for _ in range(directory.bitmaps):
            if start + _BITMAP.size > len(raw):
                raise Refused("its list of bitmaps is damaged")
            offset, entries, _, _, _, name_length, extra_length = _BITMAP.unpack_from(raw, start)
            start += -(-(_BITMAP.size + name_length + extra_length) // 8) * 8
            self._count(entries)
            for entry in filter(None, self._table(offset, 8 * entries, "the table of a bitmap")):
                if entry & _OFFSET:
                    self._take_table(entry & ~_ZERO, entry & _OFFSET, "a bitmap")

    def check_mapping(self) -> int:
        """The L1 table, the L2 tables and where their entries point; returns how many blocks of the disk have data."""
        header = self._header
        blocks = 0
        for entry in filter(None, self._table(header.l1_offset, 8 * header.l1_entries, "its L1 table")):
            offset = entry & ~_COPIED
            if not offset:
                continue
            self._take_table(offset, offset, "an L2 table")
            raw = self._reader.read(offset, header.cluster_bytes)
            if raw != self._empty_table:
                blocks += self._check_l2(_numbers(raw))
        return blocks

    def _check_l2(self, numbers: "array[int]") -> int:
        if self._header.has_extended_l2:
            entries = numbers[0::2]
            for entry, subclusters in zip(entries, numbers[1::2], strict=True):
                _check_subclusters(entry, subclusters)
        else:
            entries = numbers
        self._count(len(entries) - entries.count(0))
        cluster_bits = self._header.cluster_bits
        if cluster_bits >= _BLOCK_BITS:
            return sum(map(self._check_entry, filter(None, entries))) << (cluster_bits - _BLOCK_BITS)
        shift = _BLOCK_BITS - cluster_bits
        return len({index >> shift for index, entry in enumerate(entries) if entry and self._check_entry(entry)})

    def _check_entry(self, entry: int) -> bool:
        """Whether the disk has data there. This is called for each cluster of the disk, up to _MOST_ENTRIES times."""
        if entry & _COMPRESSED:
            return self._check_compressed(entry)
        if entry & self._meaningless:
            raise Refused("an L2 entry has bits set that mean nothing")
        offset = entry & _OFFSET
        if not offset:
            return False
        if offset & self._within_cluster:
            raise Refused("an L2 entry points between two clusters")
        if offset >= self._size_bytes:
            raise Refused("it is damaged, or was cut off: an L2 entry points beyond its end")
        cluster = offset >> self._cluster_bits
        byte, bit = cluster >> 3, 1 << (cluster & 7)
        if self._used[byte] & bit:
            raise Refused("it is damaged: an L2 entry points at a cluster that has another use")
        self._used[byte] |= bit
        return not entry & _ZERO

    def _check_compressed(self, entry: int) -> bool:
        """Several of these share a cluster of the file, at any byte of it, so these clusters are not marked as used."""
        bits = 62 - (self._header.cluster_bits - 8)
        offset = entry & ((1 << bits) - 1)
        sectors = 1 + ((entry & (_COMPRESSED - 1)) >> bits)
        end = offset - offset % _SECTOR_BYTES + sectors * _SECTOR_BYTES
        if offset >= self._reader.size_bytes or end > self._clusters << self._header.cluster_bits:
            raise Refused("it is damaged, or was cut off: a compressed cluster lies beyond its end")
        return True

    def _table(self, offset: int, size_bytes: int, what: str) -> "array[int]":
        self._check_aligned(offset, what)
        self._take(offset, size_bytes, what)
        return _numbers(self._reader.read(offset, size_bytes))

    def _take_table(self, entry: int, offset: int, what: str) -> None:
        """A cluster that an entry of a table points at, and that must be whole."""
        if entry & ~_OFFSET:
            raise Refused(f"where {what} should be is a number with bits set that mean nothing")
        self._check_aligned(offset, what)
        self._take(offset, self._header.cluster_bytes, what)

    def _check_aligned(self, offset: int, what: str) -> None:
        if offset & (self._header.cluster_bytes - 1):
            raise Refused(f"{what} does not begin at a cluster")

    def _take(self, offset: int, size_bytes: int, what: str) -> None:
        if offset + size_bytes > self._reader.size_bytes:
            raise Refused(f"it is damaged, or was cut off: {what} lies beyond its end")
        bits = self._header.cluster_bits
        for cluster in range(offset >> bits, -(-(offset + size_bytes) >> bits)):
            byte, bit = divmod(cluster, 8)
            if self._used[byte] >> bit & 1:
                raise Refused(f"it is damaged: {what} lies where something else is")
            self._used[byte] |= 1 << bit

    def _count(self, entries: int) -> None:
        self._entries_left -= entries
        if self._entries_left < 0:
            raise Refused(
                f"its tables have more than {_MOST_ENTRIES} entries (qemu-img convert -o cluster_size=2M makes fewer)"
            )


def _check_subclusters(entry: int, subclusters: int) -> None:
    allocated, zero = subclusters & 0xFFFFFFFF, subclusters >> 32
    if allocated & zero:
        raise Refused("a subcluster is both data and zeros")
    if entry & _COMPRESSED and subclusters:
        raise Refused("a compressed cluster has subclusters")
    if allocated and not entry & _OFFSET:
        raise Refused("subclusters have data, and no cluster to be in")


def _numbers(raw: bytes) -> "array[int]":
    """The numbers of a table, which are big-endian and of 64 bits."""
    numbers = array("Q", raw)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers

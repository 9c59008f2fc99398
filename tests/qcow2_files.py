"""Makes qcow2 files, field by field: what QEMU would make, and what it never would.

Source: QEMU, docs/interop/qcow2.txt. A file is laid out in clusters: header, refcount table, one refcount block, L1
table, L2 tables, data.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

COPIED, COMPRESSED = 1 << 63, 1 << 62
BACKING_FORMAT, DATA_FILE, ENCRYPTION, BITMAPS, FEATURE_NAMES = (
    0xE2792ACA, 0x44415441, 0x0537BE77, 0x23852875, 0x6803F857,
)  # fmt: skip
_FIELDS = {
    "magic": "4s", "version": "I", "backing_offset": "Q", "backing_length": "I", "cluster_bits": "I",
    "virtual_size": "Q", "encryption": "I", "l1_entries": "I", "l1_offset": "Q", "refcount_offset": "Q",
    "refcount_clusters": "I", "snapshots": "I", "snapshots_offset": "Q", "incompatible": "Q", "compatible": "Q",
    "autoclear": "Q", "refcount_order": "I", "header_length": "I", "compression": "B",
}  # fmt: skip


@dataclass
class Qcow2File:
    """A file with `data` clusters, one after the other on the disk too; change what you like, then take its bytes.

    `header` replaces fields, `words` numbers of 64 bits anywhere in the file, `extra` bytes anywhere. `extensions` are
    put behind the header as they are.
    """

    cluster_bits: int = 16
    virtual_size: int = 4 << 20
    data: int = 2
    version: int = 3
    extended: bool = False
    header: dict[str, object] = field(default_factory=dict)
    extensions: list[tuple[int, bytes]] = field(default_factory=list)
    words: dict[int, int] = field(default_factory=dict)
    extra: dict[int, bytes] = field(default_factory=dict)

    @property
    def cluster(self) -> int:
        """The size of a cluster."""
        return 1 << self.cluster_bits

    @property
    def entry_bytes(self) -> int:
        """The size of an entry of an L2 table."""
        return 16 if self.extended else 8

    @property
    def l1(self) -> int:
        """The offset of the L1 table."""
        return 3 * self.cluster

    @property
    def l2(self) -> int:
        """The offset of the first L2 table."""
        return 4 * self.cluster

    def l2_entry(self, index: int) -> int:
        """The offset of an entry of the first L2 table."""
        return self.l2 + index * self.entry_bytes

    def data_offset(self, index: int) -> int:
        """The offset of a cluster of data."""
        return (5 + index) * self.cluster

    @property
    def size(self) -> int:
        """How long the file is."""
        return self.data_offset(self.data)

    def __bytes__(self) -> bytes:
        raw = bytearray(self.size)
        self._put_header(raw)
        words = {self.cluster: 2 * self.cluster, self.l1: self.l2 | COPIED}
        for index in range(self.data):
            words[self.l2_entry(index)] = self.data_offset(index) | COPIED
            if self.extended:
                words[self.l2_entry(index) + 8] = 0xFFFFFFFF
            raw[self.data_offset(index) : self.data_offset(index) + 4] = b"data"
        for index in range(5 + self.data):
            struct.pack_into(">H", raw, 2 * self.cluster + 2 * index, 1)
        for offset, word in (words | self.words).items():
            raw[offset : offset + 8] = struct.pack(">Q", word)
        for offset, content in self.extra.items():
            raw[offset : offset + len(content)] = content
        return bytes(raw)

    def _put_header(self, raw: bytearray) -> None:
        per_l1 = self.cluster // self.entry_bytes * self.cluster
        values: Mapping[str, object] = {
            "magic": b"QFI\xfb", "version": self.version, "backing_offset": 0, "backing_length": 0,
            "cluster_bits": self.cluster_bits, "virtual_size": self.virtual_size, "encryption": 0,
            "l1_entries": -(-self.virtual_size // per_l1), "l1_offset": self.l1, "refcount_offset": self.cluster,
            "refcount_clusters": 1, "snapshots": 0, "snapshots_offset": 0, "incompatible": 16 if self.extended else 0,
            "compatible": 0, "autoclear": 0, "refcount_order": 4, "header_length": 112, "compression": 0,
        } | self.header  # fmt: skip
        fields = list(_FIELDS) if self.version >= 3 else list(_FIELDS)[:13]
        packed = struct.pack(">" + "".join(_FIELDS[name] for name in fields), *(values[name] for name in fields))
        raw[: len(packed)] = packed
        start = 112 if self.version >= 3 else 72
        for kind, value in self.extensions:
            content = struct.pack(">II", kind, len(value)) + value
            raw[start : start + len(content)] = content
            start += -(-len(content) // 8) * 8


def compressed(cluster_bits: int, offset: int, sectors: int) -> int:
    """An L2 entry of a compressed cluster that begins at `offset` and ends in the `sectors`th sector from there."""
    return COMPRESSED | (sectors - 1) << (62 - (cluster_bits - 8)) | offset

"""qcow2 files made by hand: those whose tables are in order, and those that must be refused, each with its reason."""

import struct

from tests.qcow2_files import (
    BACKING_FORMAT,
    BITMAPS,
    DATA_FILE,
    ENCRYPTION,
    FEATURE_NAMES,
    Qcow2File,
    compressed,
)

MIB = 1024 * 1024
K64 = 65536


def _bitmap_file(table_entries: int = 1, **changes: int) -> Qcow2File:
    """With the bitmap directory in the first cluster of data, its table in the second and its bits in the third."""
    file = Qcow2File(data=4, header={"autoclear": 1})
    for index in range(3):
        file.words[file.l2_entry(index)] = 0
    values = {"offset": file.data_offset(0), "size": 32, "bitmaps": 1} | changes
    file.extensions = [(BITMAPS, struct.pack(">IIQQ", values["bitmaps"], 0, values["size"], values["offset"]))]
    file.extra[file.data_offset(0)] = (
        struct.pack(">QIIBBHI", file.data_offset(1), table_entries, 0, 1, 16, 3, 0) + b"old"
    )
    file.words[file.data_offset(1)] = file.data_offset(2)
    return file


FILE = Qcow2File()
SUB = Qcow2File(extended=True)

GOOD = {
    "plain": (Qcow2File(), 2 * K64),
    "version 2": (Qcow2File(version=2), 2 * K64),
    "empty": (Qcow2File(data=0, virtual_size=10 << 30), 0),
    "clusters of 512 bytes": (Qcow2File(cluster_bits=9, virtual_size=32768, data=60), K64),
    "clusters of 2 MiB": (Qcow2File(cluster_bits=21, data=2), 4 * MIB),
    "extended L2": (Qcow2File(extended=True), 2 * K64),
    "zeros": (Qcow2File(words={FILE.l2_entry(7): 1, FILE.l2_entry(8): 1}), 2 * K64),
    "zeros with a cluster": (Qcow2File(words={FILE.l2_entry(1): FILE.data_offset(1) | 1}), K64),
    "zstd": (Qcow2File(header={"incompatible": 8, "compression": 1}), 2 * K64),
    "compressed clusters that share one": (
        Qcow2File(words={FILE.l2_entry(n): compressed(16, FILE.data_offset(1) + n, 1) for n in (1, 2, 3)}),
        4 * K64,
    ),
    "feature names": (Qcow2File(extensions=[(FEATURE_NAMES, bytes(48))]), 2 * K64),
    "an extension nobody knows": (Qcow2File(extensions=[(0x12345678, b"abc")]), 2 * K64),
    "a backing file was taken away": (Qcow2File(extensions=[(BACKING_FORMAT, b"")]), 2 * K64),
    "bitmaps": (_bitmap_file(), K64),
    "bitmaps that are out of date": (
        Qcow2File(extensions=[(BITMAPS, struct.pack(">IIQQ", 1, 0, 32, 1 << 60))]), 2 * K64,
    ),
}  # fmt: skip


def _word(offset: int, word: int, **changes: int) -> Qcow2File:
    return Qcow2File(words={offset: word}, **changes)  # type: ignore[arg-type]


BAD = {
    "data file name": (Qcow2File(extensions=[(DATA_FILE, b"/etc/passwd")]), "names another file for its data"),
    "backing format": (Qcow2File(extensions=[(BACKING_FORMAT, b"raw")]), "names a format of a backing file"),
    "encryption header": (Qcow2File(extensions=[(ENCRYPTION, bytes(16))]), "it is encrypted"),
    "extension too long": (Qcow2File(extra={112: struct.pack(">II", 1, 0xFFFFFFFF)}), "beyond the header's cluster"),
    "refcount order": (Qcow2File(header={"refcount_order": 7}), "2^7 bits"),
    "header too short": (Qcow2File(header={"header_length": 96}), "its header is of 96 bytes"),
    "header too long": (Qcow2File(header={"header_length": K64 + 8}), "its header is of 65544 bytes"),
    "compression unknown": (Qcow2File(header={"incompatible": 8, "compression": 7}), "type 7"),
    "compression undeclared": (Qcow2File(header={"compression": 1}), "contradicts itself"),
    "extended, small": (Qcow2File(extended=True, cluster_bits=12, virtual_size=4096), "too small for extended"),
    "L1 between clusters": (Qcow2File(header={"l1_offset": FILE.l1 + 8}), "don't begin at clusters"),
    "L1 too short": (Qcow2File(virtual_size=10 << 30, header={"l1_entries": 1}), "too short"),
    "no refcounts": (Qcow2File(header={"refcount_clusters": 0}), "its refcount table is of 0 bytes"),
    "L1 on the header": (Qcow2File(header={"l1_offset": 0}), "its L1 table lies where something else is"),
    "L1 on the refcounts": (Qcow2File(header={"l1_offset": FILE.cluster}), "its L1 table lies where something else"),
    "refcounts beyond": (_word(FILE.cluster, 1 << 40), "a refcount block lies beyond its end"),
    "refcounts between": (_word(FILE.cluster, FILE.l2 + 512), "a refcount block does not begin at a cluster"),
    "refcounts on the header": (_word(FILE.cluster + 8, 2 * FILE.cluster), "a refcount block lies where"),
    "refcount bits": (_word(FILE.cluster, 2 * FILE.cluster | 1), "bits set that mean nothing"),
    "L2 beyond": (_word(FILE.l1, 1 << 40), "an L2 table lies beyond its end"),
    "L2 at the very end": (_word(FILE.l1, FILE.size), "an L2 table lies beyond its end"),
    "L2 between": (_word(FILE.l1, FILE.l2 + 512), "an L2 table does not begin at a cluster"),
    "L2 is the L1": (_word(FILE.l1, FILE.l1), "an L2 table lies where something else is"),
    "L1 bits": (_word(FILE.l1, FILE.l2 | 1 << 60), "bits set that mean nothing"),
    "one L2 twice": (
        Qcow2File(cluster_bits=9, virtual_size=65536, words={3 * 512 + 8: 4 * 512}), "an L2 table lies where",
    ),
    "data beyond": (_word(FILE.l2, 1 << 40), "an L2 entry points beyond its end"),
    "data between": (_word(FILE.l2, FILE.data_offset(0) + 512), "points between two clusters"),
    "data is a table": (_word(FILE.l2, FILE.l2), "a cluster that has another use"),
    "data is the header": (_word(FILE.l2, 0 | 1 << 63 | FILE.cluster), "a cluster that has another use"),
    "one cluster twice": (_word(FILE.l2_entry(5), FILE.data_offset(0)), "a cluster that has another use"),
    "L2 bits": (_word(FILE.l2, FILE.data_offset(0) | 1 << 60), "an L2 entry has bits set"),
    "zero in version 2": (_word(FILE.l2, 1, version=2), "an L2 entry has bits set"),
    "zero in extended L2": (_word(SUB.l2, SUB.data_offset(0) | 1, extended=True), "an L2 entry has bits set"),
    "compressed beyond": (_word(FILE.l2, compressed(16, FILE.size, 1)), "a compressed cluster lies beyond"),
    "compressed too long": (_word(FILE.l2, compressed(16, FILE.size - 512, 2)), "a compressed cluster lies beyond"),
    "compressed far away": (_word(FILE.l2, compressed(16, (1 << 54) - 1, 1)), "a compressed cluster lies beyond"),
    "subcluster twice": (_word(SUB.l2 + 8, 1 << 32 | 1, extended=True), "both data and zeros"),
    "subclusters nowhere": (_word(SUB.l2_entry(9) + 8, 1, extended=True), "no cluster to be in"),
    "subclusters compressed": (
        _word(SUB.l2, compressed(16, SUB.data_offset(0), 1), extended=True), "a compressed cluster has subclusters",
    ),
    "bitmaps beyond": (_bitmap_file(offset=1 << 40), "its list of bitmaps lies beyond its end"),
    "bitmaps between": (_bitmap_file(offset=FILE.data_offset(0) + 8), "its list of bitmaps does not begin"),
    "bitmaps on the L1": (_bitmap_file(offset=FILE.l1), "its list of bitmaps lies where something else is"),
    "bitmaps cut off": (_bitmap_file(bitmaps=5), "its list of bitmaps is damaged"),
    "too many bitmaps": (_bitmap_file(bitmaps=1 << 20), "too many bitmaps"),
    "huge list of bitmaps": (_bitmap_file(size=1 << 40), "too many bitmaps"),
    "huge table of a bitmap": (_bitmap_file(table_entries=0xFFFFFFFF), "more than 33554432 entries"),
    "long table of a bitmap": (_bitmap_file(table_entries=1 << 20), "the table of a bitmap lies beyond"),
}  # fmt: skip

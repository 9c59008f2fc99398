"""Hostile and broken uploads: each is refused with its own reason, and the next good one is imported all the same.

strace(1) shows that nothing of the host is opened on the way.
"""

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from common.schemas.image import ImageActual
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_image.conftest import DEADLINE_S, Images, StartImageDaemon, qemu_img
from tests.qcow2_cases import BAD
from tests.qcow2_files import BACKING_FORMAT, DATA_FILE, Qcow2File, compressed

Make = Callable[[Images, Path], None]


def _patched(offset: int, layout: str, value: int) -> Make:
    """A good file with one field of its header changed."""

    def make(images: Images, path: Path) -> None:
        images.make_good(path.name)
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(struct.pack(layout, value))

    return make


def _backing_file(images: Images, path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", path, "1M")


def _backing_json(images: Images, path: Path) -> None:
    backing = 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'
    qemu_img("create", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", path, "1M")


def _external_data(images: Images, path: Path) -> None:
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={path}.raw,data_file_raw=on", path, "1M")


def _snapshot(images: Images, path: Path) -> None:
    images.make_good(path.name)
    qemu_img("snapshot", "-c", "one", path)


def _too_large(images: Images, path: Path) -> None:
    qemu_img("create", "-f", "qcow2", path, "8P", "-o", "cluster_size=2M")


def _truncated_data(images: Images, path: Path) -> None:
    images.make_good(path.name)
    os.truncate(path, path.stat().st_size // 2)


def _truncated_tables(images: Images, path: Path) -> None:
    images.make_good(path.name)
    os.truncate(path, 200)


def _vmdk(images: Images, path: Path) -> None:
    path.write_text(
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
        'RW 8 FLAT "../../../../etc/passwd" 0\n'
    )


def _raw(images: Images, path: Path) -> None:
    path.write_bytes(bytes(1024 * 1024))


def _empty(images: Images, path: Path) -> None:
    path.touch()


def _bad_l1(images: Images, path: Path) -> None:
    """The tables are inside the file, and what they point at is not."""
    images.make_good(path.name)
    with path.open("r+b") as file:
        file.seek(40)
        (l1_offset,) = struct.unpack(">Q", file.read(8))
        file.seek(l1_offset)
        file.write(struct.pack(">Q", (1 << 63) | (1 << 40)))


def _symlink(images: Images, path: Path) -> None:
    path.symlink_to(images.make_good(f"target-of-{path.name}"))


def _hard_link(images: Images, path: Path) -> None:
    path.hardlink_to(images.make_good(f"target-of-{path.name}"))


def _pipe(images: Images, path: Path) -> None:
    os.mkfifo(path)


def _directory(images: Images, path: Path) -> None:
    path.mkdir()


def _device(images: Images, path: Path) -> None:
    os.mknod(path, 0o020666, os.makedev(1, 5))


def _missing(images: Images, path: Path) -> None:
    pass


def _bytes(content: object) -> Make:
    """A file with these bytes."""

    def make(images: Images, path: Path) -> None:
        path.write_bytes(bytes(content))  # type: ignore[call-overload]

    return make


def _holes(size_bytes: int) -> Make:
    """A good file that goes on as one large hole."""

    def make(images: Images, path: Path) -> None:
        path.write_bytes(bytes(Qcow2File()))
        os.truncate(path, size_bytes)

    return make


def _socket(images: Images, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


def _link_to_shadow(images: Images, path: Path) -> None:
    path.symlink_to("/etc/shadow")


def _hard_link_to_foreign(images: Images, path: Path) -> None:
    foreign = images.uploads.parent / "bob"
    foreign.mkdir()
    (foreign / "private.qcow2").write_bytes(bytes(Qcow2File()))
    path.hardlink_to(foreign / "private.qcow2")


def _backed(name: str) -> Qcow2File:
    """A file whose contents are those of another one."""
    raw = name.encode()
    file = Qcow2File(data=0, header={"backing_offset": 512, "backing_length": len(raw)}, extra={512: raw})
    file.extensions = [] if ":" in name else [(BACKING_FORMAT, b"raw")]
    return file


def _foreign_data(name: str) -> Qcow2File:
    """A file whose data are in another one."""
    return Qcow2File(data=0, header={"incompatible": 4}, extensions=[(DATA_FILE, name.encode())])


SECRET = f"/var/tmp/ucloud-test-secret-{os.getpid()}"
"""A file of the host, which the test makes."""
PORT = 20000 + os.getpid() % 10000
"""Where the test listens, on ::1."""
BACKINGS = {
    "absolute": SECRET,
    "relative": f"../../../../../../../..{SECRET}",
    "shadow": "/etc/shadow",
    "device": "/dev/vda",
    "descriptor": "/proc/self/fd/0",
    "json": f'json:{{"driver":"raw","file":{{"driver":"file","filename":"{SECRET}"}}}}',
    "json-offset": f'json:{{"driver":"raw","offset":0,"size":512,"file.driver":"file","file.filename":"{SECRET}"}}',
    "json-nbd": f'json:{{"driver":"nbd","host":"::1","port":"{PORT}"}}',
    "json-https": f'json:{{"driver":"https","url":"https://[::1]:{PORT}/x"}}',
    "nbd": f"nbd:[::1]:{PORT}",
    "nbd-uri": f"nbd://[::1]:{PORT}/",
    "nbd-unix": f"nbd:unix:{SECRET}.socket",
    "ssh": f"ssh://root@[::1]:{PORT}{SECRET}",
    "rbd": "rbd:images/of-somebody:id=ucloud",
    "fat": "fat:rw:/etc",
    "blkdebug": f"blkdebug:{SECRET}:{SECRET}",
    "host-device": "host_device:/dev/vda",
}
FOREIGN = {
    "vmdk-sparse": b"KDMV" + struct.pack("<IIQQQQIQQQB", 1, 3, 128, 128, 1, 1, 512, 21, 26, 128, 0),
    "vmdk-cowd": b"COWD" + bytes(508),
    "qed": b"QED\0" + struct.pack("<IIIQQQQQII", 65536, 4, 1, 1, 0, 0, 65536, 1 << 30, 512, len(SECRET)),
    "vdi": b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + struct.pack("<I", 0xBEDA107F),
    "vpc": b"conectix" + bytes(504),
    "vhdx": b"vhdxfile" + bytes(65528),
    "luks": b"LUKS\xba\xbe\0\1" + bytes(584),
    "parallels": b"WithoutFreeSpace" + bytes(496),
    "dmg": bytes(512) + b"koly" + bytes(508),
    "qcow1": b"QFI\xfb" + struct.pack(">IQIIQ", 1, 48, len(SECRET), 0, 1 << 30),
    "mbr": bytes(510) + b"\x55\xaa" + bytes(65536),
    "elf": Path(sys.executable).read_bytes()[:65536],
    "script": b"#!/bin/sh\ncat /etc/shadow\n",
    "shifted": bytes(512) + bytes(Qcow2File()),
}

HOSTILE: list[tuple[str, Make, str]] = [
    ("backing-file", _backing_file, "it has a backing file"),
    ("backing-json", _backing_json, "it has a backing file"),
    ("external-data", _external_data, "its data are in another file"),
    ("encrypted", _patched(32, ">I", 2), "it is encrypted"),
    ("snapshot", _snapshot, "it holds 1 internal snapshots"),
    ("many-snapshots", _patched(60, ">I", 65000), "it holds 65000 internal snapshots"),
    ("too-large", _too_large, "(allowed: 1 byte to 10 GiB)"),
    ("size-zero", _patched(24, ">Q", 0), "its disk is of 0 bytes"),
    ("truncated-data", _truncated_data, "it is damaged, or was cut off"),
    ("truncated-tables", _truncated_tables, "its tables lie beyond its end"),
    ("cluster-bits", _patched(20, ">I", 63), "its clusters are of 2^63 bytes"),
    ("version", _patched(4, ">I", 4), "qcow2 version 4 is unknown"),
    ("corrupt", _patched(72, ">Q", 2), "it is marked as corrupt"),
    ("unknown-feature", _patched(72, ">Q", 1 << 40), "incompatible features that are unknown here (0x10000000000)"),
    ("l1-too-large", _patched(36, ">I", 0xFFFFFFFF), "its tables lie beyond its end"),
    ("l1-too-small", _patched(36, ">I", 0), "its L1 table is too short"),
    ("bad-l1", _bad_l1, "it is damaged"),
    ("vmdk", _vmdk, "not a qcow2 file"),
    ("raw", _raw, "not a qcow2 file"),
    ("empty", _empty, "not a qcow2 file"),
    ("symlink", _symlink, "is a symbolic link"),
    ("hard-link", _hard_link, "has 2 names"),
    ("pipe", _pipe, "is not a plain file"),
    ("directory", _directory, "is not a plain file"),
    ("device", _device, "is not a plain file"),
    ("missing", _missing, "is not in alice's upload folder"),
    ("socket", _socket, "is not a plain file"),
    ("link-to-shadow", _link_to_shadow, "is a symbolic link"),
    ("hard-link-to-foreign", _hard_link_to_foreign, "has 2 names"),
    ("hole-of-terabytes", _holes(12 << 40), "it is of 13194139533312 bytes (allowed: 10 GiB)"),
    *((f"backing-{name}", _bytes(_backed(value)), "it has a backing file") for name, value in BACKINGS.items()),
    *((f"data-{name}", _bytes(_foreign_data(value)), "its data are in another") for name, value in BACKINGS.items()),
    *((f"format-{name}", _bytes(value), "") for name, value in FOREIGN.items()),
    *((f"made-{number}", _bytes(file), reason) for number, (file, reason) in enumerate(BAD.values())),
]


@pytest.fixture
def secret() -> Iterator[Path]:
    """A file of the host that anybody may read, and nobody should."""
    path = Path(SECRET)
    path.write_bytes(b"what is nobody's business " * 1000)
    yield path
    path.unlink()


@contextmanager
def _traced(daemon: DaemonProcess, log: Path) -> Iterator[None]:
    """Note all that a daemon and its children name of files, and whom they speak to."""
    pid = daemon._process.pid
    command = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file,%network", "-o", str(log), "-p", str(pid)]
    with subprocess.Popen(command) as strace:
        tasks = Path(f"/proc/{pid}/task")
        is_traced = re.compile(rf"^TracerPid:\t{strace.pid}$", re.MULTILINE)
        wait_for("strace", lambda: all(is_traced.search((task / "status").read_text()) for task in tasks.iterdir()), 30)
        yield
        strace.send_signal(signal.SIGINT)


def _opened_by_qemu_img(trace: str) -> tuple[int, set[str]]:
    """How often qemu-img was run, and what it opened, by the names that the sandbox gives."""
    runs, opened, begun = set(), set(), dict[str, str]()
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        if call.strip().startswith('execve("/usr/bin/qemu-img"'):
            runs.add(pid)
        if name := re.search(r'open(?:at)?\(.*?"(.*?)"', call):
            begun[pid] = os.path.normpath(name[1])
        # A call during which another thread does something has a second line.
        if pid in runs and re.search(r"open(at)?(\(| resumed).*\) += \d", call):
            opened.add(begun[pid])
    return len(runs), opened


def _peak_kib(daemon: DaemonProcess) -> int:
    status = Path(f"/proc/{daemon._process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def test_hostile_uploads_are_refused_each_with_its_reason(
    images: Images, start_daemon: StartImageDaemon, tmp_path: Path, secret: Path
) -> None:
    assert len(HOSTILE) > 100
    daemon = start_daemon()
    log = tmp_path / "strace.log"
    before_kib, began = _peak_kib(daemon), time.monotonic()
    with _traced(daemon, log), socket.create_server(("::1", PORT), family=socket.AF_INET6) as server:
        expected = []
        for name, make, reason in HOSTILE:
            make(images, images.uploads / f"{name}.qcow2")
            expected.append((images.request(f"{name}.qcow2"), reason))
        for request, reason in expected:
            status = images.wait_status(request)
            assert status.actual is ImageActual.REJECTED, request.file
            assert reason in status.reason, request.file
            assert str(images.ssd.parent) not in status.reason
            assert "/proc/" not in status.reason
            assert not images.template(request).exists()
        took_s = time.monotonic() - began
        assert images.work_left() == []
        images.make_good("good.qcow2")
        assert images.wait_status(images.request("good.qcow2")).actual is ImageActual.READY
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (daemon.health() or {})["status"] == "ok"
    print(f"{len(HOSTILE)} files in {took_s:.1f} s; the daemon's peak grew by {_peak_kib(daemon) - before_kib} KiB")
    assert _peak_kib(daemon) - before_kib < 64 * 1024
    assert took_s / len(HOSTILE) < 1
    trace = log.read_text(errors="replace")
    # Nothing is even looked for under the names that the files give.
    for name in (SECRET, "ucloud-test-secret", "/etc/shadow", "/dev/vda", "of-somebody"):
        assert name not in trace
    runs, opened = _opened_by_qemu_img(trace)
    assert runs == 1, "only the good one is worth it"
    assert {"/source", "/target"} <= opened
    assert {name for name in opened if not name.startswith(("/lib", "/usr/lib"))} <= {"/source", "/target", "/dev/null"}


@pytest.mark.parametrize("name", BACKINGS)
def test_the_sandbox_alone_keeps_qemu_img_from_what_a_file_names(tmp_path: Path, secret: Path, name: str) -> None:
    """As if nothing had been checked before."""
    source, target, log = tmp_path / "source", tmp_path / "target", tmp_path / "strace.log"
    source.write_bytes(bytes(_backed(BACKINGS[name])))
    target.touch()
    code = f"""
from pathlib import Path
from ucloud_image.qemu_img import *
from common.sandbox import *
allowance = Allowance(reads={{"/source": Path({str(source)!r})}}, writes={{"/target": Path({str(target)!r})}})
command = ["qemu-img", "convert", *image_options("/source"), "-O", "raw", "/target"]
answer = run(command, allowance, Limits(2**31, 2**23, 30, 60))
assert answer.return_code == 1 and "Could not open" in answer.output, answer
"""
    strace = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file,%network", "-o", str(log)]
    subprocess.run([*strace, sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
    assert target.read_bytes() == b""
    runs, opened = _opened_by_qemu_img(log.read_text(errors="replace"))
    assert runs == 1
    assert {path for path in opened if not path.startswith(("/lib", "/usr/lib"))} <= {"/source", "/dev/null"}


def test_without_any_of_it_qemu_img_would_tell(tmp_path: Path, secret: Path) -> None:
    """That the files of this test are as hostile as they look."""
    for name in ("absolute", "json"):
        source, target = tmp_path / "source", tmp_path / f"{name}.raw"
        source.write_bytes(bytes(_backed(BACKINGS[name])))
        qemu_img("convert", "-f", "qcow2", "-O", "raw", source, target)
        assert secret.read_bytes() in target.read_bytes()


def test_an_upload_that_is_swapped_all_the_time_is_what_was_checked(
    images: Images, start_daemon: StartImageDaemon, secret: Path
) -> None:
    good, swapped = images.make_good("good.qcow2"), images.uploads / "swapped.qcow2"
    start_daemon()
    stop = threading.Event()

    def swap() -> None:
        contents = [good.read_bytes(), bytes(_backed(SECRET)), bytes(_foreign_data(SECRET))]
        number = 0
        while not stop.is_set():
            number += 1
            draft = images.uploads / "draft"
            draft.write_bytes(contents[number % 3])
            draft.rename(swapped)
            with swapped.open("r+b") as file:  # and in its place
                file.write(contents[(number + 1) % 3][:4096])

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        wait_for("the first one", swapped.exists, DEADLINE_S)
        requests = [images.request("swapped.qcow2") for _ in range(30)]
        ends = frozenset({ImageActual.READY, ImageActual.REJECTED, ImageActual.ERROR})
        statuses = [images.wait_status(request, ends) for request in requests]
    finally:
        stop.set()
        thread.join()
    assert {status.actual for status in statuses} >= {ImageActual.REJECTED}
    for request in requests:
        if images.template(request).exists():
            assert secret.read_bytes()[:25] not in images.template(request).read_bytes()


def test_a_folder_that_is_a_link_is_refused(images: Images, start_daemon: StartImageDaemon) -> None:
    images.make_good("good.qcow2")
    elsewhere = images.uploads.parent / "elsewhere"
    images.uploads.rename(elsewhere)
    images.uploads.symlink_to(elsewhere)
    start_daemon()
    status = images.wait_status(images.request("good.qcow2"))
    assert (status.actual, status.reason) == (ImageActual.REJECTED, "alice has no upload folder")


def _bomb(virtual_size: int, unit: bytes) -> bytes:
    """A file of some 2 MiB clusters, of which each cluster of the disk is the same one, compressed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = packer.compress(unit * ((2 << 20) // len(unit))) + packer.flush()
    file = Qcow2File(cluster_bits=21, virtual_size=virtual_size, data=1)
    for index in range(virtual_size >> 21):
        file.words[file.l2_entry(index)] = compressed(21, file.data_offset(0), -(-len(packed) // 512))
    file.extra[file.data_offset(0)] = packed
    return bytes(file)


@contextmanager
def _peak_of(program: str) -> Iterator[list[int]]:
    """How much memory processes of this name took at most, in KiB; looked at over and over."""
    peaks, stop = [0], threading.Event()

    def look() -> None:
        while not stop.wait(0.01):
            for status in Path("/proc").glob("[0-9]*/status"):
                with suppress(OSError):
                    text = status.read_text()
                    peaks.extend(map(int, re.findall(rf"^Name:\t{program}\n[^$]*VmHWM:\s+(\d+) kB", text)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()


def test_a_small_file_that_unfolds_to_zeros_stays_small(images: Images, start_daemon: StartImageDaemon) -> None:
    (images.uploads / "bomb.qcow2").write_bytes(_bomb(1 << 30, b"\0"))
    start_daemon()
    with _peak_of("qemu-img") as peak_kib:
        request = images.request("bomb.qcow2")
        assert images.wait_status(request).actual is ImageActual.READY
    print(f"qemu-img took {max(peak_kib)} KiB at most")
    assert 0 < max(peak_kib) < 256 * 1024
    assert images.template(request).stat().st_blocks * 512 < 1024 * 1024


@pytest.fixture
def small_store(images: Images) -> Iterator[None]:
    """The store has 200 MiB more than what imports leave to VMs."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1224m", "tmpfs", str(images.ssd)], check=True)
    yield
    subprocess.run(["umount", str(images.ssd)], check=True)


def test_what_unfolds_to_more_than_the_store_holds_is_not_begun(
    images: Images, small_store: None, start_daemon: StartImageDaemon
) -> None:
    (images.uploads / "bomb.qcow2").write_bytes(_bomb(1 << 30, b"boom"))
    start_daemon()
    request = images.request("bomb.qcow2")
    status = images.wait_status(request, frozenset({ImageActual.ERROR}))
    assert re.fullmatch(
        r"the store is full: the import takes up to 10\d\d MiB, and \d+ MiB are free for it", status.reason
    )
    # The copy, of 12 MiB, may be there, as another try may be under way.
    assert sum(file.stat().st_blocks for file in images.ssd.rglob("*")) * 512 < 32 * 1024 * 1024
    images.make_good("good.qcow2")
    assert images.wait_status(images.request("good.qcow2")).actual is ImageActual.READY
    images.delete(request)
    images.wait_gone(request)
    wait_for("a clean workshop", lambda: images.work_left() == [], DEADLINE_S)


EVIL = """
#include <fcntl.h>
#include <unistd.h>
int main(void) {
    static char buffer[65536];
    int source = open("/source", O_RDONLY), target = open("/target", O_WRONLY);
    lseek(source, OFFSET, SEEK_SET);
    for (ssize_t count; (count = read(source, buffer, sizeof buffer)) > 0;)
        if (write(target, buffer, count) != count) return 1;
    return 0;
}
"""
"""In place of a qemu-img that was taken over: what the file's data are becomes the template."""


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (_backed(SECRET), "it has a backing file"),
        (_foreign_data(SECRET), "its data are in another file"),
        (Qcow2File(virtual_size=8 << 20), "another disk than it was to be"),
        (b"#!/bin/sh", "not a qcow2 file"),
    ],
)
def test_a_qemu_img_that_was_taken_over_makes_no_hostile_template(
    images: Images, start_daemon: StartImageDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    result: Qcow2File | bytes, reason: str,
) -> None:  # fmt: skip
    file = Qcow2File(data=10)
    (tmp_path / "evil.c").write_text(EVIL.replace("OFFSET", str(file.data_offset(0))))
    (tmp_path / "bin").mkdir()
    subprocess.run(["gcc", "-o", str(tmp_path / "bin/qemu-img"), str(tmp_path / "evil.c")], check=True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    file.extra[file.data_offset(0)] = bytes(result)
    (images.uploads / "evil.qcow2").write_bytes(bytes(file))
    start_daemon()
    request = images.request("evil.qcow2")
    status = images.wait_status(request)
    assert status.actual is ImageActual.REJECTED
    assert reason in status.reason
    assert not images.template(request).exists()


def test_compressed_data_that_are_none_are_refused(images: Images, start_daemon: StartImageDaemon) -> None:
    file = Qcow2File(words={Qcow2File().l2: compressed(16, Qcow2File().data_offset(0), 4)})
    (images.uploads / "junk.qcow2").write_bytes(bytes(file))
    start_daemon()
    status = images.wait_status(images.request("junk.qcow2"))
    assert status.actual is ImageActual.REJECTED
    assert status.reason.startswith("it can't be read to its end: ")


def test_a_disk_that_holds_a_hostile_file_is_a_disk_like_any_other(
    images: Images, start_daemon: StartImageDaemon, secret: Path
) -> None:
    """Who looks at what a guest wrote must not take it for the disk's format."""
    file = Qcow2File(extra={Qcow2File().data_offset(0): bytes(_backed(SECRET))[:65536]})
    (images.uploads / "nested.qcow2").write_bytes(bytes(file))
    start_daemon()
    request = images.request("nested.qcow2")
    assert images.wait_status(request).actual is ImageActual.READY
    qemu_img("compare", "-f", "qcow2", "-F", "qcow2", images.uploads / "nested.qcow2", images.template(request))
    assert secret.read_bytes()[:64] not in images.template(request).read_bytes()

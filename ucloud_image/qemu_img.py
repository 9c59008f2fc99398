"""qemu-img on hostile files: with limits, without privileges, and on descriptors.

The child runs as nobody and gets the files already open, as /proc/self/fd/<n>, so that it can reach nothing else, and
its messages name no path of the server. It dies with this process.
"""

import json
import logging
import os
import subprocess
from dataclasses import dataclass

from common.errors import TemporaryError
from ucloud_image.qcow2 import Refused

_log = logging.getLogger(__name__)
NOBODY = 65534
_GIB = 1024**3
_CHECK_FOUND_LEAKS = 3
"""Exit status of `qemu-img check` when clusters are merely wasted (qemu-img(1))."""


@dataclass(frozen=True)
class Limits:
    """What a child may take: address space and size of a file in bytes, processor time and time in seconds."""

    memory_bytes: int = 1 * _GIB
    file_bytes: int = 0
    cpu_s: int = 60
    time_s: int = 120


def check(source: int, max_virtual_gib: int) -> int:
    """Have QEMU look through all tables of the qcow2 file behind `source`; returns the disk's size in bytes.

    Refused when anything is wrong with it, or it needs another file. The data are not read: a file that was cut off
    shows only here, as QEMU reads zeros beyond a file's end.
    """
    answer = _run(["info", "--output=json", *_image(source)], (source,), Limits())
    if answer.returncode != 0:
        raise Refused(f"QEMU can't open it: {_last_line(answer)}")
    info = json.loads(answer.stdout)
    details = info.get("format-specific", {}).get("data", {})
    foreign = [info.get("backing-filename"), info.get("full-backing-filename"), details.get("data-file")]
    if info["format"] != "qcow2" or any(foreign):
        raise Refused("it needs another file: an image must stand alone")
    if info.get("encrypted") or info.get("snapshots") or details.get("corrupt"):
        raise Refused("it is encrypted, corrupt, or holds snapshots")
    size_bytes = int(info["virtual-size"])
    if not 0 < size_bytes <= max_virtual_gib * _GIB:
        raise Refused(f"its disk is of {size_bytes} bytes (allowed: 1 byte to {max_virtual_gib} GiB)")
    answer = _run(["check", "-q", *_image(source)], (source,), Limits(memory_bytes=4 * _GIB, cpu_s=300, time_s=900))
    if answer.returncode not in (0, _CHECK_FOUND_LEAKS):
        raise Refused(f"it is damaged, or its upload was cut off: {_last_line(answer)}")
    return size_bytes


def convert(source: int, target: int, virtual_size_bytes: int) -> None:
    """Write the disk's contents, and nothing else of `source`, as a new qcow2 file into `target`, an empty file."""
    os.fchown(target, NOBODY, NOBODY)
    limits = Limits(
        memory_bytes=4 * _GIB,
        file_bytes=virtual_size_bytes + virtual_size_bytes // 8 + 64 * 1024 * 1024,
        cpu_s=1800,
        time_s=7200,
    )
    arguments = ["convert", *_image(source), "-O", "qcow2", f"/proc/self/fd/{target}"]
    answer = _run(arguments, (source, target), limits)
    os.fchown(target, os.geteuid(), os.getegid())
    if "No space left on device" in answer.stderr:
        raise TemporaryError("the store is full")
    if answer.returncode != 0:
        raise Refused(f"it can't be read to its end: {_last_line(answer)}")


def _image(descriptor: int) -> list[str]:
    """The options that open a file as qcow2 and as nothing else, whatever it looks like."""
    return ["--image-opts", f"driver=qcow2,file.driver=file,file.filename=/proc/self/fd/{descriptor}"]


def _run(arguments: list[str], descriptors: tuple[int, ...], limits: Limits) -> subprocess.CompletedProcess[str]:
    # prlimit(1) and setpriv(1) instead of a preexec_fn, which is not safe in a process with threads.
    command = [
        "prlimit",
        f"--as={limits.memory_bytes}",
        f"--fsize={limits.file_bytes}",
        f"--cpu={limits.cpu_s}",
        "--core=0",
        "setpriv",
        "--pdeathsig=KILL",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "qemu-img",
        *arguments,
    ]
    try:
        return subprocess.run(
            command,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limits.time_s,
            check=False,
            env={"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)},
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"it takes too long to read (more than {limits.time_s} s)") from error


def _last_line(answer: subprocess.CompletedProcess[str]) -> str:
    """What the child said last, bounded, without the name it knew the file by."""
    _log.info("qemu-img ended with %d: %s", answer.returncode, answer.stderr[-2000:])
    if answer.returncode < 0:
        return f"stopped by signal {-answer.returncode}, it takes too much memory or time"
    lines = answer.stderr.replace("qemu-img: ", "").strip().splitlines()
    line = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no reason given")
    return " ".join(word for word in line.split() if "/proc/self/fd" not in word)[:160]

"""qemu-img on files that were checked: in a sandbox that holds the private copy, the target, and nothing else.

Its messages reach the owner of the image, so they name the files as the sandbox does.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from common.errors import ConfigurationError, TemporaryError
from common.sandbox import Allowance, Answer, Limits, NoSandbox, run
from common.storage import Layers, NbdServer, NewFile, Target
from ucloud_image.qcow2 import Refused
from ucloud_image.qcow2_tables import Contents

_log = logging.getLogger(__name__)
_MIB = 1024**2
_GIB = 1024**3
_SOURCE, _BACKING, _TARGET = "/source", "/backing", "/target"
# The disk is there, is all zeros, and takes many writes at a time in any order.
_INTO_NBD = [
    *("-n", "--target-is-zero", "-W", "-m", "16", "-t", "none", "--target-image-opts"),
    f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={_TARGET}",
]
_SIGABRT, _SIGKILL, _SIGSEGV, _SIGXCPU = (128 + number for number in (6, 9, 11, 24))
# Slow machines manage several times as much.
_DECOMPRESSED_BYTES_PER_CPU_S = 32 * _MIB
_COPIED_BYTES_PER_S = 4 * _MIB


def ensure_it_runs() -> None:
    """ConfigurationError, with the reason, unless qemu-img runs in its sandbox on this machine."""
    try:
        answer = run(["qemu-img", "--version"], Allowance(), Limits(_GIB, 0, cpu_s=30, time_s=60))
    except NoSandbox as error:
        raise ConfigurationError(f"qemu-img has no sandbox here, and is not run without: {error.detail}") from error
    if answer.return_code != 0:
        raise ConfigurationError(f"qemu-img does not run in its sandbox: {answer.output.strip()[:160]}")


def convert(source: Path, target: Target, contents: Contents, hear: Callable[[bytes], None]) -> None:
    """Write the disk's contents, and nothing else of `source`, into `target`; `hear` is told what qemu-img says.

    `source` was found good, is readable for everybody, and can't change. Refused when its data can't be read.
    """
    limits = limits_of(contents)
    match target:
        case NewFile(path):
            allowance, into = Allowance(reads={_SOURCE: source}, writes={_TARGET: path}), ["-O", "qcow2", _TARGET]
        case NbdServer(socket):
            allowance, into = Allowance(reads={_SOURCE: source}, sockets={_TARGET: socket}), _INTO_NBD
    answer = run(["qemu-img", "convert", "-p", *image_options(_SOURCE), *into], allowance, limits, hear)
    check_answer(answer, limits)


def convert_snapshot(
    layers: Layers, snapshot: str, target: Path, contents: Contents, hear: Callable[[bytes], None]
) -> None:
    """Write what a VM's disk held at a snapshot as qcow2 into `target`, an empty file.

    Its guest may be on: what is of a snapshot does not change. `contents` is the most that there may be of it.
    TemporaryError when it can't be read.
    """
    limits = limits_of(contents)
    owner = layers.disk.stat()
    reads = {_SOURCE: layers.disk} | ({_BACKING: layers.template} if layers.template else {})
    allowance = Allowance(reads=reads, writes={_TARGET: target}, user=(owner.st_uid, owner.st_gid))
    options = image_options(_SOURCE)
    if layers.template:
        options[-1] += f",backing.driver=qcow2,backing.file.driver=file,backing.file.filename={_BACKING}"
    command = ["qemu-img", "convert", "-p", "-U", "-l", f"snapshot.name={snapshot}", *options, "-O", "qcow2", _TARGET]
    answer = run(command, allowance, limits, hear)
    try:
        check_answer(answer, limits)
    except Refused as error:
        # Its owner may just have become another, as its guest was started or stopped.
        raise TemporaryError(f"the disk of the VM: {error}") from error


def limits_of(contents: Contents) -> Limits:
    """What the conversion of a disk may take: it grows with what is written, and with what is read."""
    return Limits(
        memory_bytes=2 * _GIB,
        file_bytes=size_of_copy(contents),
        cpu_s=120 + contents.data_bytes // _DECOMPRESSED_BYTES_PER_CPU_S,
        time_s=900 + contents.data_bytes // _COPIED_BYTES_PER_S,
    )


def size_of_copy(contents: Contents) -> int:
    """The most that a copy takes as a qcow2 file, in bytes: data, L2 tables, reference counts, the rest."""
    return contents.data_bytes + contents.virtual_size_bytes // 8192 + contents.data_bytes // 16384 + 16 * _MIB


def image_options(name: str) -> list[str]:
    """The options that open a file as qcow2 and as nothing else, whatever it looks like."""
    return ["--image-opts", f"driver=qcow2,file.driver=file,file.filename={name}"]


def check_answer(answer: Answer, limits: Limits) -> None:
    """Refused or TemporaryError, as it is the file's fault or not, unless a conversion went well."""
    if answer.return_code == 0 and not answer.was_too_slow:
        return
    _log.info("qemu-img ended with %d: %s", answer.return_code, answer.output[-2000:])
    if answer.was_too_slow:
        raise TemporaryError(f"its conversion was not done after {limits.time_s} s: is the store slow?")
    if "No space left on device" in answer.output:
        raise TemporaryError("the store is full")
    if "error while writing" in answer.output or _TARGET in answer.output:
        raise TemporaryError(f"the store does not take it: {_last_line(answer.output)}")
    match answer.return_code:
        case code if code in (_SIGXCPU, _SIGKILL):
            raise Refused(f"it takes too long to read (more than {limits.cpu_s} s of a processor)")
        case code if code in (_SIGABRT, _SIGSEGV) or "Cannot allocate memory" in answer.output:
            raise Refused(f"it takes too much memory to read (more than {limits.memory_bytes // _MIB} MiB)")
        case _:
            raise Refused(f"it can't be read to its end: {_last_line(answer.output)}")


def _last_line(output: str) -> str:
    lines = output.replace("qemu-img: ", "").strip().splitlines() or ["no reason given"]
    return lines[-1][:160]

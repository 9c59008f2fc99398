"""Small programs for the kernel's traffic control (eBPF): what they are made of, and how they are loaded."""

import ctypes
import os
import platform
import struct
from collections.abc import Iterable

from common.errors import TemporaryError

_PROG_LOAD = 5
_SCHED_CLS = 3
_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_ATTRIBUTE_BYTES = 128
_LOG_BYTES = 65536

DROP, GO_ON = 2, -1
"""What a program says of a packet: TC_ACT_SHOT, TC_ACT_UNSPEC."""
MARK, INGRESS_IFINDEX = 8, 36
"""Where in `struct __sk_buff`."""


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhI", code, destination | source << 4, offset, value & 0xFFFFFFFF)


def save_context() -> bytes:
    """r6 = the packet, as `load_packet_*` needs it."""
    return _instruction(0xBF, 6, 1)


def load_field(offset: int) -> bytes:
    """r0 = a field of 32 bits of r6."""
    return _instruction(0x61, 0, 6, offset)


def store_field(offset: int) -> bytes:
    """The field = r0."""
    return _instruction(0x63, 6, 0, offset)


def load_packet_32(offset: int) -> bytes:
    """r0 = four octets of the frame."""
    return _instruction(0x20, value=offset)


def load_packet_16(offset: int) -> bytes:
    """r0 = two octets of the frame."""
    return _instruction(0x28, value=offset)


def bits_and(value: int) -> bytes:
    """r0 &= value."""
    return _instruction(0x54, value=value)


def jump_if_equal(value: int, skipped: int) -> bytes:
    """Skip so many instructions if r0 is this."""
    return _instruction(0x16, offset=skipped, value=value)


def jump_unless_equal(value: int, skipped: int) -> bytes:
    """Skip so many instructions if r0 is not this."""
    return _instruction(0x56, offset=skipped, value=value)


def answer(verdict: int) -> bytes:
    """End, with what is to become of the packet."""
    return _instruction(0xB7, value=verdict) + _instruction(0x95)


def load(instructions: Iterable[bytes]) -> int:
    """The descriptor of the program in the kernel; TemporaryError with the reason that the kernel has against it."""
    code = ctypes.create_string_buffer(b"".join(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_BYTES)
    count = (len(code) - 1) // 8
    pointers = [ctypes.addressof(each) for each in (code, licence, log)]
    attribute = struct.pack("=IIQQIIQ", _SCHED_CLS, count, *pointers[:2], 1, _LOG_BYTES, pointers[2])
    given = ctypes.create_string_buffer(attribute.ljust(_ATTRIBUTE_BYTES, b"\0"), _ATTRIBUTE_BYTES)
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise TemporaryError(f"no eBPF on {platform.machine()}")
    descriptor = ctypes.CDLL(None, use_errno=True).syscall(number, _PROG_LOAD, given, _ATTRIBUTE_BYTES)
    if descriptor < 0:
        said = log.value.decode(errors="replace").strip().splitlines()
        raise TemporaryError(f"no eBPF: {os.strerror(ctypes.get_errno())} {' '.join(said[-1:])}".rstrip())
    return int(descriptor)

"""A socket on one tap: it hears what the guest asks of a router or of a DHCP server, and nothing else.

A socket for each tap, so that a guest that floods fills a buffer of its own, and the kernel drops the rest. Each takes
8 KiB of the kernel's memory; one for all would be shown every packet of the host. The filter lets questions from the
port's own MAC address through, untagged ones. Source: packet(7), Linux's filter.rst.
"""

import socket
import struct
from array import array
from collections.abc import Iterator

_ETH_P_ALL = 3
"""Frames that come into a port of a bridge are shown to nobody who listens for one protocol alone."""
_SO_ATTACH_FILTER = 26
_SOL_PACKET = 263
_PACKET_IGNORE_OUTGOING = 23
_RECEIVE_BUFFER = 8192
_LARGEST = 2048
"""Octets of a frame; what is cut short is not well-formed any more, and no question is so long."""

_INSTRUCTION = struct.Struct("HBBI")  # code, jump if true, jump if false, operand
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOAD_IPV4_HEADER_LENGTH, _LOAD_HALF_INDEXED = 0xB1, 0x48
_IF_EQUAL, _RETURN = 0x15, 0x06
_VLAN_TAG_PRESENT = 0xFFFFF000 + 48


def _filter(mac: bytes) -> bytes:
    """The program: accept router solicitations and what is for UDP ports 547 (IPv6) and 67 (IPv4) from `mac`."""
    lines: list[tuple[int, int | str, int | str, int]] = [
        (_LOAD_WORD, 0, 0, _VLAN_TAG_PRESENT),
        (_IF_EQUAL, 0, "drop", 0),
        (_LOAD_WORD, 0, 0, 6),
        (_IF_EQUAL, 0, "drop", int.from_bytes(mac[:4], "big")),
        (_LOAD_HALF, 0, 0, 10),
        (_IF_EQUAL, 0, "drop", int.from_bytes(mac[4:], "big")),
        (_LOAD_HALF, 0, 0, 12),
        (_IF_EQUAL, 0, 7, 0x86DD),
        (_LOAD_BYTE, 0, 0, 20),
        (_IF_EQUAL, 0, 2, 58),
        (_LOAD_BYTE, 0, 0, 54),
        (_IF_EQUAL, "accept", "drop", 133),
        (_IF_EQUAL, 0, "drop", 17),
        (_LOAD_HALF, 0, 0, 56),
        (_IF_EQUAL, "accept", "drop", 547),
        (_IF_EQUAL, 0, "drop", 0x0800),
        (_LOAD_BYTE, 0, 0, 23),
        (_IF_EQUAL, 0, "drop", 17),
        (_LOAD_IPV4_HEADER_LENGTH, 0, 0, 14),
        (_LOAD_HALF_INDEXED, 0, 0, 16),
        (_IF_EQUAL, "accept", "drop", 67),
        (_RETURN, 0, 0, _LARGEST),
        (_RETURN, 0, 0, 0),
    ]
    targets = {"accept": len(lines) - 2, "drop": len(lines) - 1}

    def jump(at: int, to: int | str) -> int:
        return to if isinstance(to, int) else targets[to] - at - 1

    return b"".join(
        _INSTRUCTION.pack(code, jump(at, true), jump(at, false), operand)
        for at, (code, true, false, operand) in enumerate(lines)
    )


class TapSocket:
    """Hears the guest behind `tap`, whose MAC address is `mac`; OSError when there is no such tap (any more)."""

    __slots__ = ("_socket",)

    def __init__(self, tap: str, mac: bytes) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_PACKET, kind, 0)  # of no protocol: it hears nothing before it is bound
        try:
            program = _filter(mac)
            octets = array("B", program)  # which, other than bytes, says where it is
            described = struct.pack("HP", len(program) // _INSTRUCTION.size, octets.buffer_info()[0])
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((tap, _ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For who waits."""
        return self._socket.fileno()

    def receive(self, most: int) -> Iterator[bytes]:
        """Up to `most` frames that are there now; OSError when the tap is not what it was."""
        for _ in range(most):
            try:
                yield self._socket.recv(_LARGEST)
            except BlockingIOError:
                return

    def send(self, frame: bytes) -> None:
        """Send a frame to the guest; OSError when it does not take it."""
        self._socket.send(frame)

    def close(self) -> None:
        """Hear nothing any more."""
        self._socket.close()

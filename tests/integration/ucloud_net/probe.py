"""Packets from within a namespace, by a socket of this process that lives in there."""

import select
import socket
import struct
import threading
import time
from itertools import count

from pyroute2 import netns

_DONTFRAG, _ECHO_REQUEST, _ECHO_REPLY = 62, 128, 129
_IPV6, _NEIGHBOUR_DISCOVERY = 0x86DD, 130
"""The types of ICMPv6 from there on: neighbour and listener discovery."""
_HEADER = struct.Struct("!BBHHH")
_numbers = count(1)


def _socket_in(namespace: str, kind: int, protocol: int, family: int = socket.AF_INET6) -> socket.socket:
    """A socket in a namespace: a thread that ends right afterwards goes there for it."""
    made: list[socket.socket] = []

    def make() -> None:
        netns.setns(namespace)
        made.append(socket.socket(family, kind, protocol))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def ping(namespace: str, address: str, size: int, timeout_s: float, device: str = "") -> bool:
    """Whether `address` answers an ICMPv6 echo request of `size` octets, its IPv6 header included, in one piece."""
    number = next(_numbers) & 0xFFFF
    request = _HEADER.pack(_ECHO_REQUEST, 0, 0, 0x7563, number) + bytes(size - 40 - _HEADER.size)
    with _socket_in(namespace, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as source:
        source.setsockopt(socket.IPPROTO_IPV6, _DONTFRAG, 1)
        if device:
            source.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        try:
            source.sendto(request, (address, 0))
        except OSError:
            return False
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            if not select.select([source], [], [], left_s)[0]:
                return False
            answer, (sender, *_) = source.recvfrom(65536)
            kind, _, _, identity, found = _HEADER.unpack_from(answer)
            if (kind, identity, found) == (_ECHO_REPLY, 0x7563, number) and sender.partition("%")[0] == address:
                return True
    return False


class Listener:
    """A TCP server in a namespace, bound to one device, as the metadata server is."""

    def __init__(self, namespace: str, device: str, port: int) -> None:
        self._socket = _socket_in(namespace, socket.SOCK_STREAM, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        self._socket.bind(("::", port))
        self._socket.listen()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> str:
        """Who has connected, which must have happened."""
        self._socket.settimeout(1)
        connection, (peer, *_) = self._socket.accept()
        connection.close()
        return str(peer)


def connects(namespace: str, address: str, port: int, timeout_s: float) -> bool:
    """Whether somebody listens there."""
    with _socket_in(namespace, socket.SOCK_STREAM, 0) as client:
        client.settimeout(timeout_s)
        return client.connect_ex((address, port)) == 0


def send(namespace: str, address: str, port: int) -> None:
    """Send a UDP packet."""
    with _socket_in(namespace, socket.SOCK_DGRAM, 0) as client:
        client.sendto(b"ucloud", (address, port))


class Ear:
    """Hears the IPv6 packets that come into a namespace by its eth0."""

    def __init__(self, namespace: str) -> None:
        self._socket = _socket_in(namespace, socket.SOCK_RAW, socket.htons(_IPV6), socket.AF_PACKET)
        self._socket.setblocking(False)

    def __enter__(self) -> "Ear":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def heard(self) -> list[tuple[str, bytes]]:
        """What has come in: its kind, and the packet. What was sent from here does not count."""
        found = []
        while select.select([self._socket], [], [], 0)[0]:
            frame, (_, _, direction, *_) = self._socket.recvfrom(65536)
            if direction != socket.PACKET_OUTGOING:
                protocol, kind = frame[14 + 6], frame[14 + 40]
                is_discovery = protocol == socket.IPPROTO_ICMPV6 and kind >= _NEIGHBOUR_DISCOVERY
                found.append(("ndp" if is_discovery else f"{protocol}/{kind}", frame[14:]))
        return found

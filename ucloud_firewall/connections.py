"""Has the kernel forget connections that the rules would not let begin any more, so that they are judged anew.

They are looked for here, not by the kernel: its own filter takes all IPv6 addresses but the one that is asked for.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from common import netlink
from common.errors import TemporaryError
from ucloud_firewall.rights import Connections

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
"""Of the subsystem ctnetlink."""
_REQUEST, _ACKNOWLEDGE, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_TIMEOUT_S = 5.0
_MOST_BYTES = 2**20
_HEADER_BYTES = 4
_NESTED = 0x8000
_TUPLE_ORIG, _ZONE = 1, 18
_TUPLE_IP = 1
_SOURCES, _DESTINATIONS = (1, 3), (2, 4)
"""Of IPv4, of IPv6."""


def forget(connections: Iterable[Connections]) -> None:
    """Have them forgotten; TemporaryError with what the kernel has against it."""
    wanted = frozenset(connections)
    for family, version in ((socket.AF_INET6, 6), (socket.AF_INET, 4)):
        if any(address.version == version for each in wanted for address in (each.source, each.to) if address):
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, netlink.NETFILTER) as asking:
                asking.settimeout(_TIMEOUT_S)
                for body in [body for body in _all(asking, family) if not wanted.isdisjoint(_names(body))]:
                    _delete(asking, family, body)


def _all(asking: socket.socket, family: int) -> Iterator[bytes]:
    """The connections of a family, each as the kernel tells of it."""
    _send(asking, _GET, _DUMP, family, b"")
    while True:
        for message in netlink.messages(asking.recv(_MOST_BYTES)):
            if message.kind == _DONE:
                return
            if message.kind == _ERROR:
                _check(message)
            else:
                yield message.body


def _names(body: bytes) -> frozenset[Connections]:
    """All that this connection may be asked for as."""
    parts = dict(netlink.attributes(body, _HEADER_BYTES))
    zone = int.from_bytes(parts.get(_ZONE, b""), "big")
    tuple_ip = dict(netlink.attributes(dict(netlink.attributes(parts[_TUPLE_ORIG], 0))[_TUPLE_IP], 0))
    source = next(ip_address(value) for kind, value in tuple_ip.items() if kind in _SOURCES)
    to = next(ip_address(value) for kind, value in tuple_ip.items() if kind in _DESTINATIONS)
    return frozenset({Connections(zone, source), Connections(zone, to=to), Connections(zone, source, to)})


def _delete(asking: socket.socket, family: int, body: bytes) -> None:
    parts = dict(netlink.attributes(body, _HEADER_BYTES))
    attributes = _attribute(_TUPLE_ORIG | _NESTED, parts[_TUPLE_ORIG])
    if _ZONE in parts:
        attributes += _attribute(_ZONE, parts[_ZONE])
    _send(asking, _DELETE, _ACKNOWLEDGE, family, attributes)
    for message in netlink.messages(asking.recv(_MOST_BYTES)):
        _check(message)


def _check(message: netlink.Message) -> None:
    """TemporaryError if the kernel has refused, but for what has ended by itself."""
    problem = -struct.unpack_from("=i", message.body)[0] if message.kind == _ERROR else 0
    if problem not in (0, errno.ENOENT):
        raise TemporaryError(f"the kernel does not forget connections: {os.strerror(problem)}")


def _send(asking: socket.socket, kind: int, flags: int, family: int, attributes: bytes) -> None:
    body = struct.pack("=BBH", family, 0, 0) + attributes
    asking.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, 1, 0) + body)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)

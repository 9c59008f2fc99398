"""What a network answers its guests, in a few lines: router advertisements, DHCPv6, and metadata for one guest.

    python -m tests.integration.ucloud_vm.responder BRIDGE PREFIX FILES

It runs in the host's network namespace. The address that it gives ends like the asker's link-local address. FILES is
JSON: from the path of each piece of metadata to its text. Sources: RFC 4861 section 4.2, RFC 8415 sections 8 and 21.
"""

import json
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv6Address, IPv6Network
from typing import ClassVar

from common.schemas.network import DNS_V6, METADATA_V6

_EVERY_S = 1.0
_SOLICIT, _ADVERTISE, _REPLY = 1, 2, 7
_CLIENT_ID, _SERVER_ID, _IA_NA, _IA_ADDRESS, _DNS_SERVERS = 1, 2, 3, 5, 23
_OUR_ID = b"\x00\x03\x00\x01\x02\x75\x63\x00\xa9\xfe"
_LIFETIME_S = 3600


def advertise(bridge: str, prefix: IPv6Network) -> None:
    """Say again and again that there is a router, and that addresses come by DHCPv6."""
    router = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0x80, 1800, 0, 0)
    on_link = struct.pack("!BBBBIII16s", 3, 4, prefix.prefixlen, 0x80, _LIFETIME_S, _LIFETIME_S, 0, prefix[0].packed)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as link:
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        while True:
            link.sendto(router + on_link, ("ff02::1", 0, 0, socket.if_nametoindex(bridge)))
            threading.Event().wait(_EVERY_S)


def lend(bridge: str, prefix: IPv6Network) -> None:
    """Answer DHCPv6."""
    index = socket.if_nametoindex(bridge)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge.encode())
        group = socket.inet_pton(socket.AF_INET6, "ff02::1:2") + struct.pack("@I", index)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        server.bind(("::", 547))
        while True:
            asked, sender = server.recvfrom(1500)
            asker = IPv6Address(sender[0].partition("%")[0])
            server.sendto(answer(asked, prefix[int(asker) % 2**64]), sender)


def answer(asked: bytes, address: IPv6Address) -> bytes:
    """The answer to a DHCPv6 client."""
    wishes = dict(options(asked[4:]))
    lease = _option(_IA_ADDRESS, address.packed + struct.pack("!II", _LIFETIME_S, _LIFETIME_S))
    offered = wishes[_IA_NA][:4] + struct.pack("!II", 600, 1200) + lease if _IA_NA in wishes else b""
    kind = _ADVERTISE if asked[0] == _SOLICIT else _REPLY
    said = {_CLIENT_ID: wishes[_CLIENT_ID], _SERVER_ID: _OUR_ID, _IA_NA: offered, _DNS_SERVERS: DNS_V6.packed}
    return bytes([kind]) + asked[1:4] + b"".join(_option(code, content) for code, content in said.items() if content)


def options(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The options of a DHCPv6 message."""
    while content:
        code, length = struct.unpack_from("!HH", content)
        yield code, content[4 : 4 + length]
        content = content[4 + length :]


def _option(code: int, content: bytes) -> bytes:
    return struct.pack("!HH", code, len(content)) + content


class _Metadata(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        text = self.files.get(self.path)
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def main() -> None:
    """Answer for ever."""
    bridge, prefix = sys.argv[1], IPv6Network(sys.argv[2])
    _Metadata.files = json.loads(sys.argv[3])
    for body in (advertise, lend):
        threading.Thread(target=body, args=(bridge, prefix), daemon=True).start()
    _Server((str(METADATA_V6), 80), _Metadata).serve_forever()


if __name__ == "__main__":
    main()

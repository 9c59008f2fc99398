"""The network links of this host, as its kernel has them. They are looked at, never changed.

Sources: netdevice(7) on SIOCGIFFLAGS and SIOCGIFMTU, netlink(7) and rtnetlink(7) on news of links.
"""

import errno
import fcntl
import re
import socket
import struct

_SIOCGIFFLAGS = 0x8913
_SIOCGIFMTU = 0x8921
_IFF_UP = 1
_REQUEST = struct.Struct("16s24x")
_FLAGS = struct.Struct("16xH22x")
_MTU = struct.Struct("16xi20x")
_LONGEST_NAME = 15
_TAP = re.compile(r"tap([0-9a-f]{10})")


def mtu_of(name: str) -> int | None:
    """The MTU of a link, in octets; None where it is not there, or not up yet: then its MTU may not be set either."""
    request = _REQUEST.pack(name.encode("ascii"))
    if len(name) > _LONGEST_NAME:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
        try:
            (flags,) = _FLAGS.unpack(fcntl.ioctl(asker, _SIOCGIFFLAGS, request))
            (mtu,) = _MTU.unpack(fcntl.ioctl(asker, _SIOCGIFMTU, request))
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
    return int(mtu) if flags & _IFF_UP else None


def ports_with_taps() -> frozenset[str]:
    """The ids of the ports that have taps here, by the taps' names."""
    matches = (_TAP.fullmatch(name) for _, name in socket.if_nameindex())
    return frozenset(match[1] for match in matches if match)

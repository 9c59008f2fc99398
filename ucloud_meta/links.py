"""The kernel's word on bridges and neighbours."""

import logging
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.marshal import MarshalRtnl
from pyroute2.netlink.rtnl.ndmsg import ndmsg

_log = logging.getLogger(__name__)
_RECEIVE_BYTES = 64 * 1024
_KERNEL_TIMEOUT_S = 1.0


class Neighbours:
    """The kernel's neighbour table. Belongs to one thread.

    pyroute2 has a call for this, too; with an event loop of its own around it, it takes several times as long.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(_KERNEL_TIMEOUT_S)
        self._parser = MarshalRtnl()
        self._number = 0

    def mac(self, ifindex: int, address: IPv6Address | IPv4Address) -> str | None:
        """The MAC address at which `address` is reached over a link; None if the kernel does not know it."""
        self._number = (self._number + 1) % 2**32
        self._socket.send(_question(self._number, ifindex, address))
        try:
            answer = self._answer()
        except TimeoutError:
            _log.warning("the neighbour table does not answer")
            return None
        if answer["header"]["type"] != RTM_NEWNEIGH or answer["ifindex"] != ifindex:
            return None
        mac: str | None = answer.get_attr("NDA_LLADDR")
        return mac

    def _answer(self) -> Any:
        """The one to the last question: one that came too late for an earlier one may lie before it."""
        while True:
            for message in self._parser.parse(self._socket.recv(_RECEIVE_BYTES)):
                if message["header"]["sequence_number"] == self._number:
                    return message

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _question(number: int, ifindex: int, address: IPv6Address | IPv4Address) -> bytes:
    """Ask for one entry, not for the table: that has the neighbours on all links."""
    message = ndmsg()
    message["family"] = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    message["ifindex"] = ifindex
    message["attrs"] = [("NDA_DST", str(address))]
    message["header"]["type"] = RTM_GETNEIGH
    message["header"]["flags"] = NLM_F_REQUEST
    message["header"]["sequence_number"] = number
    message.encode()
    return bytes(message.data)


def index_of(link: str) -> int | None:
    """The index of a link, None if there is none of that name."""
    try:
        return socket.if_nametoindex(link)
    except OSError:
        return None

"""Tells when somebody else has changed the tables of this daemon: at once, as the kernel tells of it (nfnetlink).

The kernel tells of each change by whom it was made: the netlink port of the socket. Those of this process are not
looked at.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from common import netlink
from ucloud_firewall.nft_static import FAMILIES, TABLE

_log = logging.getLogger(__name__)
_GROUP_NFTABLES = 7
_SUBSYSTEM_NFTABLES = 10
_NEW_GENERATION = 15
_HEADER_BYTES = 4
_TABLE = 1
"""NFTA_*_TABLE and NFTA_TABLE_NAME: an attribute of all that is in a table."""
_BUFFER_BYTES = 32 * 2**20
"""What this daemon loads itself is told, too, and a thousand ports at once are some megabytes."""
_FAMILY_NUMBERS = {"inet": 1, "arp": 3, "bridge": 7}
_OURS = {_FAMILY_NUMBERS[family] for family in FAMILIES}


class Tampering:
    """Watches the tables of this network namespace, from when it is made."""

    def __init__(self, tell: Callable[[], None]) -> None:
        """`tell` is called when somebody else has changed them, or may have. It must not block."""
        self._tell = tell
        self._listener = netlink.Listener(netlink.NETFILTER, (_GROUP_NFTABLES,), _BUFFER_BYTES)
        self._mine: frozenset[int] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop`; the body of a thread."""
        self._listener.run(stop, self._hear, self._tell)

    def close(self) -> None:
        """Have `run` end, once `stop` is set."""
        self._listener.close()

    def _hear(self, told: Iterator[netlink.Message]) -> None:
        if any(self._is_foreign(port) for port in whose_changes(told)):
            _log.warning("somebody else has changed table %s of the packet filter", TABLE)
            self._tell()

    def _is_foreign(self, port: int) -> bool:
        if port not in self._mine:
            self._mine = own_ports()
        return port not in self._mine


def whose_changes(told: Iterator[netlink.Message]) -> Iterator[int]:
    """The netlink port of whoever changed something in a table of ours, for each message about one."""
    for message in told:
        if message.kind >> 8 != _SUBSYSTEM_NFTABLES or message.kind & 0xFF == _NEW_GENERATION or not message.body:
            continue
        named = (value for kind, value in netlink.attributes(message.body, _HEADER_BYTES) if kind == _TABLE)
        if message.body[0] in _OURS and any(netlink.text(value) == TABLE for value in named):
            yield message.port


def own_ports() -> frozenset[int]:
    """The netlink ports of this process's sockets."""
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    lines = Path("/proc/thread-self/net/netlink").read_text(encoding="ascii").splitlines()[1:]
    columns = (line.split() for line in lines)
    return frozenset(
        int(column[2]) for column in columns if column[1] == str(netlink.NETFILTER) and column[9] in inodes
    )

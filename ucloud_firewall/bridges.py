"""Has br_netfilter show the packets of certain bridges to the inet table, which tracks their connections.

A bridge is made by somebody else, at any time: the kernel tells of it.
"""

import logging
import threading
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from common.link_news import Link, LinkNews

_log = logging.getLogger(__name__)
_BRIDGE = "ucbr"
_FLAGS = ("br_nf_call_iptables", "br_nf_call_ip6tables")
_MODULE = Path("/proc/sys/net/bridge/bridge-nf-call-ip6tables")


class Bridges:
    """The bridges of this network namespace whose connections are tracked, whether they exist already or not."""

    def __init__(self) -> None:
        self._news = LinkNews(self._hear, self._look_at_all)
        self._lock = threading.Lock()
        self._tracked: frozenset[str] = frozenset()

    def track(self, names: frozenset[str]) -> None:
        """Track the connections of these bridges, and of no others."""
        with self._lock:
            changed, self._tracked = names ^ self._tracked, names
            self._set(changed)

    def run(self, stop: threading.Event) -> None:
        """Look after bridges that come, until `stop`; the body of a thread."""
        self._news.run(stop)

    def close(self) -> None:
        """Have `run` end, once `stop` is set."""
        self._news.close()

    def problem(self) -> str | None:
        """What keeps connections from being tracked, for /healthz."""
        if self._tracked and not _MODULE.exists():
            return "br_netfilter is not loaded: nothing that answers reaches ports with security groups"
        return None

    def _hear(self, link: Link) -> None:
        if link.name.startswith(_BRIDGE) and not link.is_gone:
            with self._lock:
                self._set({link.name} & self._tracked)

    def _look_at_all(self) -> None:
        with self._lock:
            self._set(self._tracked)

    def _set(self, names: frozenset[str] | set[str]) -> None:
        if not names:
            return
        with IPRoute() as route:
            for name in sorted(names):
                try:
                    self._set_one(route, name)
                except NetlinkError as error:
                    _log.warning("%s: can't change whether its connections are tracked: %s", name, error)

    def _set_one(self, route: IPRoute, name: str) -> None:
        wanted = int(name in self._tracked)
        for index in route.link_lookup(ifname=name):
            link = route.link("get", index=index)[0]
            info = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
            flags = {flag: info.get_attr(f"IFLA_{flag.upper()}") for flag in _FLAGS}
            if any(value != wanted for value in flags.values()):
                route.link("set", index=index, kind="bridge", **dict.fromkeys(flags, wanted))

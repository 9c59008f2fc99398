"""The kernel's packet filter, by libnftables in this process. It touches no table but its own.

What is loaded stays when this process ends. Each call is one transaction: all of it or nothing.
"""

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import nftables

from common.errors import ConfigurationError, TemporaryError
from ucloud_firewall import nft_listing
from ucloud_firewall.nft_static import FAMILIES, TABLE
from ucloud_firewall.rights import Batch

_log = logging.getLogger(__name__)


class Kernel:
    """The tables of this network namespace. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        try:
            self._nft = nftables.Nftables()
        except OSError as error:
            raise ConfigurationError("libnftables is not installed: apt install python3-nftables") from error
        self._nft.set_json_output(True)

    def load(self, batches: Iterable[Batch]) -> None:
        """Load each batch; TemporaryError if the kernel refuses one, of which nothing is loaded then."""
        for batch in batches:
            self._run(batch.text)

    def listing(self) -> list[Mapping[str, Any]]:
        """All that is in the tables; empty where there are none."""
        found: list[Mapping[str, Any]] = []
        for family in FAMILIES:
            if self._has(family):
                found += self._list(f"list table {family} {TABLE}")
        return found

    def seal(self) -> None:
        """Note in the tables what they look like, so that it is seen if somebody else has changed them."""
        seal = nft_listing.fingerprint(self.listing())
        self._run(f"add chain bridge {TABLE} {seal}")

    def counts(self, name: str) -> dict[str, int]:
        """The frames that each element of a set of interfaces, in the bridge's table, has counted."""
        kind = "map" if name in ("leaving", "arriving") else "set"
        return nft_listing.counts(self._list(f"list {kind} bridge {TABLE} {name}"))

    def named_counters(self) -> dict[str, int]:
        """The frames that each counter with a name has counted."""
        return nft_listing.named_counters(
            each for family in ("bridge", "inet") for each in self._list(f"list counters table {family} {TABLE}")
        )

    def _has(self, family: str) -> bool:
        tables = (each["table"] for each in self._list(f"list tables {family}") if "table" in each)
        return any(table["name"] == TABLE for table in tables)

    def _list(self, command: str) -> list[Mapping[str, Any]]:
        output = self._run(command)
        listed: list[Mapping[str, Any]] = json.loads(output)["nftables"] if output else []
        return listed

    def _run(self, text: str) -> str:
        with self._lock:
            status, output, error = self._nft.cmd(text)
        if status:
            raise TemporaryError(f"the kernel's packet filter refuses: {_first_line(error)}")
        return str(output)


def _first_line(error: str) -> str:
    return next((line.strip() for line in error.splitlines() if line.strip()), "no reason given")

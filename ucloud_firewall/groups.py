"""Follows the security groups that ports here name, and who is in the groups that their rules name.

There is a watch for each, and it ends when nothing here names the group any more.
"""

import re
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from common import keys
from common.cache import Cache
from common.errors import TemporaryError
from common.metrics import Metrics
from common.schemas.network import AddressHolder, SecurityGroup
from common.store import Store
from ucloud_firewall.rights import Members, is_group_id, members_of

_PORT_ID = re.compile(r"[0-9a-f]{10}")


class Groups:
    """What is known of groups. Safe to use from many threads, but for `follow`."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._listeners: list[Callable[[str], None]] = []
        self._groups: dict[str, tuple[Cache[SecurityGroup], threading.Event]] = {}
        self._members: dict[str, tuple[Cache[AddressHolder], threading.Event]] = {}

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the uuid of each group of which there may be news. It must not block."""
        self._listeners.append(listener)

    def follow(self, groups: frozenset[str]) -> None:
        """Follow these and the members of those that their rules name, as far as they are known; and no others."""
        for uuid in groups - self._groups.keys():
            if is_group_id(uuid):
                cache = Cache(self._store, keys.security_group(uuid), SecurityGroup, self._metrics)
                self._groups[uuid] = cache, self._start(cache, uuid)
        for uuid in self._groups.keys() - groups:
            self._groups.pop(uuid)[1].set()
        known = (cached.record for cache, _ in self._groups.values() for cached in cache.records().values())
        named = {rule.group for group in known for rule in group.rules if rule.group is not None}
        for uuid in named - self._members.keys():
            if is_group_id(uuid):
                members = Cache(self._store, keys.group_members(uuid), AddressHolder, self._metrics)
                self._members[uuid] = members, self._start(members, uuid)
        for uuid in self._members.keys() - named:
            self._members.pop(uuid)[1].set()

    def close(self) -> None:
        """End all watches."""
        for _, stop in (*self._groups.values(), *self._members.values()):
            stop.set()

    def group(self, uuid: str) -> SecurityGroup | None:
        """The group, None if there is none; TemporaryError while nobody can say."""
        cache = self._known(self._groups, uuid)
        found, is_malformed = cache.look(keys.security_group(uuid))
        if found is None and is_malformed:
            raise TemporaryError(f"security group {uuid} can't be read")
        return found.record if found else None

    def members(self, uuid: str) -> Members:
        """Who is in the group; TemporaryError while nobody can say."""
        cache = self._known(self._members, uuid)
        # All that is to be known is in the keys, so it does not matter whether the records can be read.
        held = {*cache.records(), *cache.malformed}
        return members_of(holder for key in held if (holder := _holder(key)))

    def problem(self) -> str | None:
        """What is wrong with the watches, for /healthz."""
        caches: list[Cache[Any]] = [cache for cache, _ in self._groups.copy().values()]
        caches += [cache for cache, _ in self._members.copy().values()]
        return next((problem for cache in caches if (problem := cache.problem())), None)

    def malformed(self) -> dict[str, str]:
        """The records that can't be read, for /healthz."""
        return {key: problem for cache, _ in self._groups.copy().values() for key, problem in cache.malformed.items()}

    def _start(self, cache: Cache[Any], uuid: str) -> threading.Event:
        stop = threading.Event()

        def run() -> None:
            cache.keep(stop)

        def tell_once_synced() -> None:
            """A prefix with nothing below it brings no news when it is listed."""
            while not stop.is_set():
                if cache.wait_synced(1.0):
                    self._tell(uuid)
                    return

        cache.subscribe(lambda _: self._tell(uuid))
        threading.Thread(target=run, name=f"group {uuid}", daemon=True).start()
        threading.Thread(target=tell_once_synced, name=f"group {uuid} listed", daemon=True).start()
        return stop

    def _tell(self, uuid: str) -> None:
        for listener in self._listeners:
            listener(uuid)

    @staticmethod
    def _known(caches: dict[str, tuple[Cache[Any], threading.Event]], uuid: str) -> Cache[Any]:
        cache, _ = caches.get(uuid, (None, None))
        if cache is None or not cache.wait_synced(0):
            raise TemporaryError(f"security group {uuid} has not been read yet")
        return cache


def _holder(key: str) -> tuple[str, IPv6Address | IPv4Address] | None:
    """The port and the address of `/v1/group-member/<group>/<address>/<port>`; None if it says neither."""
    *_, address, port_id = key.split("/")
    try:
        return (port_id, ip_address(address)) if _PORT_ID.fullmatch(port_id) else None
    except ValueError:
        return None

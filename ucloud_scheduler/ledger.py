"""What is promised on each host and of each store, kept current placement by placement.

A store that several hosts share is counted once, over the placements of all of them. It holds numbers, not records,
and knows nothing of etcd.
"""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from common.schemas.vm import Specs
from ucloud_scheduler.capacity import NOTHING, Amounts


class Ledger:
    """The sums of all placements. A change costs the same however many VMs there are."""

    def __init__(self) -> None:
        self._charged: dict[tuple[str, str], Specs] = {}
        self._used: dict[str, Amounts] = {}
        self._stores: dict[str, tuple[str | None, str | None]] = {}
        self._store_mib: Counter[str] = Counter()

    def charge(self, host: str, vm_uuid: str, specs: Specs | None) -> bool:
        """What a VM takes from a host is now `specs` (None: nothing); returns whether anything became free by it."""
        before = self._charged.pop((host, vm_uuid), None)
        if before:
            self._add(host, before, -1)
        if specs:
            self._charged[host, vm_uuid] = specs
            self._add(host, specs, 1)
        return before is not None and specs != before

    def used(self, host: str) -> Amounts:
        """What is promised on a host."""
        return self._used.get(host, NOTHING)

    @property
    def used_mib(self) -> Mapping[str, int]:
        """The disk space promised of each store, by store_id; a view, not a copy."""
        return MappingProxyType(self._store_mib)

    def set_stores(self, host: str, ssd: str | None, hdd: str | None) -> None:
        """A host's disks are now in these stores. A host of which nothing is known keeps those it had: its VMs do."""
        if (ssd, hdd) == self._stores.get(host, (None, None)):
            return
        used = self.used(host)
        self._add_to_stores(host, used.ssd_mib, used.hdd_mib, -1)
        self._stores[host] = (ssd, hdd)
        self._add_to_stores(host, used.ssd_mib, used.hdd_mib, 1)

    def _add(self, host: str, specs: Specs, sign: int) -> None:
        used = self._used.get(host, NOTHING)
        self._used[host] = Amounts(
            used.cpu + sign * specs.cpu,
            used.ram_mib + sign * specs.ram_mib,
            used.ssd_mib + sign * specs.ssd_mib,
            used.hdd_mib + sign * specs.hdd_mib,
        )
        self._add_to_stores(host, specs.ssd_mib, specs.hdd_mib, sign)

    def _add_to_stores(self, host: str, ssd_mib: int, hdd_mib: int, sign: int) -> None:
        ssd, hdd = self._stores.get(host, (None, None))
        for store_id, amount_mib in ((ssd, ssd_mib), (hdd, hdd_mib)):
            if store_id is not None:
                self._store_mib[store_id] += sign * amount_mib

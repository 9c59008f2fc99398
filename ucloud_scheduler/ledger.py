"""What is promised on each host and of each store, kept current placement by placement.

A store that several hosts share is counted once, over the placements of all of them. It holds numbers, not records,
and knows nothing of etcd.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from types import MappingProxyType

from common.schemas.vm import Specs
from ucloud_scheduler.capacity import NOTHING, Amounts


class Ledger:
    """The sums of all placements. A change costs the same however many VMs there are."""

    def __init__(self) -> None:
        self._charged: dict[str, dict[str, tuple[Specs, bool]]] = {}
        self._used: dict[str, Amounts] = {}
        self._bound: dict[str, Amounts] = {}
        self._stores: dict[str, tuple[str | None, str | None]] = {}
        self._store_mib: Counter[str] = Counter()

    def charge(self, host: str, vm_uuid: str, specs: Specs | None, is_ha: bool = False) -> bool:
        """What a VM takes from a host is now `specs` (None: nothing); returns whether anything became free by it.

        `is_ha`: it is started elsewhere when the host dies.
        """
        charged = self._charged.setdefault(host, {})
        before = charged.pop(vm_uuid, None)
        if before:
            self._add(host, before[0], before[1], -1)
        if specs:
            charged[vm_uuid] = (specs, is_ha)
            self._add(host, specs, is_ha, 1)
        if not charged:
            del self._charged[host]
        return before is not None and specs != before[0]

    def vms_on(self, host: str) -> Collection[str]:
        """The VMs that take anything from a host; a view, not a copy."""
        return self._charged.get(host, {}).keys()

    def used(self, host: str) -> Amounts:
        """What is promised on a host."""
        return self._used.get(host, NOTHING)

    def bound(self, host: str) -> Amounts:
        """What of it is promised to VMs that stay there when the host dies: the few, so these are summed up."""
        return self._bound.get(host, NOTHING)

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

    def _add(self, host: str, specs: Specs, is_ha: bool, sign: int) -> None:
        for used_on in (self._used,) if is_ha else (self._used, self._bound):
            used = used_on.get(host, NOTHING)
            used_on[host] = Amounts(
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

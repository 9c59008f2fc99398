"""What the hosts have, what of it is promised, and which of them is the emptiest; kept current change by change.

It knows nothing of etcd. A change costs the same however many hosts and VMs there are.
"""

from collections.abc import Mapping

from common.schemas.host import HostRequest, HostStatus, Overcommit, StoreCapacity
from common.schemas.vm import Placement, Role, Specs
from ucloud_scheduler.groups import GroupIndex
from ucloud_scheduler.ledger import Ledger
from ucloud_scheduler.ranking import Ranks
from ucloud_scheduler.views import Disk, Host, Judged, Snapshot, Vm


class Inventory:
    """Views of every host, with what the placements take from it."""

    def __init__(self, keeps_spare: bool = False) -> None:
        """`keeps_spare`: plans are to keep so much free that the loss of any host can be made good."""
        self._keeps_spare = keeps_spare
        self._hosts: dict[str, Host] = {}
        self._ledger = Ledger()
        self._groups = GroupIndex()
        self._ranks = Ranks()
        self._changed: set[str] = set()

    def charge(self, host: str, vm_uuid: str, specs: Specs | None, placement: Placement | None = None) -> bool:
        """What a VM takes from a host is now `specs` (None: nothing); returns whether anything became free by it.

        `placement` is the order that says so, where it can be read.
        """
        self._changed.add(host)
        request = placement.request if placement else None
        is_here = placement is not None and placement.role is not Role.LEFT
        self._groups.set(host, vm_uuid, request if is_here else None)
        return self._ledger.charge(host, vm_uuid, specs, is_ha=request is not None and request.ha)

    def set(self, host: Host) -> bool:
        """A host is as `host` says, whose use does not count; returns whether that is news."""
        before = self._hosts.get(host.name)
        if before:
            host = host._replace(
                used_cpu=before.used_cpu,
                used_ram_mib=before.used_ram_mib,
                ha_cpu=before.ha_cpu,
                ha_ram_mib=before.ha_ram_mib,
            )
        if host == before:
            return False
        self._hosts[host.name] = host
        self._ranks.change([(before, host)])
        self._changed.add(host.name)
        if host.is_registered:
            self._ledger.set_stores(
                host.name, host.ssd.store_id if host.ssd else None, host.hdd.store_id if host.hdd else None
            )
        return True

    def remove(self, name: str) -> bool:
        """A host is no more; returns whether that is news."""
        before = self._hosts.pop(name, None)
        if before:
            self._ranks.change([(before, None)])
        return before is not None

    def snapshot(self, vms: tuple[Vm, ...]) -> Snapshot:
        """What a plan for `vms` is made from, with all that was charged by now. It holds until the next change."""
        changes = []
        for name in self._changed:
            if before := self._hosts.get(name):
                used, bound = self._ledger.used(name), self._ledger.bound(name)
                host = before._replace(
                    used_cpu=used.cpu,
                    used_ram_mib=used.ram_mib,
                    ha_cpu=used.cpu - bound.cpu,
                    ha_ram_mib=used.ram_mib - bound.ram_mib,
                )
                self._hosts[name] = host
                changes.append((before, host))
        self._ranks.change(changes)
        self._changed.clear()
        return Snapshot(
            vms,
            self._hosts,
            self._ledger.used_mib,
            self._ranks.open,
            self._ranks.closed,
            self._groups.members,
            bool(self._ranks.with_tenants),
            self._keeps_spare,
        )

    @property
    def hosts(self) -> Mapping[str, Host]:
        """Every host as of the last snapshot; a view, not a copy."""
        return self._hosts

    @property
    def ledger(self) -> Ledger:
        """What is promised."""
        return self._ledger


def host_view(word: HostRequest, is_alive: bool, status: HostStatus | None, verdict: Judged | None) -> Host:
    """A host with nothing promised yet. One that has not reported has no capacity."""
    host = Host(
        word.name,
        word.state,
        is_alive,
        verdict=verdict,
        labels=word.labels,
        tenants=frozenset(word.tenants),
        drain_cold=word.drain_cold,
    )
    if status is None:
        return host
    return host._replace(
        is_registered=True,
        cpu=int(status.cpu * word.overcommit.cpu),
        ram_mib=int(status.ram_mib * word.overcommit.ram),
        ssd=_disk(status.ssd, word.overcommit),
        hdd=_disk(status.hdd, word.overcommit),
        image_store=status.image_store,
        moves_live=status.moves_live,
    )


def _disk(capacity: StoreCapacity | None, overcommit: Overcommit) -> Disk | None:
    return Disk(capacity.store_id, int(capacity.total_mib * overcommit.disk)) if capacity else None

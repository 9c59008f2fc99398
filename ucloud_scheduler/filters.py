"""Which hosts take new VMs at all, which of them suit a certain one, and how it is said that none does. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from common.schemas.host import HostState
from common.schemas.vm import VmRequest
from ucloud_scheduler.capacity import Amounts, Lack, Resource
from ucloud_scheduler.views import Host


def why_closed(host: Host) -> str | None:
    """Why a host takes no new VM whatever its size, or None."""
    if host.is_dead:
        return "dead"
    if host.state is not HostState.ENABLED:
        return host.state.value
    if host.verdict or not host.is_alive:
        return "silent"
    return None if host.is_registered else "not registered yet"


class Why(Enum):
    """What a VM waits for, of the few kinds that are counted."""

    NO_HOST = "no_host"
    """No host takes new VMs, or there is none."""
    NO_MATCH = "no_match"
    """None of those that take new VMs suits it: labels, tenants, groups, where its disk is."""
    NO_ROOM = "no_room"
    NO_ROOM_TO_GROW = "no_room_to_grow"
    STILL_THERE = "still_there"
    """A host that it is not placed on reports it."""


@dataclass(frozen=True)
class Refusal:
    """Why a VM waits, as it is counted, and as it is told to its owner."""

    why: Why
    reason: str


class Stores(NamedTuple):
    """Where a VM's disks are: the stores' ids. `hdd` is None without an HDD, `ssd` where nobody knows."""

    ssd: str | None
    hdd: str | None

    @classmethod
    def of(cls, host: Host, hdd_mib: int) -> "Stores":
        """Those in which the disks of a VM on `host` are."""
        if host.ssd is None or (hdd_mib and host.hdd is None):
            return cls(None, None)
        return cls(host.ssd.store_id, host.hdd.store_id if hdd_mib and host.hdd else None)

    def are_on(self, host: Host) -> bool:
        """Whether `host` has these stores, too."""
        has_ssd = host.ssd is not None and host.ssd.store_id == self.ssd
        return has_ssd and (self.hdd is None or (host.hdd is not None and host.hdd.store_id == self.hdd))


class Need(NamedTuple):
    """What a VM needs of a host."""

    request: VmRequest
    amounts: Amounts
    """What it takes there."""
    leaves: str | None = None
    """The host that it is on until now."""
    stores: Stores | None = None
    """Where its disks are and stay; None: it gets new ones."""
    barred: Mapping[str, str] = MappingProxyType({})
    """Why hosts won't do for other reasons, by name."""

    @property
    def is_first(self) -> bool:
        """Whether its disks are yet to be made, from its image."""
        return self.leaves is None and self.stores is None


def misfit(need: Need, host: Host) -> str | None:
    """Why a host does not suit a VM, whoever else is there and however much is free; or None."""
    if host.name == need.leaves:
        return "it is there"
    if why := need.barred.get(host.name):
        return why
    if need.stores and not need.stores.are_on(host):
        return "without its disk"
    if need.is_first and host.image_store != need.request.image_store:
        return f"without image store {need.request.image_store}"
    if host.tenants and need.request.owner not in host.tenants:
        return "for other tenants"
    for label, value in need.request.host_labels.items():
        if host.labels.get(label) != value:
            return f"without label {label}={value}"
    return None


def explain(amounts: Amounts, lacks: Iterable[Lack], misfits: Mapping[str, int], closed: Mapping[str, int]) -> Refusal:
    """The reason why no host takes a VM: "no host has 64 GiB RAM free: 12 too small, 3 draining, 1 silent".

    `lacks` are those of the hosts that suit it, `misfits` counts those that don't by why, `closed` those that take
    no VMs by what closes them.
    """
    counts = Counter(lacks)
    short = [resource for resource in Resource if any(lack.resource is resource for lack in counts)]
    parts = [
        f"{count} {'too small' if too_small else 'full'}{f' ({resource.value})' if len(short) > 1 else ''}"
        for resource in short
        for too_small in (True, False)
        if (count := counts[Lack(resource, too_small)])
    ]
    parts += [f"{count} {why}" for others in (misfits, closed) for why, count in sorted(others.items())]
    if not parts:
        return Refusal(Why.NO_HOST, "there is no host yet")
    told = ", ".join(parts)
    if short:
        wanted = " and ".join(resource.describe(resource.of(amounts)) for resource in short)
        return Refusal(Why.NO_ROOM, f"no host has {wanted} free: {told}")
    if misfits:
        return Refusal(Why.NO_MATCH, f"no host will do: {told}")
    return Refusal(Why.NO_HOST, f"no host takes new VMs: {told}")

"""What is free where, while a plan promises more and more of it. Pure: it counts on top of a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from common.schemas.size import human_size
from common.schemas.vm import Specs
from ucloud_scheduler.views import Disk, Host


class Amounts(NamedTuple):
    """So much of each resource."""

    cpu: int
    ram_mib: int
    ssd_mib: int
    hdd_mib: int

    @classmethod
    def all_of(cls, specs: Specs) -> "Amounts":
        """A whole VM."""
        return cls(specs.cpu, specs.ram_mib, specs.ssd_mib, specs.hdd_mib)

    @classmethod
    def growth(cls, specs: Specs, held: Specs) -> "Amounts":
        """What `specs` is larger than `held`.

        What does not grow needs no room: a host that was promised more than it has must not stop a VM from shrinking.
        """
        return cls(
            max(0, specs.cpu - held.cpu),
            max(0, specs.ram_mib - held.ram_mib),
            max(0, specs.ssd_mib - held.ssd_mib),
            max(0, specs.hdd_mib - held.hdd_mib),
        )


NOTHING = Amounts(0, 0, 0, 0)


class Resource(Enum):
    """What can be short; the value is its name in a sentence."""

    CPU = "CPU"
    RAM = "RAM"
    SSD = "SSD"
    HDD = "HDD"

    def of(self, amounts: Amounts | Specs) -> int:
        """How much of it these are: processors, or MiB."""
        match self:
            case Resource.CPU:
                return amounts.cpu
            case Resource.RAM:
                return amounts.ram_mib
            case Resource.SSD:
                return amounts.ssd_mib
            case Resource.HDD:
                return amounts.hdd_mib

    def describe(self, amount: int) -> str:
        """An amount of it, for a sentence: "64 GiB RAM"."""
        return f"{amount if self is Resource.CPU else human_size(amount)} {self.value}"


@dataclass(frozen=True)
class Lack:
    """A host can't take a VM for want of `resource`; it never could if `too_small`, else others have it now."""

    resource: Resource
    too_small: bool

    def __str__(self) -> str:
        """In few words: "RAM full"."""
        return f"{self.resource.value} {'too small' if self.too_small else 'full'}"


class Capacity:
    """Every host's free capacity: that of the snapshot, less what was taken since.

    What a VM shrinks becomes free when that is written, not before.
    """

    def __init__(self, used_mib: Mapping[str, int]) -> None:
        """`used_mib` is what the snapshot says is used of each store, by store_id."""
        self._used_mib = used_mib
        self._cpu: dict[str, int] = {}
        self._ram_mib: dict[str, int] = {}
        self._disk_mib: dict[str, int] = {}

    def take(self, host: Host, wanted: Amounts) -> None:
        """Promise `wanted` of `host`."""
        self._cpu[host.name] = self._cpu.get(host.name, 0) + wanted.cpu
        self._ram_mib[host.name] = self._ram_mib.get(host.name, 0) + wanted.ram_mib
        for disk, wanted_mib in ((host.ssd, wanted.ssd_mib), (host.hdd, wanted.hdd_mib)):
            if disk:
                self._disk_mib[disk.store_id] = self._disk_mib.get(disk.store_id, 0) + wanted_mib

    def fit(self, host: Host, wanted: Amounts) -> float | Lack:
        """How full `wanted` would make `host`, 0 to 1; or the first resource of which that has too little."""
        cpu = self._cpu.get(host.name, 0) + wanted.cpu
        ram_mib = self._ram_mib.get(host.name, 0) + wanted.ram_mib
        if lack := _lack(Resource.CPU, wanted.cpu, host.cpu, host.used_cpu + cpu):
            return lack
        if lack := _lack(Resource.RAM, wanted.ram_mib, host.ram_mib, host.used_ram_mib + ram_mib):
            return lack
        if wanted.ssd_mib and (lack := self._disk_lack(Resource.SSD, host.ssd, wanted.ssd_mib)):
            return lack
        if wanted.hdd_mib and (lack := self._hdd_lack(host, wanted)):
            return lack
        return host.load(cpu, ram_mib)

    def lack(self, host: Host, wanted: Amounts) -> Lack | None:
        """The first resource of which `host` has too little."""
        fit = self.fit(host, wanted)
        return fit if isinstance(fit, Lack) else None

    def _hdd_lack(self, host: Host, wanted: Amounts) -> Lack | None:
        both_in_one = host.ssd and host.hdd and host.ssd.store_id == host.hdd.store_id
        return self._disk_lack(Resource.HDD, host.hdd, wanted.hdd_mib + (wanted.ssd_mib if both_in_one else 0))

    def _disk_lack(self, resource: Resource, disk: Disk | None, wanted_mib: int) -> Lack | None:
        if disk is None:
            return _lack(resource, wanted_mib, 0, wanted_mib)
        used_mib = self._used_mib.get(disk.store_id, 0) + self._disk_mib.get(disk.store_id, 0)
        return _lack(resource, wanted_mib, disk.total_mib, used_mib + wanted_mib)


def _lack(resource: Resource, wanted: int, total: int, used: int) -> Lack | None:
    """What there is too little of when `used` includes what is `wanted`."""
    if used <= total or wanted <= 0:
        return None
    return Lack(resource, too_small=wanted > total)

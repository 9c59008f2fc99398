"""What is free where, while a plan promises more and more of it. Pure: it counts on top of a snapshot."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from common.schemas.size import human_size
from common.schemas.vm import Specs
from ucloud_scheduler.views import Disk, Host


class Resource(Enum):
    """What can be short; the value is its name in a sentence."""

    CPU = "CPU"
    RAM = "RAM"
    SSD = "SSD"
    HDD = "HDD"

    def amount(self, specs: Specs) -> str:
        """How much of it a VM wants, for a sentence: "64 GiB RAM"."""
        match self:
            case Resource.CPU:
                return f"{specs.cpu} CPU"
            case Resource.RAM:
                return f"{human_size(specs.ram_mib)} RAM"
            case Resource.SSD:
                return f"{human_size(specs.ssd_mib)} SSD"
            case Resource.HDD:
                return f"{human_size(specs.hdd_mib)} HDD"


@dataclass(frozen=True)
class Lack:
    """A host can't take a VM for want of `resource`; it never could if `too_small`, else others have it now."""

    resource: Resource
    too_small: bool


@dataclass(frozen=True)
class _Amounts:
    cpu: int
    ram_mib: int
    ssd_mib: int
    hdd_mib: int

    @classmethod
    def of(cls, specs: Specs) -> "_Amounts":
        return cls(specs.cpu, specs.ram_mib, specs.ssd_mib, specs.hdd_mib)

    @classmethod
    def growth(cls, specs: Specs, held: Specs) -> "_Amounts":
        return cls(
            max(0, specs.cpu - held.cpu),
            max(0, specs.ram_mib - held.ram_mib),
            max(0, specs.ssd_mib - held.ssd_mib),
            max(0, specs.hdd_mib - held.hdd_mib),
        )


def _lack(resource: Resource, wanted: int, total: int, used: int) -> Lack | None:
    if wanted <= 0 or used + wanted <= total:
        return None
    return Lack(resource, too_small=wanted > total)


class Capacity:
    """Every host's free capacity: that of the snapshot, less what was taken since."""

    def __init__(self, used_mib: Mapping[str, int]) -> None:
        """`used_mib` is what the snapshot says is used of each store, by store_id."""
        self._used_mib = used_mib
        self._cpu: Counter[str] = Counter()
        self._ram_mib: Counter[str] = Counter()
        self._disk_mib: Counter[str] = Counter()

    def take(self, host: Host, specs: Specs) -> None:
        """Promise `specs` of `host`."""
        self._take(host, _Amounts.of(specs))

    def take_growth(self, host: Host, specs: Specs, held: Specs) -> None:
        """Promise what `specs` is larger than `held`. What shrinks becomes free when it is written, not before."""
        self._take(host, _Amounts.growth(specs, held))

    def _take(self, host: Host, amounts: "_Amounts") -> None:
        self._cpu[host.name] += amounts.cpu
        self._ram_mib[host.name] += amounts.ram_mib
        for disk, wanted_mib in ((host.ssd, amounts.ssd_mib), (host.hdd, amounts.hdd_mib)):
            if disk:
                self._disk_mib[disk.store_id] += wanted_mib

    def lack(self, host: Host, specs: Specs, held: Specs | None = None) -> Lack | None:
        """The first resource of which `host` has too little for `specs`, of which the VM holds `held` there already.

        What does not grow needs no room: a host that was promised more than it has must not stop a VM from shrinking.
        """
        wanted = _Amounts.growth(specs, held) if held else _Amounts.of(specs)
        name = host.name
        if lack := _lack(Resource.CPU, wanted.cpu, host.cpu, host.used_cpu + self._cpu[name]):
            return lack
        if lack := _lack(Resource.RAM, wanted.ram_mib, host.ram_mib, host.used_ram_mib + self._ram_mib[name]):
            return lack
        if lack := self._disk_lack(Resource.SSD, host.ssd, wanted.ssd_mib):
            return lack
        both_in_one = host.ssd and host.hdd and host.ssd.store_id == host.hdd.store_id and wanted.hdd_mib
        return self._disk_lack(Resource.HDD, host.hdd, wanted.hdd_mib + (wanted.ssd_mib if both_in_one else 0))

    def _disk_lack(self, resource: Resource, disk: Disk | None, wanted_mib: int) -> Lack | None:
        if disk is None:
            return _lack(resource, wanted_mib, 0, 0)
        used_mib = self._used_mib.get(disk.store_id, 0) + self._disk_mib[disk.store_id]
        return _lack(resource, wanted_mib, disk.total_mib, used_mib)

    def load(self, host: Host) -> float:
        """How full a host is, 0 to 1: the fuller of its memory and its processors."""
        used_ram_mib = host.used_ram_mib + self._ram_mib[host.name]
        used_cpu = host.used_cpu + self._cpu[host.name]
        return max(used_ram_mib / max(host.ram_mib, 1), used_cpu / max(host.cpu, 1))

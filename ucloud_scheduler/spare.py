"""Whether the loss of any one host could be made good: whether its HA VMs would find room on others. Pure.

Hosts that share the store of their root disks stand in for one another. The answer is a bound: it sums up processors
and memory, and does not look whether each VM fits in somewhere. So where it says no, there is no room for sure.
"""

import heapq
from collections.abc import Iterable

from common.schemas.size import human_size
from ucloud_scheduler.capacity import Amounts
from ucloud_scheduler.filters import why_closed
from ucloud_scheduler.views import Host


class _Pool:
    """One resource of the hosts of one store.

    A host's need is what is promised there to HA VMs and what is free there: so much must be free on all together, for
    the others to have room for those VMs. To promise some of what is free to another HA VM does not change it.
    """

    def __init__(self) -> None:
        self.free = 0
        self._needs: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def add(self, name: str, ha: int, free: int) -> None:
        """A host is one of them."""
        self.free += free
        self.change(name, ha + free)

    def change(self, name: str, by: int) -> None:
        """A host's need grows by so much."""
        self._needs[name] = self._needs.get(name, 0) + by
        heapq.heappush(self._heap, (-self._needs[name], name))

    def fullest(self) -> tuple[int, str]:
        """The largest need, and which host's it is."""
        while self._needs[self._heap[0][1]] != -self._heap[0][0]:
            heapq.heappop(self._heap)  # it has changed since
        need, name = self._heap[0]
        return -need, name

    def left(self) -> int:
        """What would be left after the loss of the fullest host; less than 0: so much is missing."""
        return self.free - self.fullest()[0]

    def take(self, name: str, amount: int, is_ha: bool) -> None:
        """Promise so much of a host; a negative amount: no more."""
        self.free -= amount
        if not is_ha:
            self.change(name, -amount)


class Spare:
    """What is kept free in each store, while a plan promises more and more of it."""

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._pools: dict[str, tuple[_Pool, _Pool]] = {}
        for host in hosts:
            if host.ssd is None:
                continue
            cpu, ram = self._pools.setdefault(host.ssd.store_id, (_Pool(), _Pool()))
            is_open = why_closed(host) is None
            cpu.add(host.name, host.ha_cpu, max(0, host.cpu - host.used_cpu) if is_open else 0)
            ram.add(host.name, host.ha_ram_mib, max(0, host.ram_mib - host.used_ram_mib) if is_open else 0)

    def take(self, host: Host, amounts: Amounts, is_ha: bool) -> None:
        """Promise so much of a host."""
        for pool, amount in self._of(host, amounts):
            pool.take(host.name, amount, is_ha)

    def allows(self, host: Host, amounts: Amounts, is_ha: bool) -> bool:
        """Whether the loss of each host could still be made good after that."""
        self.take(host, amounts, is_ha)
        is_enough = all(pool.left() >= 0 for pool, _ in self._of(host, amounts))
        self.take(host, Amounts(*(-amount for amount in amounts)), is_ha)
        return is_enough

    def leave(self, host: Host, amounts: Amounts) -> None:
        """An HA VM of so much leaves a dead host."""
        for pool, amount in self._of(host, amounts):
            pool.change(host.name, -amount)

    def left(self) -> dict[str, tuple[int, int]]:
        """By store, how many processors and MiB would be left after the loss of its fullest host."""
        return {store_id: (cpu.left(), ram.left()) for store_id, (cpu, ram) in self._pools.items()}

    def shortages(self) -> list[str]:
        """Where the loss of a host could not be made good, in words: "2 GiB RAM short if h1 dies"."""
        short = []
        for _, (cpu, ram) in sorted(self._pools.items()):
            if cpu.left() < 0:
                short.append(f"{-cpu.left()} CPU short if {cpu.fullest()[1]} dies")
            if ram.left() < 0:
                short.append(f"{human_size(-ram.left())} RAM short if {ram.fullest()[1]} dies")
        return short

    def _of(self, host: Host, amounts: Amounts) -> tuple[tuple[_Pool, int], ...]:
        if host.ssd is None or host.ssd.store_id not in self._pools:
            return ()
        cpu, ram = self._pools[host.ssd.store_id]
        return (cpu, amounts.cpu), (ram, amounts.ram_mib)

"""The hosts that take new VMs, the emptiest first. Pure: it counts on top of a snapshot, as the capacity does.

Spread: a VM goes to the host whose memory and processors are least promised, which leaves the most room for bursts and
loses the fewest VMs with a host. Hosts that are equally full come in the order of their names.
"""

from bisect import insort
from collections import Counter

from common.schemas.vm import Specs
from ucloud_scheduler.capacity import Capacity
from ucloud_scheduler.filters import explain, why_closed
from ucloud_scheduler.views import Host, Snapshot


class Ranking:
    """Chooses hosts. One choice costs about as many looks as there are emptier hosts that don't fit."""

    def __init__(self, snapshot: Snapshot, capacity: Capacity) -> None:
        self._hosts = snapshot.hosts
        self._capacity = capacity
        self._closed: Counter[str] = Counter()
        self._order: list[tuple[float, str]] = []
        self._refusals: dict[Specs, str] = {}
        for host in snapshot.hosts.values():
            if why := why_closed(host):
                self._closed[why] += 1
            else:
                self._order.append((capacity.load(host), host.name))
        self._order.sort()

    def choose(self, specs: Specs) -> Host | str:
        """The host for a VM, whose capacity is then taken; or the reason why there is none."""
        # Within one plan capacity only shrinks: what found no room once finds none later.
        if specs in self._refusals:
            return self._refusals[specs]
        lacks = []
        for position, (_, name) in enumerate(self._order):
            host = self._hosts[name]
            lack = self._capacity.lack(host, specs)
            if lack is None:
                del self._order[position]
                self._capacity.take(host, specs)
                insort(self._order, (self._capacity.load(host), name))
                return host
            lacks.append(lack)
        return self._refusals.setdefault(specs, explain(specs, lacks, self._closed))

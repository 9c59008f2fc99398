"""The hosts that take new VMs, the emptiest first. Pure.

Spread: a VM goes to the host whose memory and processors are least promised, which leaves the most room for bursts and
loses the fewest VMs with a host. Hosts that are equally full come in the order of their names.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence

from common.schemas.vm import Specs
from ucloud_scheduler.capacity import Amounts, Capacity
from ucloud_scheduler.filters import Refusal, explain, why_closed
from ucloud_scheduler.views import Host, Snapshot

_FEW = 50


class Ranks:
    """The order of all hosts, kept current change by change."""

    def __init__(self) -> None:
        self.open: list[tuple[float, str]] = []
        """Load and name of the hosts that take VMs, the emptiest first."""
        self.closed: dict[str, str] = {}
        """Why the others take none, by name."""

    def change(self, changes: Sequence[tuple[Host | None, Host | None]]) -> None:
        """Hosts were and are as each pair says; None: it was not, or is not, there. No host is named twice."""
        left = [was for was, _ in changes if was and not self.closed.pop(was.name, None)]
        came = []
        for _, now in changes:
            if now and (why := why_closed(now)):
                self.closed[now.name] = why
            elif now:
                came.append((now.load(), now.name))
        # To move the tails of a long list for each of many changes takes longer than to sort it once.
        if len(changes) > _FEW:
            names = {was.name for was in left}
            self.open = sorted([entry for entry in self.open if entry[1] not in names] + sorted(came))
            return
        for was in left:
            del self.open[bisect_left(self.open, (was.load(), was.name))]
        for entry in came:
            insort(self.open, entry)


class Ranking:
    """Chooses hosts, and counts on top of the snapshot what it promised of them.

    One choice costs about as many looks as there are emptier hosts that don't fit.
    """

    def __init__(self, snapshot: Snapshot, capacity: Capacity) -> None:
        self._hosts = snapshot.hosts
        self._capacity = capacity
        self._closed = snapshot.closed
        # The snapshot's order stays as it is. Hosts that were looked at are taken over into a short list of their own.
        self._rest = snapshot.open
        self._next = 0
        self._near: list[tuple[float, str]] = []
        self._refusals: dict[Specs, Refusal] = {}

    def choose(self, specs: Specs) -> Host | Refusal:
        """The host for a VM, whose capacity is then taken; or the reason why there is none."""
        # Within one plan capacity only shrinks: what found no room once finds none later.
        if refusal := self._refusals.get(specs):
            return refusal
        wanted, lacks, position = Amounts.all_of(specs), [], 0
        while name := self._name_at(position):
            host = self._hosts[name]
            lack = self._capacity.lack(host, wanted)
            if lack is None:
                del self._near[position]
                insort(self._near, (self._capacity.take(host, wanted), name))
                return host
            lacks.append(lack)
            position += 1
        return self._refusals.setdefault(specs, explain(specs, lacks, Counter(self._closed.values())))

    def _name_at(self, position: int) -> str | None:
        """The host at a position of the order as it is now; None behind the last."""
        near, rest = self._near, self._rest
        if self._next < len(rest) and (position == len(near) or rest[self._next] < near[position]):
            near.insert(position, rest[self._next])
            self._next += 1
        return near[position][1] if position < len(near) else None

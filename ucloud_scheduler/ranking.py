"""The hosts that take new VMs, the emptiest first. Pure.

Spread: a VM goes to the host whose memory and processors are least promised, which leaves the most room for bursts and
loses the fewest VMs with a host. Hosts that are equally full come in the order of their names. What a VM prefers with
regard to its groups goes before.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from ucloud_scheduler.capacity import Capacity, Lack
from ucloud_scheduler.filters import Need, Refusal, explain, misfit, why_closed
from ucloud_scheduler.groups import Groups
from ucloud_scheduler.views import Host, Snapshot

_FEW = 50


class Ranks:
    """The order of all hosts, kept current change by change."""

    def __init__(self) -> None:
        self.open: list[tuple[float, str]] = []
        """Load and name of the hosts that take VMs, the emptiest first."""
        self.closed: dict[str, str] = {}
        """Why the others take none, by name."""
        self.with_tenants: set[str] = set()
        """Those that take the VMs of certain owners only."""

    def change(self, changes: Sequence[tuple[Host | None, Host | None]]) -> None:
        """Hosts were and are as each pair says; None: it was not, or is not, there. No host is named twice."""
        left = [was for was, _ in changes if was and not self.closed.pop(was.name, None)]
        self.with_tenants -= {was.name for was, _ in changes if was and was.tenants}
        self.with_tenants |= {now.name for _, now in changes if now and now.tenants}
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


_BEST = 3
"""So many hosts are told of with a choice."""
_FURTHER = 4
"""So many hosts behind the chosen one are looked at for that."""


class Chosen(NamedTuple):
    """The host for a VM, and how it came to that: see Choice."""

    host: Host
    refused: dict[str, int]
    scores: tuple[tuple[str, float], ...]


class Ranking:
    """Chooses hosts, and counts on top of the snapshot what it promised of them.

    One choice costs about as many looks as there are emptier hosts that don't suit the VM.
    """

    def __init__(self, snapshot: Snapshot, capacity: Capacity) -> None:
        self._hosts = snapshot.hosts
        self._capacity = capacity
        self._closed = Counter(snapshot.closed.values())
        self._has_tenants = snapshot.has_tenants
        self._groups = Groups(snapshot.groups)
        # The snapshot's order stays as it is. Hosts that were looked at are taken over into a short list of their own.
        self._rest = snapshot.open
        self._next = 0
        self._near: list[tuple[float, str]] = []
        self._refusals: dict[tuple[object, ...], Refusal] = {}

    def choose(self, need: Need) -> Chosen | Refusal:
        """The host for a VM, whose capacity is then taken; or the reason why there is none."""
        key = self._key(need)
        # Within one plan capacity only shrinks: what found no host once finds none later; unless it is for its group.
        if key and (refusal := self._refusals.get(key)):
            return refusal
        is_picky = bool(need.stores or need.leaves or need.request.host_labels)
        grouped = bool(need.request.affinity)
        fits: list[tuple[int, int]] = []
        lacks: list[Lack] = []
        misfits: Counter[str] = Counter()
        position, last = 0, None
        while name := self._name_at(position):
            host = self._hosts[name]
            why = misfit(need, host) if is_picky or host.tenants else None
            if grouped and not why:
                why = self._groups.misfit(need.request, name, need.leaves)
            if why:
                misfits[why] += 1
            elif lack := self._capacity.lack(host, need.amounts):
                lacks.append(lack)
            else:
                dislikes = self._groups.dislikes(need.request, name) if grouped else 0
                fits.append((dislikes, position))
                if last is None and not dislikes:
                    last = position + _FURTHER
            if last is not None and (len(fits) >= _BEST or position >= last):
                break
            position += 1
        if fits:
            return self._take(need, [position for _, position in sorted(fits)[:_BEST]], misfits, lacks)
        refusal = explain(need.amounts, lacks, misfits, self._closed)
        if key:
            self._refusals[key] = refusal
        return refusal

    def _key(self, need: Need) -> tuple[object, ...] | None:
        """What a refusal holds for; None: for this time only."""
        request = need.request
        if request.affinity or need.barred:
            return None
        labels = tuple(sorted(request.host_labels.items()))
        return (need.amounts, need.leaves, need.stores, labels, request.owner if self._has_tenants else None)

    def _take(self, need: Need, best: Sequence[int], misfits: Counter[str], lacks: list[Lack]) -> Chosen:
        """Take the first of the hosts at these positions."""
        names = [self._near[position][1] for position in best]
        scores = [(name, self._capacity.load(self._hosts[name], need.amounts)) for name in names]
        host = self._hosts[names[0]]
        del self._near[best[0]]
        insort(self._near, (self._capacity.take(host, need.amounts), host.name))
        self._groups.join(need.request, host.name)
        refused = self._closed + misfits + Counter(map(str, lacks)) if misfits or lacks else self._closed
        return Chosen(host, refused, tuple((name, round(score, 3)) for name, score in scores))

    def _name_at(self, position: int) -> str | None:
        """The host at a position of the order as it is now; None behind the last."""
        near, rest = self._near, self._rest
        if self._next < len(rest) and (position == len(near) or rest[self._next] < near[position]):
            near.insert(position, rest[self._next])
            self._next += 1
        return near[position][1] if position < len(near) else None

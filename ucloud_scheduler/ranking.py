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
from ucloud_scheduler.spare import Spare
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


class _Search(NamedTuple):
    """What was found of the hosts that were looked at."""

    fits: list[tuple[int, int, float]]
    """Those that will do: how many preferences they go against, their positions, how full they would become."""
    lacks: list[Lack]
    misfits: list[str]


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
        self._spare = Spare(snapshot.hosts.values()) if snapshot.keeps_spare else None
        # The snapshot's order stays as it is. Hosts that were looked at are taken over into a short list of their own.
        self._rest = snapshot.open
        self._next = 0
        self._near: list[tuple[float, str]] = []
        self._refusals: dict[tuple[object, ...], Refusal] = {}

    def choose(self, need: Need) -> Chosen | Refusal:
        """The host for a VM, whose capacity is then taken; or the reason why there is none."""
        # Within one plan capacity only shrinks: what found no host once finds none later; unless it is for its group.
        if self._refusals and (refusal := self._refusals.get(self._key(need))):
            return refusal
        search = self._search(need)
        if search.fits:
            return self._take(need, search)
        refusal = explain(need.amounts, search.lacks, Counter(search.misfits), self._closed)
        if not need.request.affinity:
            self._refusals[self._key(need)] = refusal
        return refusal

    def _search(self, need: Need) -> _Search:
        """Look at hosts, the emptiest first, until there are enough that will do, or no more."""
        request, amounts = need.request, need.amounts
        is_grouped = bool(request.affinity)
        is_picky = bool(is_grouped or need.leaves or need.stores or request.host_labels)
        search, last, store = _Search([], [], []), None, request.image_store
        fits, near, hosts = search.fits, self._near, self._hosts
        for position in range(len(hosts)):
            self._bring_near(position)
            if position == len(near):
                break
            name = near[position][1]
            host = hosts[name]
            if (is_picky or host.tenants or host.image_store != store) and (why := self._misfit(need, host)):
                search.misfits.append(why)
            elif isinstance(fit := self._capacity.fit(host, amounts), Lack):
                search.lacks.append(fit)
            elif self._spare and not need.leaves and not self._spare.allows(host, amounts, request.ha):
                search.misfits.append("kept free for the VMs of a host that dies")
            else:
                dislikes = self._groups.dislikes(request, name) if is_grouped else 0
                fits.append((dislikes, position, fit))
                if last is None and not dislikes:
                    last = position + _FURTHER
                if last is not None and len(fits) >= _BEST:
                    break
            if position == last:
                break
        if is_grouped:
            fits.sort()
        return search

    def _misfit(self, need: Need, host: Host) -> str | None:
        return misfit(need, host) or self._groups.misfit(need.request, host.name, need.leaves)

    def _key(self, need: Need) -> tuple[object, ...]:
        """What a refusal holds for, of VMs without a group; with one, it never matches."""
        request = need.request
        labels = tuple(sorted(request.host_labels.items()))
        owner = request.owner if self._has_tenants else None
        placing = (labels, owner, request.ha, request.affinity, request.image_store)
        return (need.amounts, need.leaves, need.stores, *placing)

    def _take(self, need: Need, search: _Search) -> Chosen:
        """Take the best of the hosts that fit."""
        near, fits = self._near, search.fits[:_BEST]
        scores = tuple([(near[position][1], load) for _, position, load in fits])
        host, (_, position, load) = self._hosts[scores[0][0]], fits[0]
        del near[position]
        insort(near, (load, host.name))
        self._capacity.take(host, need.amounts)
        self._groups.join(need.request, host.name)
        if self._spare:
            self._spare.take(host, need.amounts, need.request.ha)
            if need.leaves and (home := self._hosts.get(need.leaves)):
                self._spare.leave(home, need.amounts)
        refused = self._closed
        if search.misfits or search.lacks:
            refused = refused + Counter(search.misfits) + Counter(map(str, search.lacks))
        return Chosen(host, refused, scores)

    def _bring_near(self, position: int) -> None:
        """Have the host that is at a position of the order as it is now in the short list, if there is one."""
        near, rest = self._near, self._rest
        if self._next < len(rest) and (position == len(near) or rest[self._next] < near[position]):
            near.insert(position, rest[self._next])
            self._next += 1

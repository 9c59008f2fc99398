"""What there is of a kind, oldest first, of everybody and of each owner; so that no list has to sort or search it all.

It says where to look: what holds is what the cache has there.
"""

import heapq
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

from common import keys
from common.cache import Cache
from common.schemas.record import Record

R = TypeVar("R", bound=Record)
_CHUNK = 512


@dataclass(frozen=True)
class Audience:
    """Who may see a thing: its owner, and everybody if it is public."""

    owner: str
    public: bool = False


class _Order:
    """Names in the order of their creation."""

    def __init__(self) -> None:
        self._items: list[tuple[int, str]] = []
        self._is_sorted = True

    def add(self, item: tuple[int, str]) -> None:
        # A first listing comes in the order of the keys; it is sorted once, when somebody asks.
        self._is_sorted = self._is_sorted and (not self._items or self._items[-1] < item)
        self._items.append(item)

    def remove(self, item: tuple[int, str]) -> None:
        self._sort()
        del self._items[bisect_left(self._items, item)]

    def after(self, revision: int, most: int) -> list[tuple[int, str]]:
        """The next ones that were created after `revision`."""
        self._sort()
        start = bisect_right(self._items, revision, key=lambda item: item[0])
        return self._items[start : start + most]

    def _sort(self) -> None:
        if not self._is_sorted:
            self._items.sort()
            self._is_sorted = True

    def __bool__(self) -> bool:
        return bool(self._items)


class Things(Generic[R]):
    """Follows the cache of the requests of a kind."""

    def __init__(self, cache: Cache[R], audience: Callable[[R], Audience]) -> None:
        self._cache = cache
        self._audience = audience
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, Audience]] = {}
        self._all = _Order()
        self._public = _Order()
        self._of_owner: dict[str, _Order] = {}

    def update(self, key: str) -> Audience | None:
        """Look at a key that may have changed; returns who may see what is there, or might see what was there."""
        name, cached = keys.last_part(key), self._cache.get(key)
        with self._lock:
            before = self._known.get(name)
            now = (cached.create_revision, self._audience(cached.record)) if cached else None
            if now != before:
                if before:
                    self._remove(name, *before)
                if now:
                    self._add(name, *now)
            told = [each[1] for each in (before, now) if each]
        return Audience(told[-1].owner, any(each.public for each in told)) if told else None

    def _add(self, name: str, revision: int, audience: Audience) -> None:
        self._known[name] = (revision, audience)
        self._all.add((revision, name))
        self._of_owner.setdefault(audience.owner, _Order()).add((revision, name))
        if audience.public:
            self._public.add((revision, name))

    def _remove(self, name: str, revision: int, audience: Audience) -> None:
        del self._known[name]
        self._all.remove((revision, name))
        of_owner = self._of_owner[audience.owner]
        of_owner.remove((revision, name))
        if not of_owner:
            del self._of_owner[audience.owner]
        if audience.public:
            self._public.remove((revision, name))

    def audience_of(self, record: R) -> Audience:
        """Who may see what a record is about."""
        return self._audience(record)

    def audience(self, name: str) -> Audience | None:
        """Who may see a thing; None when it is not known."""
        known = self._known.get(name)
        return known[1] if known else None

    def audience_at(self, key: str) -> Audience | None:
        """As `audience`, of the thing that a key below any prefix is about."""
        return self.audience(keys.last_part(key))

    def of_all(self, after: int = 0) -> Iterator[str]:
        """The names of all things that were created after a revision, oldest first."""
        return (name for _, name in self._walk(lambda: self._all, after))

    def seen_by(self, owners: Iterable[str], after: int = 0) -> Iterator[str]:
        """The names of some owners' things and of public ones that were created after a revision, oldest first."""
        merged = heapq.merge(self._merged(owners, after), self._walk(lambda: self._public, after))
        return (name for (_, name), _ in groupby(merged))

    def of(self, owners: Iterable[str], after: int = 0) -> Iterator[str]:
        """The names of some owners' things that were created after a revision, oldest first."""
        return (name for _, name in self._merged(owners, after))

    def public(self) -> Iterator[str]:
        """The names of what everybody may see, oldest first."""
        return (name for _, name in self._walk(lambda: self._public, 0))

    def _merged(self, owners: Iterable[str], after: int) -> Iterator[tuple[int, str]]:
        def of(owner: str) -> Iterator[tuple[int, str]]:
            return self._walk(lambda: self._of_owner.get(owner), after)

        return heapq.merge(*map(of, owners))

    def _walk(self, order: Callable[[], _Order | None], after: int) -> Iterator[tuple[int, str]]:
        """In pieces, so that nothing is held up for long; what comes and goes meanwhile shifts nothing."""
        while True:
            with self._lock:
                found = order()
                piece = found.after(after, _CHUNK) if found else []
            yield from piece
            if len(piece) < _CHUNK:
                return
            after = piece[-1][0]

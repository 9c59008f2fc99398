"""What changed lately, by revision, so that a stream goes on where it was cut off, at whichever worker.

A cache tells of a change before it counts it as told, so the exact revision of a change is not known when it is told
of: what is kept is a revision that is surely not below it. What is told again does no harm; what is left out would.
"""

import threading
from dataclasses import dataclass, field
from typing import Any

from common.cache import Cache
from ucloud_api.worker.things import Audience

MOST = 10_000


@dataclass
class _Untold:
    """What a cache is telling of just now, since it counted `revision` as told."""

    revision: int
    names: set[str] = field(default_factory=set)
    has_lost: bool = False


@dataclass
class _Touch:
    audience: Audience | None
    revision: int = 0


def _widest(audience: Audience | None, old: _Touch | None) -> Audience | None:
    """Who might have seen a thing, now or as of an earlier touch."""
    if audience is None or old is None or old.audience is None:
        return audience or (old.audience if old else None)
    was_public = old.audience.owner == audience.owner and old.audience.public
    return Audience(audience.owner, audience.public or was_public)


class Journal:
    """The things of a kind that changed since a revision, and who might have seen them; bounded.

    `caches` are those that tell of the kind, that of the requests first. What happened before one of them was listed
    (anew) is not known: things may have come and gone.
    """

    def __init__(self, caches: tuple[Cache[Any], ...], most: int = MOST) -> None:
        self._caches = caches
        self._most = most
        self._lock = threading.Lock()
        self._touches: dict[str, _Touch] = {}
        self._untold: dict[Cache[Any], _Untold] = {}
        self._forgotten_until = 0

    def touch(self, cache: Cache[Any], name: str, audience: Audience | None) -> None:
        """`cache` tells that `name` may have changed; None: it is not known here, nor is who might have seen it."""
        told = cache.revision
        if not told:
            return  # the first listing: nobody was told of anything before it
        with self._lock:
            untold = self._settled(cache, told)
            old = self._touches.get(name)
            if audience is None and old is None and cache is not self._caches[0]:
                return  # what nothing is requested of, nobody ever saw
            self._touches.pop(name, None)
            self._touches[name] = _Touch(_widest(audience, old), old.revision if old else 0)
            untold.names.add(name)
            if len(self._touches) > self._most:
                self._forget(next(iter(self._touches)))

    def _settled(self, cache: Cache[Any], told: int) -> _Untold:
        """What the cache is telling of, after what it had been telling of before has been counted as told."""
        untold = self._untold.setdefault(cache, _Untold(told))
        if untold.revision == told:
            return untold
        for name in untold.names:
            if touch := self._touches.get(name):
                touch.revision = max(touch.revision, told)
        if untold.has_lost:
            self._forgotten_until = max(self._forgotten_until, told)
        self._untold[cache] = _Untold(told)
        return self._untold[cache]

    def _forget(self, name: str) -> None:
        """Make room: what changed up to then can no longer be told."""
        self._forgotten_until = max(self._forgotten_until, self._touches.pop(name).revision)
        for untold in self._untold.values():
            if name in untold.names:
                untold.names.discard(name)
                untold.has_lost = True

    def since(self, revision: int) -> set[str] | None:
        """The names of all that may have changed after `revision`; None when that is not known any more."""
        with self._lock:
            for cache in list(self._untold):
                self._settled(cache, cache.revision)
            known_since = max(self._forgotten_until, *(cache.listed_at for cache in self._caches))
            if revision < known_since or any(untold.has_lost for untold in self._untold.values()):
                return None
            names = {name for name, touch in self._touches.items() if touch.revision > revision}
            names.update(*(untold.names for untold in self._untold.values()))
            return None if any(self._touches[name].audience is None for name in names) else names

    def audience(self, name: str) -> Audience | None:
        """Who might have seen what changed lately; None when it is not remembered."""
        with self._lock:
            touch = self._touches.get(name)
            return touch.audience if touch else None

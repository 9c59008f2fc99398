"""A kind of things as a worker follows it: what is requested and reported, what there is, and what changed lately."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from common.cache import Cache
from common.schemas.record import Record
from ucloud_api.worker.journal import Journal
from ucloud_api.worker.things import Audience, Things

R = TypeVar("R", bound=Record)


class Followed(Generic[R]):
    """What is followed of `kind`: the cache of its requests, and those of what is reported of it."""

    things: Things[R]

    def __init__(self, kind: str, audience: Callable[[R], Audience], requests: Cache[R], *reports: Cache[Any]) -> None:
        self.kind = kind
        self.requests = requests
        self.caches: tuple[Cache[Any], ...] = (requests, *reports)
        self.things = Things(requests, audience)
        self.journal = Journal(self.caches)

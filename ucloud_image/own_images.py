"""The images of one store, among those of all: each store has its own ucloud_image, which leaves the others' alone."""

from collections.abc import Callable, Mapping

from common.cache import Cache, Cached
from common.schemas.image import ImageRequest, ImageStatus


class OwnImages:
    """See common.controller.Requests: those that are to be in `store`. Of the others nothing is to change."""

    def __init__(self, requests: Cache[ImageRequest], statuses: Cache[ImageStatus], store: str) -> None:
        self._requests = requests
        self._statuses = statuses
        self._store = store
        self.prefix = requests.prefix

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """See Cache."""
        self._requests.subscribe(listener)

    def get(self, key: str) -> Cached[ImageRequest] | None:
        """See Cache."""
        cached = self._requests.get(key)
        return cached if cached and cached.record.store == self._store else None

    def records(self) -> Mapping[str, Cached[ImageRequest]]:
        """See Cache."""
        return {key: cached for key, cached in self._requests.records().items() if cached.record.store == self._store}

    def is_malformed(self, key: str) -> bool:
        """Whether nothing is to change: also where another's image is, or was and is being forgotten."""
        if self._requests.is_malformed(key):
            return True
        if request := self._requests.get(key):
            return request.record.store != self._store
        status = self._statuses.get(self._statuses.prefix + key.removeprefix(self.prefix))
        return status is not None and status.record.store != self._store

    def wait_synced(self, timeout_s: float | None = None) -> bool:
        """See Cache."""
        return self._requests.wait_synced(timeout_s)

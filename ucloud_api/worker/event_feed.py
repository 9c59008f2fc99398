"""Has the hub tell whoever follows the events of a thing that there are new ones. What they say is read from etcd."""

import logging
import threading
from collections.abc import Callable

from common import keys
from common.errors import Compacted, UcloudError
from common.store import Range, Store

_log = logging.getLogger(__name__)
_RETRY_S = 1.0


def topic(kind: str, thing: str) -> tuple[str, str]:
    """What the hub tells of when something happened to a thing."""
    return f"events of {kind}", thing


class EventFeed:
    """Watches all events. A stream that was not told of one finds it when it looks again by itself."""

    def __init__(self, store: Store, tell: Callable[[str, str], None]) -> None:
        self._store = store
        self._tell = tell

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop`; the body of a thread."""
        while not stop.is_set():
            try:
                revision = self._store.list_ranges([Range(keys.EVENT, limit=1)]).revision
                for news in self._store.watch(keys.EVENT, revision + 1, stop):
                    for change in news.changes:
                        self._tell(*topic(*keys.kind_and_thing(change.key)))
            except Compacted:
                continue
            except UcloudError as error:
                _log.warning("events can't be watched: %s", error)
                stop.wait(_RETRY_S)

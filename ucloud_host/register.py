"""Keeps what is registered of this host equal to what was measured."""

import logging
import threading
from collections.abc import Callable

from common import keys
from common.errors import MalformedRecord, UcloudError
from common.schemas.host import HostStatus
from common.store import Put, Store, unchanged

_log = logging.getLogger(__name__)
_MEASURE_EVERY_S = 60.0
_RETRY_S = 2.0


class Registration:
    """`/v1/status/host/<host>`, measured again now and then, written when it says something new."""

    def __init__(self, store: Store, measure: Callable[[], HostStatus]) -> None:
        self._store = store
        self._measure = measure
        self._problem: str | None = "not registered yet"

    @property
    def problem(self) -> str | None:
        """Why the host is not registered as it is; None while it is."""
        return self._problem

    def run(self, stop: threading.Event) -> None:
        """Keep the registration until `stop`; the body of a thread."""
        while not stop.is_set():
            try:
                self.register(self._measure())
                self._problem = None
            except UcloudError as error:
                self._problem = str(error)
                _log.warning("can't register this host: %s", error)
            stop.wait(_RETRY_S if self._problem else _MEASURE_EVERY_S)

    def register(self, measured: HostStatus) -> None:
        """Write what was measured, unless it stands there already."""
        key = keys.host_status(measured.name)
        entry = self._store.get(key)
        if entry and _read(key, entry.value) == measured:
            return
        self._store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, measured.to_json())])
        _log.info("registered: %s", measured)


def _read(key: str, value: bytes) -> HostStatus | None:
    try:
        return HostStatus.read(key, value)
    except MalformedRecord as error:
        _log.error("replacing what was registered: %s", error)
        return None

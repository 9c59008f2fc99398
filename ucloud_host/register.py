"""Keeps what is registered of this host equal to what was measured."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from common import keys
from common.errors import MalformedRecord, Refused, UcloudError
from common.events import EventLog
from common.schemas.event import EventRecord
from common.schemas.host import HostStatus
from common.store import Put, Store, unchanged

_log = logging.getLogger(__name__)
_MEASURE_EVERY_S = 60.0
_RETRY_S = 2.0


class Registration:
    """`/v1/status/host/<host>`, measured again now and then, written when it says something new."""

    def __init__(self, store: Store, measure: Callable[[], HostStatus], events: EventLog) -> None:
        self._store = store
        self._events = events
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
        before = _read(key, entry.value) if entry else None
        if before == measured:
            return
        operations = [Put(key, measured.to_json()), *self._tell(before, measured)]
        try:
            self._store.commit([unchanged(key, entry.mod_revision if entry else 0)], operations)
        except Refused:
            self._events.forget_leases(operations)
            raise
        _log.info("registered: %s", measured)

    def _tell(self, before: HostStatus | None, measured: HostStatus) -> tuple[Put, ...]:
        if before and _without_free(before) == _without_free(measured):
            return ()
        event = EventRecord(at=datetime.now(UTC), what=_news(before, measured))
        return self._events.tell("host", measured.name, event)


def _without_free(status: HostStatus) -> HostStatus:
    """A status but for how much is free, which is no event."""
    stores = {name: getattr(status, name) for name in ("ssd", "hdd")}
    return status.model_copy(
        update={name: store.model_copy(update={"free_mib": None}) for name, store in stores.items() if store}
    )


def _news(before: HostStatus | None, measured: HostStatus) -> str:
    """What is new, in words."""
    if before is None:
        return "registered"
    if before.boot_id != measured.boot_id:
        return "booted"
    changed = [field for field in HostStatus.model_fields if getattr(before, field) != getattr(measured, field)]
    return f"has changed: {', '.join(changed)}"


def _read(key: str, value: bytes) -> HostStatus | None:
    try:
        return HostStatus.read(key, value)
    except MalformedRecord as error:
        _log.error("replacing what was registered: %s", error)
        return None

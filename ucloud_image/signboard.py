"""Tells in etcd how the image store is: what it is, how much is free, what is wrong with it."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from common import keys
from common.errors import MalformedRecord, TemporaryError, UcloudError
from common.schemas.image_store import ImageStoreStatus
from common.settings import StorageSettings
from common.storage import Store as Disks
from common.store import Compare, Put, Store, unchanged

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 30.0


class Signboard:
    """`/v1/status/image-store/<name>`, looked at now and then by the leader, written when it says something new."""

    def __init__(
        self, store: Store, settings: StorageSettings, disks: Disks, guard: Callable[[], Compare | None]
    ) -> None:
        """`disks` is the image store that the settings speak of; `guard` see common.controller.Controller."""
        self._store = store
        self._settings = settings
        self._disks = disks
        self._guard = guard
        self._key = keys.image_store_status(settings.name)
        self._due = threading.Event()

    def look(self) -> None:
        """Look now, or see that it is to end."""
        self._due.set()

    def run(self, stop: threading.Event) -> None:
        """Keep it right until `stop`; the body of a thread."""
        while True:
            self._due.wait(_LOOK_EVERY_S)
            self._due.clear()
            if stop.is_set():
                return
            try:
                self._hang()
            except UcloudError as error:
                _log.warning("can't tell how the image store is: %s", error)

    def _hang(self) -> None:
        guard = self._guard()
        if guard is None:
            return
        entry = self._store.get(self._key)
        before = _read(self._key, entry.value) if entry else None
        status = self._now(before)
        if before and before.problem == status.problem:
            status = status.model_copy(update={"since": before.since})
        if status != before:
            known = unchanged(self._key, entry.mod_revision if entry else 0)
            self._store.commit([guard, known], [Put(self._key, status.to_json())])

    def _now(self, before: ImageStoreStatus | None) -> ImageStoreStatus:
        """How the store is; what was known of it before, where it does not answer."""
        nothing = ImageStoreStatus(name=self._settings.name, kind=self._settings.kind, since=datetime.now(UTC))
        try:
            size = self._disks.capacity()
            found = {"ssd": size.ssd, "hdd": size.hdd, "images": len(self._disks.templates())}
            return nothing.model_copy(update=found)
        except TemporaryError as error:
            known = before or nothing
            return known.model_copy(update={"problem": str(error), "since": nothing.since})


def _read(key: str, value: bytes) -> ImageStoreStatus | None:
    try:
        return ImageStoreStatus.read(key, value)
    except MalformedRecord as error:
        _log.error("replacing what was said of the image store: %s", error)
        return None

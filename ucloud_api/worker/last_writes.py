"""The newest revision that the workers of this machine wrote below each prefix, so that each reads what another wrote.

It is a page of memory that the workers share, made before they are forked. It must hold nothing else: what the API
knows is in etcd.
"""

import fcntl
import mmap
import os
import threading
from collections.abc import Callable

_BYTES = 8


class LastWrites:
    """Revisions by prefix. Reading takes no lock: a revision is one aligned word."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._places = {prefix: place for place, prefix in enumerate(prefixes)}
        self._file = os.memfd_create("ucloud-api-last-writes")  # only to be locked
        self._revisions = memoryview(mmap.mmap(-1, _BYTES * len(prefixes))).cast("Q")
        self._lock = threading.Lock()

    def get(self, prefix: str) -> int:
        """The newest revision written below `prefix`; 0 when none is known, or the prefix is not followed."""
        place = self._places.get(prefix)
        return 0 if place is None else self._revisions[place]

    def note(self, prefix: str, revision: int) -> None:
        """Something below `prefix` was written at `revision`."""
        self._set(prefix, lambda known: max(known, revision))

    def lower(self, prefix: str, wrong: int, revision: int) -> None:
        """The store was restored from a backup and never knew `wrong`: begin again from `revision`."""
        self._set(prefix, lambda known: revision if known == wrong else known)

    def close(self) -> None:
        """Nothing is noted any more."""
        os.close(self._file)

    def _set(self, prefix: str, change: Callable[[int], int]) -> None:
        place = self._places[prefix]
        with self._lock:
            # A lock of the process (fcntl(2)): it is gone with a worker that dies in here.
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                self._revisions[place] = change(self._revisions[place])
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

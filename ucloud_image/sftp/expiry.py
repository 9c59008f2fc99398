"""Forgets partial uploads that nobody goes on with."""

import logging
import threading
from pathlib import Path

from ucloud_image.parts import Parts

_log = logging.getLogger(__name__)
_TTL_S = 7 * 24 * 3600
_LOOK_S = 3600.0


def expire_parts(directory: Path, parts: Parts, stop: threading.Event) -> None:
    """Look at all owners' now and then; the body of a thread."""
    while not stop.is_set():
        try:
            for folder in directory.iterdir():
                _expire(folder.name, parts)
        except OSError as error:
            _log.warning("the upload folders can't be looked through: %s", error.strerror)
        stop.wait(_LOOK_S)


def _expire(owner: str, parts: Parts) -> None:
    try:
        for name in parts.expire(owner, _TTL_S):
            _log.info("the upload of %s/%s was given up", owner, name)
    except OSError as error:
        _log.debug("%s is no upload folder: %s", owner, error.strerror)

"""Watches the upload folders by inotify(7): tells which file to look at, or to look at all where it missed something.

It sees what is changed on this machine only; on a file system that others write to as well, the rest is found by the
loop's own look through everything.
"""

import errno
import logging
import os
import select
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from inotify_simple import Event, INotify, flags

from ucloud_image.folders import is_name

_log = logging.getLogger(__name__)
_RETRY_S = 5.0
_ROOT = flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.ONLYDIR
# Closed, renamed, removed; ATTRIB: begun and finished, which the sticky bit says.
_FOLDER = (
    flags.CLOSE_WRITE
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.ATTRIB
    | flags.ONLYDIR
    | flags.DONT_FOLLOW
)


@dataclass(frozen=True)
class Hints:
    """Whom the watch tells: of one file (`<owner>/<file>`), of all in an owner's folder, of everything."""

    look: Callable[[str], None]
    files_of: Callable[[str], Iterable[str]]
    look_at_all: Callable[[], None]


class FolderWatch:
    """One watch for the folder of all, one for each owner's."""

    def __init__(self, directory: Path, hints: Hints) -> None:
        self._directory = directory
        self._hints = hints
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def wake(self) -> None:
        """Have `run` look whether it is to stop."""
        os.eventfd_write(self._wake, 1)

    def run(self, stop: threading.Event) -> None:
        """Watch until `stop`; the body of a thread."""
        while not stop.is_set():
            try:
                with INotify(nonblocking=True) as inotify:
                    self._watch(inotify, stop)
            except OSError as error:
                _log.warning("%s can't be watched: %s", self._directory, error.strerror)
                stop.wait(_RETRY_S)

    def _watch(self, inotify: INotify, stop: threading.Event) -> None:
        root = inotify.add_watch(self._directory, _ROOT)
        owners: dict[int, str] = {}
        for path in self._directory.iterdir():
            self._add(inotify, owners, path.name)
        # What happened before the watches stood.
        self._hints.look_at_all()
        while not stop.is_set():
            select.select([inotify, self._wake], [], [])
            for event in inotify.read(timeout=0):
                if event.mask & flags.Q_OVERFLOW:
                    raise OSError(errno.EOVERFLOW, "more happened than could be told; looking at all anew")
                if event.wd == root:
                    if event.mask & flags.IGNORED:
                        raise OSError(errno.ENOENT, "it is gone")
                    self._tell_of_folder(inotify, owners, event)
                elif event.mask & flags.IGNORED:
                    owners.pop(event.wd, None)
                elif event.wd in owners and is_name(event.name):
                    self._hints.look(f"{owners[event.wd]}/{event.name}")

    def _tell_of_folder(self, inotify: INotify, owners: dict[int, str], event: Event) -> None:
        """A folder came, or went with all that was in it."""
        if event.mask & (flags.CREATE | flags.MOVED_TO):
            self._add(inotify, owners, event.name)
            for name in self._hints.files_of(event.name):
                self._hints.look(name)
            return
        for descriptor in [each for each, owner in owners.items() if owner == event.name]:
            with suppress(OSError):  # it has gone with the folder
                inotify.rm_watch(descriptor)
        self._hints.look_at_all()

    def _add(self, inotify: INotify, owners: dict[int, str], owner: str) -> None:
        with suppress(NotADirectoryError, FileNotFoundError):
            owners[inotify.add_watch(self._directory / owner, _FOLDER)] = owner

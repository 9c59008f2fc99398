"""The frame of every daemon: settings, log, signals, /healthz, threads, and the word to systemd.

A daemon is crash-only: a thread that ends by an error nobody expected ends the process, and the service manager starts
it anew. Nothing is kept in memory that can't be had again from etcd and the machine.
"""

import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from common import log, settings, systemd
from common.cache import Cache
from common.errors import UcloudError
from common.health import Health, create_app, serve
from common.metrics import Metrics
from common.schemas.record import Record
from common.store import EtcdOptions, Store

_log = logging.getLogger(__name__)
R = TypeVar("R", bound=Record)
_STOP_TIMEOUT_S = 10.0
_SYNC_POLL_S = 1.0
_GC_THRESHOLDS = (50_000, 20, 50)


class Daemon:
    """What a daemon's wiring needs: its settings, a store, caches and threads that end when it is to stop."""

    def __init__(self, name: str, configuration: settings.Settings, default_port: int) -> None:
        self.name = name
        self.settings = configuration
        self.stop = threading.Event()
        self.metrics = Metrics()
        self.health = Health()
        self.http = create_app(name, self.health, self.metrics)
        self.port = configuration.health.port or default_port
        self.store = Store(EtcdOptions.from_settings(configuration.etcd), self.metrics)
        self._caches: list[Cache[Any]] = []
        self._threads: list[threading.Thread] = []
        self._at_stop: list[Callable[[], None]] = [self.stop.set]
        self._failed = False
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._waker, False)

    def cache(self, prefix: str, kind: type[R]) -> Cache[R]:
        """A cache of `prefix`, watched by /healthz; it starts with `start`."""
        cache = Cache(self.store, prefix, kind, self.metrics)
        self._caches.append(cache)
        self.health.add_check(f"cache {prefix}", cache.problem)
        self.health.add_malformed(lambda: cache.malformed)
        return cache

    def start(self, name: str, body: Callable[[threading.Event], None]) -> None:
        """Run `body(stop)` in a thread; an error that leaves it ends the daemon."""

        def guarded() -> None:
            try:
                body(self.stop)
            except Exception:  # noqa: BLE001 - whatever it was, the answer is the same: end, and be started anew
                _log.exception("%s failed, the daemon ends", name)
                self._failed = True
                self.end()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def at_stop(self, action: Callable[[], None]) -> None:
        """Call `action`, which must not block, when the daemon is to end."""
        self._at_stop.append(action)

    def end(self) -> None:
        """Ask everything to end."""
        for action in self._at_stop:
            action()
        with suppress(BlockingIOError):
            os.write(self._waker, b"\0")

    def end_at_signals(self) -> None:
        """End at SIGTERM and SIGINT; for the main thread."""
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.end())

    def run(self) -> int:
        """Serve until a signal or a failure; returns the exit status."""
        self.start("settle", self._settle)
        server = serve(self.http, self.settings.health.address, self.port)
        systemd.notify("READY=1")
        _log.info("%s started, health on [%s]:%d", self.name, self.settings.health.address, self.port)
        while not self.stop.is_set():
            # Not a lock: a signal that came just before it was slept on would be handled when somebody releases it.
            os.read(self._woken, 1)
        systemd.notify("STOPPING=1")
        self._wait_for_threads()
        server.shutdown()
        self.store.close()
        _log.info("%s ended", self.name)
        return 1 if self._failed else 0

    def _wait_for_threads(self) -> None:
        """Let all threads end what they are at, within one time for all of them."""
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if late := [thread.name for thread in self._threads if thread.is_alive()]:
            _log.warning("ending without these, which did not end in %d s: %s", _STOP_TIMEOUT_S, ", ".join(late))

    def _settle(self, stop: threading.Event) -> None:
        """Once all is listed, have the garbage collector pass it by, and come less often: there are no cycles in it."""
        for cache in self._caches:
            while not cache.wait_synced(_SYNC_POLL_S):
                if stop.is_set():
                    return
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)


def main(name: str, default_port: int, wire: Callable[[Daemon], None]) -> None:
    """Run a daemon: `wire(daemon)` builds its parts and starts its threads. Never returns."""
    try:
        configuration = settings.load(os.environ)
        log.set_up(configuration.log.level, configuration.log.format == "json")
        daemon = Daemon(name, configuration, default_port)
        daemon.end_at_signals()
        faulthandler.register(signal.SIGUSR1)  # writes what each thread is at to stderr, also when all of them hang
        wire(daemon)
    except UcloudError as error:  # the settings, or something that the daemon can't do without
        sys.exit(f"{name}: {error}")
    sys.exit(daemon.run())

"""gunicorn, configured by our settings: some worker processes with many threads each.

Threads, because a stream of events holds one for as long as its client watches. Each worker makes its own state.
"""

import ctypes
import logging
import shutil
import signal
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker
from prometheus_client.multiprocess import mark_process_dead

from common.settings import Settings
from ucloud_api.app import create_app
from ucloud_api.state import State

_GRACEFUL_TIMEOUT_S = 10
_PR_SET_PDEATHSIG = 1


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's messages go where all others go; requests are counted, not logged."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)


class _Worker(ThreadWorker):  # type: ignore[misc]
    """Ends the streams first when it is to stop: a watching client is no reason to wait."""

    wsgi: Any = None  # until it is loaded, which a signal may come before

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.wsgi is not None:
            self.wsgi.extensions["ucloud"].end_streams()
        super().handle_exit(sig, frame)


class Server(BaseApplication):  # type: ignore[misc]
    """The API as a gunicorn application; `run` never returns."""

    def __init__(self, configuration: Settings, metrics_directory: str) -> None:
        self._configuration = configuration
        self._metrics_directory = metrics_directory
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn what the settings say."""
        api = self._configuration.api
        options = {
            "bind": f"[{api.address}]:{api.port}" if ":" in api.address else f"{api.address}:{api.port}",
            "workers": api.workers,
            "threads": api.threads,
            "worker_class": f"{__name__}.{_Worker.__name__}",
            "logger_class": _Logger,
            "proc_name": "ucloud-api",
            "graceful_timeout": _GRACEFUL_TIMEOUT_S,
            "control_socket_disable": True,
            "post_fork": lambda _arbiter, _worker: _end_with_parent(),
            "child_exit": lambda _arbiter, worker: mark_process_dead(worker.pid),  # type: ignore[no-untyped-call]
            "on_exit": lambda _arbiter: shutil.rmtree(self._metrics_directory, ignore_errors=True),
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The application of one worker, made after the fork."""
        state = State(self._configuration)
        state.start()
        return create_app(state)


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent dies: a worker left alone would hold the port (prctl(2))."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")

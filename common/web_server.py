"""gunicorn, configured by our settings: worker processes with many threads each, over TLS where a certificate is named.

Threads, because a stream of events holds one for as long as its client watches. Each worker makes its own application,
after the fork: gRPC's channels don't survive one.
"""

import ctypes
import logging
import shutil
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker
from prometheus_client.multiprocess import mark_process_dead

from common.errors import ConfigurationError

_GRACEFUL_TIMEOUT_S = 10
_PR_SET_PDEATHSIG = 1
AT_STOP = "ucloud-at-stop"
"""The extension of an application that is called, and must not block, when its worker is to stop."""


@dataclass(frozen=True)
class Listener:
    """Where a server listens, and with how many processes and threads."""

    name: str
    address: str
    port: int
    workers: int
    threads: int
    cert_file: str = ""
    key_file: str = ""
    metrics_directory: str = ""
    """Where several workers keep their counts; removed at the end."""

    @property
    def bind(self) -> str:
        """The address and the port, as in a URL."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


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
        if self.wsgi is not None and AT_STOP in self.wsgi.extensions:
            self.wsgi.extensions[AT_STOP]()
        super().handle_exit(sig, frame)


class WebServer(BaseApplication):  # type: ignore[misc]
    """A gunicorn that serves what `create_app` makes in each worker; `run` never returns."""

    def __init__(self, listener: Listener, create_app: Callable[[], Flask]) -> None:
        """ConfigurationError when the certificate can't be used."""
        self._listener = listener
        self._create_app = create_app
        _check_certificate(listener)
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn what the listener says."""
        listener = self._listener
        options = {
            "bind": listener.bind,
            "workers": listener.workers,
            "threads": listener.threads,
            "certfile": listener.cert_file or None,
            "keyfile": listener.key_file or None,
            "worker_class": f"{__name__}.{_Worker.__name__}",
            "logger_class": _Logger,
            "proc_name": listener.name,
            "graceful_timeout": _GRACEFUL_TIMEOUT_S,
            "control_socket_disable": True,
            "post_fork": lambda _arbiter, _worker: _end_with_parent(),
        }
        if listener.metrics_directory:
            options["child_exit"] = lambda _arbiter, worker: mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
            options["on_exit"] = lambda _arbiter: shutil.rmtree(listener.metrics_directory, ignore_errors=True)
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application of one worker, made after the fork."""
        return self._create_app()


def _check_certificate(listener: Listener) -> None:
    """Find out now what gunicorn would only notice at the first connection."""
    if bool(listener.cert_file) != bool(listener.key_file):
        raise ConfigurationError(f"{listener.name}: cert_file and key_file are set both, or neither")
    if not listener.cert_file:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(listener.cert_file, listener.key_file)
    except (OSError, ssl.SSLError) as error:
        files = f"{listener.cert_file}, {listener.key_file}"
        raise ConfigurationError(f"{listener.name}: cert_file, key_file ({files}): {error}") from error


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent dies: a worker left alone would hold the port (prctl(2))."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl")

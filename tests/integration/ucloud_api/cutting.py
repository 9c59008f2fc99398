"""A TCP proxy that cuts its connections: each after so many bytes in either direction, at once and for good."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType

_CHUNK_BYTES = 16384
_RESET = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Passes connections to ::1 on to `port`, each until `limit()` bytes went through it; None: it is left alone."""

    def __init__(self, port: int, limit: Callable[[], int | None]) -> None:
        self._upstream = ("::1", port)
        self._limit = limit
        self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.port = int(self._listener.getsockname()[1])
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "CuttingProxy":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                _Connection(self, client, socket.create_connection(self._upstream), self._limit()).start()


class _Connection:
    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket, left: int | None) -> None:
        self._proxy = proxy
        self._ends = (client, server)
        self._left = left
        self._lock = threading.Lock()

    def start(self) -> None:
        for one, other in (self._ends, self._ends[::-1]):
            threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := one.recv(_CHUNK_BYTES):
                with self._lock:
                    allowed = len(chunk) if self._left is None else min(len(chunk), self._left)
                    self._left = None if self._left is None else self._left - allowed
                other.sendall(chunk[:allowed])
                if self._left == 0:
                    self._cut()
                    return
            other.shutdown(socket.SHUT_WR)

    def _cut(self) -> None:
        self._proxy.cuts += 1
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            end.close()

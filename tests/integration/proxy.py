"""A TCP proxy that can hold what a client sends (it is on its way, and does not arrive yet) or lose the answers."""

import contextlib
import socket
import threading
from types import TracebackType

from tests.integration.relay import CHUNK_BYTES, Relay


class Proxy(Relay):
    """Listens on a port of ::1 and passes everything on to `endpoint` ("[::1]:2379")."""

    def __init__(self, endpoint: str) -> None:
        self._condition = threading.Condition()
        self._is_holding = False
        self._is_mute = False
        self._held = b""
        self._answered = 0
        super().__init__(socket.create_server(("::1", 0), family=socket.AF_INET6), endpoint)

    @property
    def endpoint(self) -> str:
        """Where clients connect."""
        return f"[::1]:{self._listener.getsockname()[1]}"

    def hold(self) -> None:
        """From now on keep what clients send."""
        with self._condition:
            self._is_holding = True

    def mute(self) -> None:
        """From now on lose what the server answers."""
        self._is_mute = True

    def wait_held(self, content: bytes, timeout_s: float) -> None:
        """Wait until `content` is among what is kept."""
        with self._condition:
            assert self._condition.wait_for(lambda: content in self._held, timeout_s), f"{content!r} was never sent"

    def release(self) -> int:
        """Let what was kept go on; returns how many bytes the server has answered so far."""
        with self._condition:
            self._is_holding = False
            self._condition.notify_all()
            return self._answered

    def wait_answered(self, more_than: int, timeout_s: float) -> None:
        """Wait until the server has answered more than so many bytes."""
        with self._condition:
            assert self._condition.wait_for(lambda: self._answered > more_than, timeout_s), "no answer"

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()
        self.close()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """Client to server. While holding it goes on reading, so that all that was sent is known."""
        kept = b""
        client.settimeout(0.05)
        with contextlib.suppress(OSError):
            while True:
                try:
                    chunk = client.recv(CHUNK_BYTES)
                except TimeoutError:
                    chunk = None
                with self._condition:
                    kept += chunk or b""
                    if self._is_holding:
                        self._held += chunk or b""
                        self._condition.notify_all()
                        if chunk == b"":
                            self._condition.wait_for(lambda: not self._is_holding)
                        else:
                            continue
                server.sendall(kept)
                kept = b""
                if chunk == b"":
                    server.shutdown(socket.SHUT_WR)
                    return

    def _backward(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := server.recv(CHUNK_BYTES):
                with self._condition:
                    self._answered += len(chunk)
                    self._condition.notify_all()
                if not self._is_mute:
                    client.sendall(chunk)
            client.shutdown(socket.SHUT_WR)

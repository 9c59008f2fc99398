"""A TCP proxy that lets requests through and loses their answers: it cuts the connection where the answer begins."""

import contextlib
import socket
import threading
from types import TracebackType

_CHUNK_BYTES = 65536


class Cutter:
    """Listens on a port of ::1 for the API at `url`; of the answers to requests with `method`, so many are lost."""

    def __init__(self, url: str, method: str, times: int) -> None:
        self._upstream = ("::1", int(url.rpartition(":")[2]))
        self._method = method.encode()
        self._left = times
        self._listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.url = f"http://[::1]:{self._listener.getsockname()[1]}"
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Cutter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """One request after the other, each within one chunk, which suffices for small ones."""
        with client, socket.create_connection(self._upstream) as server, contextlib.suppress(OSError):
            threading.Thread(target=self._answer, args=(client, server), daemon=True).start()
            while request := client.recv(_CHUNK_BYTES):
                if request.startswith(self._method + b" ") and self._left > 0:
                    self._left -= 1
                    self._is_cutting = True
                server.sendall(request)

    _is_cutting = False

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while answer := server.recv(_CHUNK_BYTES):
                if self._is_cutting:
                    self._is_cutting = False
                    self.cut += 1
                    break
                client.sendall(answer)
            client.shutdown(socket.SHUT_RDWR)

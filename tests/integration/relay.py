"""Passes connections on, as from a network namespace that etcd is not in."""

import contextlib
import socket
import threading

_CHUNK_BYTES = 65536


class Relay:
    """Passes what comes to a socket that listens, wherever that is, on to a TCP endpoint of this test's own."""

    def __init__(self, listener: socket.socket, endpoint: str) -> None:
        host, _, port = endpoint.rpartition(":")
        self._upstream = (host.strip("[]"), int(port))
        self._listener = listener
        self._sockets: list[socket.socket] = []
        # This thread's namespace is that of whoever starts it.
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End it, and what goes through it."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                self._sockets += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)

"""Passes connections on, as from a network namespace that etcd is not in."""

import contextlib
import socket
import threading

CHUNK_BYTES = 65536


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
                for pass_on, source, target in ((self._forward, client, server), (self._backward, server, client)):
                    threading.Thread(target=pass_on, args=(source, target), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        """What a client sends."""
        with contextlib.suppress(OSError):
            while chunk := client.recv(CHUNK_BYTES):
                server.sendall(chunk)
            server.shutdown(socket.SHUT_WR)

    def _backward(self, server: socket.socket, client: socket.socket) -> None:
        """What it is answered."""
        Relay._forward(self, server, client)

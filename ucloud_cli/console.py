"""A serial console through the API's websocket: what is typed goes to the guest, what it writes to standard output.

The terminal is in raw mode meanwhile, and must be as it was before, however this ends.
"""

import os
import select
import signal
import socket
import ssl
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Never
from urllib.parse import urlsplit

import click
import websocket

from ucloud_cli.client import Client
from ucloud_cli.errors import ApiAway, CliError
from ucloud_cli.output import note
from ucloud_cli.problems import error_of

_END = b"\x1d"  # ctrl-]
_CONNECT_TIMEOUT_S = 10.0
_GOODBYE_S = 2.0
# A connection whose other end is lost without a word is noticed after some 30 seconds.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)


def converse(client: Client, path: str, name: str, until: str | None, timeout_s: float | None) -> None:
    """Connect standard input and output with the console at `path`, of the VM called `name`.

    Ends when the user says so (ctrl-]), the console does, the guest has written `until`, or `timeout_s` have passed.
    """
    connection = _connect(client, path)
    if sys.stdin.isatty():
        note(f"connected to {name}, ctrl-] ends it")
        with _raw(sys.stdin.fileno()):
            conversation = _Conversation(connection, until, timeout_s, _END)
            conversation.run()
        note(f"left {name}" + (f": {conversation.last_words}" if conversation.last_words else ""))
    else:
        conversation = _Conversation(connection, until, timeout_s)
        conversation.run()
    if conversation.failure:
        raise CliError(f"the console of {name} {conversation.failure}")


def _connect(client: Client, path: str) -> websocket.WebSocket:
    access = client.access
    try:
        return websocket.create_connection(
            f"ws{client.url.removeprefix('http')}{path}",
            timeout=_CONNECT_TIMEOUT_S,
            header=access.headers(),
            suppress_origin=True,
            redirect_limit=0,
            enable_multithread=True,
            # Opened here, because websocket-client would ask the proxy that the environment names.
            socket=_open(client.url, access.ca_file),
        )
    except websocket.WebSocketBadStatusException as error:
        headers = {key.title(): value for key, value in (error.resp_headers or {}).items()}
        raise error_of(error.status_code, headers, error.resp_body or b"", client.url, access.unknown_caller) from error
    except (websocket.WebSocketException, OSError) as error:
        raise ApiAway(f"the API at {client.url} can't be reached for the console") from error


def _open(url: str, ca_file: str) -> socket.socket:
    """A connection to the server of a URL; OSError when there is none."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    host = parts.hostname or ""
    opened = socket.create_connection((host, parts.port or (443 if is_secure else 80)), _CONNECT_TIMEOUT_S)
    try:
        for option in _KEEPALIVE:
            opened.setsockopt(*option)
        if is_secure:
            return ssl.create_default_context(cafile=ca_file or None).wrap_socket(opened, server_hostname=host)
    except OSError:
        opened.close()
        raise
    return opened


class _Conversation:
    """Both directions: a thread for what the guest writes, this one for what is typed."""

    def __init__(
        self, connection: websocket.WebSocket, until: str | None, timeout_s: float | None, end: bytes = b""
    ) -> None:
        self._connection = connection
        self._until = (until or "").encode()
        self._end = end
        self._deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        self._timeout_s = timeout_s
        self._written = b""
        self._found = False
        self._broke = False
        self.last_words = ""
        """What the other end said when it ended."""
        self.failure = ""
        """Why it ended, if it should not have."""

    def run(self) -> None:
        """Returns when it has ended."""
        ended, hearing = os.pipe()
        self._connection.settimeout(None)
        thread = threading.Thread(target=self._hear, args=(hearing,), name="console", daemon=True)
        thread.start()
        try:
            in_time = self._type(ended)
            heard_all = bool(select.select([ended], [], [], 0)[0])
        finally:
            self._leave(thread)
            os.close(ended)
        if not heard_all:
            self._broke, self.last_words = False, ""  # this side has ended it
        if not in_time and self._until:
            self.failure = f'did not show "{self._until.decode()}" within {self._timeout_s:.0f} s'
        elif self._broke:
            self.failure = f"broke off: {self.last_words}"
        elif in_time and heard_all and self._until and not self._found:
            self.failure = f'ended before it showed "{self._until.decode()}"'

    def _type(self, ended: int) -> bool:
        """Hand on what is typed until `ended` can be read, the user ends it, or (False) the time is over."""
        typed = sys.stdin.fileno()
        sources = [ended, typed]
        while True:
            left_s = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            ready = select.select(sources, [], [], left_s)[0]
            if ended in ready:
                return True
            if not ready:
                return False
            keys = os.read(typed, 4096)
            if not keys:
                sources.remove(typed)  # the pipe is empty; the guest may go on
                continue
            before, end, _ = keys.partition(self._end) if self._end else (keys, b"", b"")
            try:
                if before:
                    self._connection.send_binary(before)
            except (websocket.WebSocketException, OSError):
                sources.remove(typed)  # why it broke is heard by the other thread
            if end:
                return True

    def _leave(self, thread: threading.Thread) -> None:
        """Say goodbye, so that the console is free for the next one at once; the answer is not waited for."""
        with suppress(websocket.WebSocketException, OSError):
            self._connection.send_close()
        with suppress(OSError):
            # Not closed under the hands of the thread that reads from it; nor does TLS need to know.
            if self._connection.sock:
                socket.socket.shutdown(self._connection.sock, socket.SHUT_RDWR)
        thread.join(_GOODBYE_S)
        self._connection.shutdown()  # type: ignore[no-untyped-call]

    def _hear(self, hearing: int) -> None:
        """Print what the guest writes; the body of a thread. Closes `hearing` at the end."""
        try:
            while not self._found:
                opcode, data = self._connection.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    self._note_close(data)
                    return
                self._print(data)
        except BrokenPipeError:
            return  # nobody reads any more what is printed
        except (websocket.WebSocketException, OSError, ValueError):  # ValueError: TLS was read from after its end
            self._broke, self.last_words = True, "the connection to the API is lost"
        finally:
            os.close(hearing)

    def _note_close(self, data: bytes) -> None:
        """Take note of why the other end closed it. Source: RFC 6455, sections 5.5.1 and 7.4."""
        code = int.from_bytes(data[:2], "big") or websocket.STATUS_NORMAL
        self._broke = code not in (websocket.STATUS_NORMAL, websocket.STATUS_GOING_AWAY)
        self.last_words = data[2:].decode(errors="replace") or (f"closed with {code}" if self._broke else "")

    def _print(self, data: bytes) -> None:
        rest = data
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
        if self._until:
            seen = self._written + data
            self._found = self._until in seen
            self._written = seen[-len(self._until) :]


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    """The terminal in raw mode; it is as before even when the program is told to end."""

    def end(number: int, _frame: FrameType | None) -> Never:
        raise SystemExit(128 + number)

    before = termios.tcgetattr(terminal)
    handlers = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tty.setraw(terminal)
        yield
    finally:
        # What was typed and not read is not for the shell.
        with suppress(termios.error):  # it was closed
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        click.echo(err=True)
        for number, handler in handlers.items():
            signal.signal(number, handler)

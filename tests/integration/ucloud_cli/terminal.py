"""The program on a terminal of its own: what it shows there, what is typed."""

import os
import pty
import re
import termios
import threading
from types import TracebackType
from typing import Any

from devcloud.errors import DeadlineExceeded
from devcloud.waiting import wait_for
from tests.integration.ucloud_cli.conftest import DEADLINE_S, Program

_CHUNK_BYTES = 65536
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs the program; it is ended with the block."""

    def __init__(self, program: Program, *arguments: str) -> None:
        self._controller, self._terminal = pty.openpty()
        self.modes_before = self.modes()
        end = self._terminal
        self.process = program.start(*arguments, stdin=end, stdout=end, stderr=end, start_new_session=True)
        self._shown = b""
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def shown(self) -> bytes:
        """All that was shown so far, without colours and the like."""
        return _ESCAPES.sub(b"", self._shown)

    def modes(self) -> list[Any]:
        """The terminal's modes, as stty has them."""
        return termios.tcgetattr(self._terminal)

    def wait_shown(self, words: bytes) -> None:
        """Wait until it shows that."""
        try:
            wait_for(f"{words!r} on the terminal", lambda: words in self.shown, DEADLINE_S)
        except DeadlineExceeded as error:
            raise AssertionError(f"{error}; it shows {self.shown!r}") from error

    def press(self, keys: bytes) -> None:
        """Type it."""
        os.write(self._controller, keys)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)

    def _read(self) -> None:
        try:
            while chunk := os.read(self._controller, _CHUNK_BYTES):
                self._shown += chunk
        except OSError:
            os.close(self._controller)  # the terminal is gone

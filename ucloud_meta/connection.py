"""One connection: a socket that never blocks, and what is said on it."""

import contextlib
import socket

from ucloud_meta.conversation import Conversation
from ucloud_meta.desk import Asker

_READ_BYTES = 8 * 1024


class Connection:
    """Belongs to the server's thread."""

    def __init__(self, end: socket.socket, asker: Asker, conversation: Conversation) -> None:
        end.setblocking(False)
        self.socket = end
        self.asker = asker
        self._conversation = conversation
        self._to_send = memoryview(b"")
        self.is_closing = False
        """All has been said; the client is to close it."""
        self.answered = 0
        """How many requests were answered."""

    @property
    def wants_to_send(self) -> bool:
        """Whether something waits for the client to read; nothing is read from it meanwhile."""
        return bool(self._to_send)

    def readable(self) -> bool:
        """Take what the client says, and answer; False once the connection is at its end."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if self.is_closing:
            # It was told that nothing more is answered: closing now would take back what it has not read yet.
            return bool(data)
        self._conversation.receive(data)
        return self._go_on()

    def writable(self) -> bool:
        """Send what waits; False once the connection is at its end."""
        return self._go_on()

    def _go_on(self) -> bool:
        """Send and answer until the client is to read or to say something."""
        try:
            while True:
                while self._to_send:
                    self._to_send = self._to_send[self.socket.send(self._to_send) :]
                said = self._conversation.reply()
                if not said:
                    break
                self.answered += 1
                self._to_send = memoryview(said)
            if self._conversation.is_over and not self.is_closing:
                self.is_closing = True
                self.socket.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self.socket.close()

"""A disk lent by NBD to a program that may not have more of it: QEMU's own server, qemu-nbd(8), on a unix socket.

The server opens the disk, with whatever secrets that takes, and the client reads and writes blocks.
"""

import logging
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import TemporaryError

_log = logging.getLogger(__name__)
_CLOSE_TIMEOUT_S = 150
"""What the server may take to write the rest once its client has left: longer than a cluster may be silent."""

# The socket comes as systemd passes them (sd_listen_fds(3)): it can be connected to before the server has begun. The
# server ends with the thread that started it.
_START = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec setpriv --pdeathsig KILL -- "$@" 3<&0 0</dev/null'


@contextmanager
def serve(disk: str) -> Iterator[Path]:
    """The socket of a server of `disk`, which QEMU knows by that name, as raw; for one client, which may be anybody.

    It is over when the client has left and all is written. TemporaryError when the server could not do its work.
    """
    with tempfile.TemporaryDirectory(prefix="ucloud-nbd-") as folder:
        path = Path(folder) / "socket"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            path.chmod(0o666)  # the folder keeps everybody out
            listening.listen(1)
            server = _start(listening, disk)
        try:
            yield path
            _finish(server)
        finally:
            server.kill()
            server.communicate()


def _start(listening: socket.socket, disk: str) -> "subprocess.Popen[str]":
    command = ["qemu-nbd", "--format=raw", "--cache=none", disk]
    try:
        return subprocess.Popen(
            ["sh", "-c", _START, "sh", *command],
            stdin=listening.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise TemporaryError(f"can't start qemu-nbd: {error.strerror}") from error


def _finish(server: "subprocess.Popen[str]") -> None:
    try:
        _, said = server.communicate(timeout=_CLOSE_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise TemporaryError(f"the disk was not written within {_CLOSE_TIMEOUT_S} s") from error
    if server.returncode:
        _log.warning("qemu-nbd ended with %d: %s", server.returncode, said.strip()[-500:])
        raise TemporaryError("the disk could not be opened, or not be written to its end")

"""TCP ports for servers that are about to be started.

They are below those that the kernel begins connections from (net.ipv4.ip_local_port_range: from 32768): one of these
may be the end of somebody else's connection by the time that the server wants to listen on it.
"""

import errno
import itertools
import os
import socket

_FIRST, _COUNT = 20000, 12000
_TURNS = itertools.count(os.getpid() * 1499)
"""No port is given twice in a row, nor the same to processes that ask side by side."""


def free_port(address: str = "::1") -> int:
    """A port of an address of this machine that nobody listens on now, and that was not given lately."""
    while True:
        port = _FIRST + next(_TURNS) % _COUNT
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port

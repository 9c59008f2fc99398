"""The word to the service manager: sd_notify(3), without a library."""

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager how the daemon stands ("READY=1"); nothing happens without one."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        notifier.connect(address)
        notifier.sendall(state.encode())

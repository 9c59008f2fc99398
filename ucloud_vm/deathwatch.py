"""Tells at once of a guest whose process has died, by its pidfd.

libvirt says so only when the process has been reaped as well, which takes as long as the machine's init likes (up to
2 s have been seen). A process that ends in order is none of this module's business: libvirt knows why it did.

The process is found as the one that listens on the VM's socket for its display; a hypervisor without such is not
watched. Source: pidfd_open(2), unix(7) on SO_PEERCRED, epoll(7), proc(5) on /proc/pid/stat.
"""

import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ucloud_vm.run_directory import RunDirectory

_log = logging.getLogger(__name__)
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_CONNECT_TIMEOUT_S = 0.5


@dataclass(frozen=True)
class _Process:
    """A process that is watched, and its pidfd."""

    pid: int
    descriptor: int


class Deathwatch:
    """Watches the processes of the guests whose sockets are in `run_directory`."""

    def __init__(self, run_directory: RunDirectory) -> None:
        self._run_directory = run_directory
        self._epoll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._waker, select.EPOLLIN)
        self._lock = threading.Lock()
        self._processes: dict[str, _Process] = {}
        self._dead: set[str] = set()
        self._listeners: list[Callable[[str], None]] = []

    def subscribe(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the uuid of a VM whose process has ended."""
        self._listeners.append(listener)

    def watch(self, vm_uuid: str) -> None:
        """Watch the guest of a VM that is on; it is watched already, or can't be: fine."""
        with self._lock:
            pid = None if vm_uuid in self._processes else self._find_process(vm_uuid)
            if not pid:
                return
            self._dead.discard(vm_uuid)
            try:
                process = self._processes[vm_uuid] = _Process(pid, os.pidfd_open(pid))
            except OSError as error:
                _log.debug("can't watch the process of VM %s: %s", vm_uuid, error.strerror)
                return
            self._epoll.register(process.descriptor, select.EPOLLIN | select.EPOLLONESHOT)

    def is_dead(self, vm_uuid: str) -> bool:
        """Whether the process of a VM's guest has crashed or was killed, and nobody has started another."""
        with self._lock:
            return vm_uuid in self._dead and self._find_process(vm_uuid) is None

    def forget(self, vm_uuid: str) -> None:
        """A VM is off, as the hypervisor knows: its next guest is another one."""
        with self._lock:
            self._dead.discard(vm_uuid)
            self._unwatch(vm_uuid)

    def run(self, stop: threading.Event) -> None:
        """Wait for deaths; the body of a thread."""
        while not stop.is_set():
            ready = {descriptor for descriptor, _ in self._epoll.poll()}
            with self._lock:
                ended = {vm: process for vm, process in self._processes.items() if process.descriptor in ready}
                self._dead.update(vm for vm, process in ended.items() if _has_failed(process.pid))
                for vm_uuid in ended:
                    self._unwatch(vm_uuid)
            for vm_uuid in ended:
                for listener in self._listeners:
                    listener(vm_uuid)

    def close(self) -> None:
        """Let the thread see that it is to end."""
        os.eventfd_write(self._waker, 1)

    def _unwatch(self, vm_uuid: str) -> None:
        process = self._processes.pop(vm_uuid, None)
        if process:
            os.close(process.descriptor)  # which takes it out of the epoll as well

    def _find_process(self, vm_uuid: str) -> int | None:
        """The process that listens for the display of a VM: 0 when it is busy or a stranger's, None: there is none."""
        with socket.socket(socket.AF_UNIX) as display:
            display.settimeout(_CONNECT_TIMEOUT_S)
            try:
                display.connect(str(self._run_directory.vnc_socket(vm_uuid)))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            except OSError:
                return 0
            credentials = display.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            return int(_CREDENTIALS.unpack(credentials)[0])


def _has_failed(pid: int) -> bool:
    """Whether a process that has ended, and not been reaped, was killed by a signal or ended with an error.

    Once it is reaped that can't be told, nor need it be: then the hypervisor knows.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] == "Z" and fields[-1] != "0"

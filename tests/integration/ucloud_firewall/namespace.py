"""A network namespace of a test: a thread that is in it, with the taps, links and processes made from there.

It has no name, so it goes when the thread, its sockets and its processes have gone.
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_ETH_P_ALL = 3
_MOST_BYTES = 65536


class Wire:
    """One end of a link: what is written goes in, what comes out is read. Whole Ethernet frames."""

    def __init__(self, descriptor: int, close: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._close = close
        self._seen: list[bytes] = []

    def send(self, frame: bytes) -> None:
        """Put a frame in."""
        os.write(self._descriptor, frame)

    def has(self, frame: bytes, within_s: float = 0.0) -> bool:
        """Whether a frame has come out, within a time; links may pad short ones."""
        return self.find(lambda seen: seen[: len(frame)] == frame, within_s) is not None

    def find(self, is_it: Callable[[bytes], bool], within_s: float = 0.0) -> bytes | None:
        """The first frame that has come out that is wanted, within a time."""
        deadline = time.monotonic() + within_s
        while True:
            found = next((frame for frame in self._seen if is_it(frame)), None)
            if found is not None:
                return found
            left_s = max(0.0, deadline - time.monotonic())
            if not select.select([self._descriptor], [], [], left_s)[0]:
                return None
            self._seen.append(os.read(self._descriptor, _MOST_BYTES))

    def forget(self) -> None:
        """What has come out so far doesn't count."""
        while select.select([self._descriptor], [], [], 0)[0]:
            os.read(self._descriptor, _MOST_BYTES)
        self._seen.clear()

    def drop_seen(self) -> None:
        """What has been looked at doesn't count any more."""
        self._seen.clear()

    def close(self) -> None:
        """Pull it out."""
        self._close()


class Namespace:
    """Runs things in a network namespace of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "namespace", _leave)
        self._wires: list[Wire] = []
        self.ip("link set lo up")

    def __enter__(self) -> "Namespace":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for wire in self._wires:
            wire.close()
        self._thread.shutdown()

    def do(self, work: Callable[[], T]) -> T:
        """What `work` returns, done within."""
        return self._thread.submit(work).result()

    def run(self, *command: str, given: str | None = None) -> str:
        """What a program prints that is run within."""

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

        done = self.do(run)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def ip(self, *commands: str) -> None:
        """Have `ip` do this."""
        self.run("ip", "-batch", "-", given="\n".join(commands) + "\n")

    def sysctl(self, **values: int) -> None:
        """Set what is below /proc/sys/net/: `bridge__bridge_nf_call_iptables` is bridge/bridge-nf-call-iptables."""
        for name, value in values.items():
            path = name.replace("__", "/").replace("_", "-") if name.startswith("bridge") else name.replace("__", "/")
            self.run("sh", "-c", f"echo {value} > /proc/sys/net/{path}")

    def bridge(self, name: str, mac: str, *addresses: str) -> None:
        """Make a bridge as a host has it for a network."""
        self.ip(
            f"link add {name} address {mac} type bridge mcast_snooping 0",
            f"link set {name} addrgenmode none up",
            *(f"address add {address} dev {name} {'nodad' if ':' in address else ''}" for address in addresses),
        )

    def tap(self, name: str, bridge: str) -> Wire:
        """Make a tap in a bridge; the wire is the guest's end."""

        def make() -> int:
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
            return descriptor

        descriptor = self.do(make)
        wire = Wire(descriptor, lambda: os.close(descriptor))
        self._wires.append(wire)
        self.ip(f"link set {name} addrgenmode none master {bridge} up")
        return wire

    def far(self, name: str, bridge: str) -> Wire:
        """Make a link `name` in a bridge, as a VXLAN is; the wire is the other hosts."""
        peer = f"{name}-far"
        self.ip(
            f"link add {name} type veth peer name {peer}",
            f"link set {name} addrgenmode none master {bridge} up",
            f"link set {peer} addrgenmode none up",
        )
        return self.watch(peer)

    def watch(self, interface: str) -> Wire:
        """What comes by an interface that is there; of a bridge: what it hands to this host itself."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL))
            made.bind((interface, _ETH_P_ALL))
            made.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
            return made

        watching = self.do(make)
        wire = Wire(watching.fileno(), watching.close)
        self._wires.append(wire)
        return wire


def _leave() -> None:
    """Bring this thread into a network namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")

"""What passes at a guest's tap, as its host sees it: pings and their answers by their source, with the moment of each.

What goes to the guest is seen behind all walls, so it arrives; what comes from the guest is seen before them.

    python -m tests.system.taps TAP SOURCE...    run on the host: prints "<moment> to|from <source>" for each
"""

import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from ipaddress import IPv6Address
from itertools import pairwise
from pathlib import Path

from devcloud.cloud import Cloud

_PROJECT = Path(__file__).resolve().parents[2]
_ETH_P_ALL = 3
_IPV6, _ICMPV6 = b"\x86\xdd", 58
_ECHO = (128, 129)
"""Request and reply (RFC 4443)."""
_MOST_BYTES = 65536


class Tap:
    """The tap of a guest on a host, watched for as long as the context lasts. Moments are those of time.monotonic."""

    def __init__(self, cloud: Cloud, host: str, tap: str, *sources: str) -> None:
        self._command = cloud.enter(host, sys.executable, "-m", "tests.system.taps", tap, *sources)
        self._moments: dict[tuple[str, str], list[float]] = defaultdict(list)
        self._ready = threading.Event()

    def __enter__(self) -> "Tap":
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, cwd=_PROJECT)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._ready.wait(30), self._command
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._reader.join()
        self._process.wait()

    def arrivals(self, source: str) -> list[float]:
        """When those of a source arrived at the guest."""
        return list(self._moments["to", source])

    def departures(self, source: str) -> list[float]:
        """When the guest sent some with a source."""
        return list(self._moments["from", source])

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line == "ready\n":
                self._ready.set()
            else:
                moment, direction, source = line.split()
                self._moments[direction, source].append(float(moment))


def watch(tap: str, sources: list[str]) -> None:
    """Print what passes, until killed."""
    wanted = {IPv6Address(source).packed: source for source in sources}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as watching:
        watching.bind((tap, _ETH_P_ALL))
        print("ready", flush=True)
        while True:
            frame, (_, _, kind, *_) = watching.recvfrom(_MOST_BYTES)
            source = wanted.get(frame[22:38])
            if source and frame[12:14] == _IPV6 and frame[20] == _ICMPV6 and frame[54] in _ECHO:
                direction = "to" if kind == socket.PACKET_OUTGOING else "from"
                print(f"{time.monotonic():.6f} {direction} {source}", flush=True)


def longest_gap_s(moments: list[float]) -> float:
    """The longest time between two that follow one another."""
    return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)


def silence_ends_s(moments: list[float], since: float, least_s: float) -> float:
    """How long after `since` the last silence of at least `least_s` ended; 0 when there was none."""
    pairs = pairwise(moments)
    return max((later - since for earlier, later in pairs if later > since and later - earlier >= least_s), default=0.0)


if __name__ == "__main__":
    watch(sys.argv[1], sys.argv[2:])

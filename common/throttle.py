"""Holds off those who guess: counts failures by network or name, in the memory of one process.

It saves work and noise. What must hold over all processes and restarts is counted in etcd (ucloud_otp).
"""

import ipaddress
import math
import time

import limits

from common.errors import TooManyTries

_IPV6_SITE = 64
"""One customer has at least so large a network to take addresses from (RFC 6177)."""


class Throttle:
    """Allows so many failures in a time, for each key."""

    def __init__(self, most: str) -> None:
        """`most` as `limits` reads it: "10 per minute"."""
        self._most = limits.parse(most)
        self._limiter = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())

    def check(self, key: str) -> None:
        """TooManyTries when `key` failed too often."""
        if not self._limiter.test(self._most, key):
            reset_at_s = self._limiter.get_window_stats(self._most, key).reset_time
            raise TooManyTries(max(1, math.ceil(reset_at_s - time.time())))

    def count(self, key: str) -> None:
        """`key` failed once more."""
        self._limiter.hit(self._most, key)

    def take(self, key: str) -> None:
        """Check and count in one, for what is counted before it is known how it ends."""
        if not self._limiter.hit(self._most, key):
            self.check(key)
            raise TooManyTries(1)  # it has just become free


def network_of(address: str | None) -> str:
    """What to count an address of the network as: itself, or of IPv6 the network of 64 bits that it is from."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_SITE), strict=False))
    return str(parsed)

"""When a silent host's VMs have ended, and when others may know that: all from one setting, `host.alive_ttl_s` (TTL).

    0                   the host sends the last renewal that etcd accepts
    TTL                 at the earliest, etcd ends the lease and the sign of life is gone
    1.5 TTL             the host's guard has begun to end its HA VMs
    1.75 TTL            at the earliest, the judge may count on that

Each clock is monotonic, counts the time that a machine sleeps, and is read on one machine only. The host counts from
the moment it *sent* the renewal, the judge from the one it *saw* the sign of life gone, which is later by at least TTL.
docs/fencing.md has the proof.
"""

RENEWALS_PER_TTL = 4
_GUARD_TTLS = 1.5


def renew_every_s(ttl_s: float) -> float:
    """How often a host renews its lease."""
    return ttl_s / RENEWALS_PER_TTL


def guard_s(ttl_s: float) -> float:
    """So long after it sent the last accepted renewal, a host's guard ends its HA VMs."""
    return _GUARD_TTLS * ttl_s


def self_fence_wait_s(guarded_s: float) -> float:
    """So long after it saw a host's sign of life gone, the judge may take the guard's work for done.

    `guarded_s` is what the host said of its guard; it says which TTL the host has, whatever the judge's own is. A
    quarter of the TTL is for the killing itself.
    """
    ttl_s = guarded_s / _GUARD_TTLS
    return guarded_s - ttl_s + 0.25 * ttl_s


def settle_s(ttl_s: float) -> float:
    """So long after it saw a host silent, the judge cuts no power.

    Hosts that were cut off at one moment have sent their last renewals up to a quarter of a TTL apart, and etcd looks
    for leases that are over each half second: by then the judge knows how many there are.
    """
    return 0.75 * ttl_s


def beat_s(ttl_s: float) -> float:
    """How often a host's guard shows that it is at work."""
    return 0.25 * ttl_s


def guard_missed_s(ttl_s: float) -> float:
    """So long after it last showed that, the host says no more that it is guarded."""
    return 0.5 * ttl_s

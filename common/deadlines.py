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


def renew_every_s(ttl_s: float) -> float:
    """How often a host renews its lease."""
    return ttl_s / RENEWALS_PER_TTL


def guard_s(ttl_s: float) -> float:
    """So long after it sent the last accepted renewal, a host's guard ends its HA VMs."""
    return 1.5 * ttl_s


def self_fence_wait_s(ttl_s: float, guarded_s: float) -> float:
    """So long after it saw a host's sign of life gone, the judge may take the guard's work for done.

    `guarded_s` is what the host said of its guard. A quarter of the TTL is for the killing itself.
    """
    return max(0.0, guarded_s - ttl_s) + 0.25 * ttl_s

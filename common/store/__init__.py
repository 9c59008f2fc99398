"""etcd v3: reads, compare-guarded transactions, leases and watches, over several endpoints.

The store knows keys and bytes, not records. It owns the wire because a cloud must outlive a member of its etcd: every
call has a deadline, moves on to the next endpoint when one does not answer, and is repeated only where repeating can't
do harm (reads, leases, and transactions whose compares make a second run a no-op).
"""

from common.store.connection import EtcdOptions
from common.store.kv import Entry, Listing, Range, Store
from common.store.members import MemberStatus
from common.store.transaction import (
    MAX_OPERATIONS,
    Compare,
    Delete,
    Operation,
    Put,
    absent,
    led_by,
    none_below,
    none_written_since,
    present,
    unchanged,
)
from common.store.watch import PATIENT_PROBE_INTERVAL_S, PROBE_INTERVAL_S, Change, News, Watch

__all__ = [
    "Change",
    "Compare",
    "Delete",
    "Entry",
    "EtcdOptions",
    "Listing",
    "MAX_OPERATIONS",
    "MemberStatus",
    "News",
    "Operation",
    "PATIENT_PROBE_INTERVAL_S",
    "PROBE_INTERVAL_S",
    "Put",
    "Range",
    "Store",
    "Watch",
    "absent",
    "led_by",
    "none_below",
    "none_written_since",
    "present",
    "unchanged",
]

"""Carrying out a transaction whose keys may be bound to leases that were lent."""

from common.admission import Step
from common.errors import LeaseExpired, Refused
from common.store import Put
from ucloud_api.worker.state import State


def commit(state: State, step: Step) -> int:
    """Carry out a step; returns its revision. LeaseExpired: draft it anew, with other leases."""
    try:
        return state.store.commit(step.compares, step.operations)
    except Refused as error:
        leases = {each.lease for each in step.operations if isinstance(each, Put) and each.lease}
        if not leases or error.code != "NOT_FOUND":
            raise
        for lease in leases:
            state.answers_lease.forget(lease)
        state.events.forget_leases(step.operations)
        raise LeaseExpired("a lease that was lent is gone; another one is lent now") from error

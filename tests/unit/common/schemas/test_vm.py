"""The table of allowed requests covers every state, and keeps what must stay impossible impossible."""

import pytest

from common.schemas.vm import ALLOWED_REQUESTS, Actual, Requested


def test_the_table_has_a_row_for_every_state_and_deleting_is_always_allowed() -> None:
    assert set(ALLOWED_REQUESTS) == set(Actual)
    assert all(Requested.DELETED in allowed for allowed in ALLOWED_REQUESTS.values())


def test_only_a_guest_that_runs_can_be_suspended() -> None:
    suspendable = {actual for actual, allowed in ALLOWED_REQUESTS.items() if Requested.SUSPENDED in allowed}
    assert suspendable == {Actual.RUNNING, Actual.SUSPENDED}


@pytest.mark.parametrize("actual", [Actual.DELETING, Actual.DELETED])
def test_what_is_being_deleted_does_not_come_back(actual: Actual) -> None:
    assert ALLOWED_REQUESTS[actual] == {Requested.DELETED}

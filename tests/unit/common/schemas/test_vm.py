"""The table of allowed verbs covers every state, and keeps what must stay impossible impossible."""

import pytest

from common.schemas.vm import ALLOWED_VERBS, Actual, Verb


def _states_that_allow(verb: Verb) -> set[Actual]:
    return {actual for actual, allowed in ALLOWED_VERBS.items() if verb in allowed}


def test_the_table_has_a_row_for_every_state_and_deleting_is_always_allowed() -> None:
    assert set(ALLOWED_VERBS) == set(Actual)
    assert _states_that_allow(Verb.DELETE) == set(Actual)


def test_only_a_guest_that_runs_can_be_suspended_or_rebooted() -> None:
    assert _states_that_allow(Verb.SUSPEND) == {Actual.RUNNING, Actual.SUSPENDED}
    assert _states_that_allow(Verb.REBOOT) == {Actual.RUNNING}


def test_only_a_suspended_guest_can_be_resumed() -> None:
    assert _states_that_allow(Verb.RESUME) == {Actual.SUSPENDED}
    assert Verb.START not in ALLOWED_VERBS[Actual.SUSPENDED]


@pytest.mark.parametrize("actual", [Actual.DELETING, Actual.DELETED])
def test_what_is_being_deleted_does_not_come_back(actual: Actual) -> None:
    assert ALLOWED_VERBS[actual] == {Verb.DELETE}

"""Guessing is held off over all instances, and the user is not."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from common import keys
from common.errors import TooManyTries
from common.lockout import FREE_OF_NETWORK, FREE_OF_STRANGERS, Lockout
from common.store import Store

HOME, CAFE, EVIL = "2001:db8:1::7", "2001:db8:2::7", "2001:db8:bad::7"


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lockout(store: Store, clock: Clock) -> Lockout:
    return Lockout(store, clock)


def tries_until_closed(lockout: Lockout, name: str, address: str, most: int = 1000) -> tuple[int, int]:
    """How many tries are let through of so many, and how many seconds the first refusal says."""
    entered, first_s = 0, 0
    for _ in range(most):
        try:
            lockout.enter(name, address)
            entered += 1
        except TooManyTries as refusal:
            first_s = first_s or refusal.retry_after_s
    return entered, first_s


def test_of_a_thousand_guesses_five_are_looked_at(lockout: Lockout) -> None:
    assert tries_until_closed(lockout, "ann", EVIL) == (FREE_OF_NETWORK, 60)


def test_a_network_is_all_of_its_64_bits(lockout: Lockout) -> None:
    for number in range(FREE_OF_NETWORK):
        lockout.enter("ann", f"2001:db8:bad::{number + 1:x}")
    with pytest.raises(TooManyTries):
        lockout.enter("ann", "2001:db8:bad::ffff")


def test_each_pause_is_twice_the_last_one_up_to_four_hours(lockout: Lockout, clock: Clock) -> None:
    pauses = []
    for _ in range(FREE_OF_NETWORK - 1):
        lockout.enter("ann", EVIL)
    for _ in range(10):
        lockout.enter("ann", EVIL)
        with pytest.raises(TooManyTries) as refusal:
            lockout.enter("ann", EVIL)
        pauses.append(refusal.value.retry_after_s // 60)
        clock.now += timedelta(seconds=refusal.value.retry_after_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 240, 240]


def test_many_networks_together_are_held_off(lockout: Lockout) -> None:
    entered = sum(tries_until_closed(lockout, "ann", f"2001:db8:bad:{number:x}::1", 5)[0] for number in range(100))
    assert entered == FREE_OF_STRANGERS


def test_who_logged_in_from_there_before_is_not_locked_out_by_others(lockout: Lockout, clock: Clock) -> None:
    lockout.succeeded(lockout.enter("ann", HOME))
    for _ in range(30):  # for a month, whatever they try
        for number in range(8):
            tries_until_closed(lockout, "ann", f"2001:db8:bad:{number:x}::1", 6)
        lockout.succeeded(lockout.enter("ann", HOME))
        clock.now += timedelta(days=1)


def test_one_network_does_not_close_the_door_of_strangers(lockout: Lockout, clock: Clock) -> None:
    for _ in range(24):
        tries_until_closed(lockout, "ann", EVIL, 20)
        clock.now += timedelta(minutes=5)
    lockout.succeeded(lockout.enter("ann", CAFE))


def test_a_login_opens_its_door_and_gives_no_further_guesses_to_others(lockout: Lockout, store: Store) -> None:
    for _ in range(FREE_OF_NETWORK - 1):
        lockout.enter("ann", CAFE)
    before = store.get(keys.login_door("ann", "-"))
    lockout.succeeded(lockout.enter("ann", CAFE))
    assert store.get(keys.login_door("ann", "2001:db8:2::")) is None
    after = store.get(keys.login_door("ann", "-"))
    assert before
    assert after
    assert b'"tries":4' in before.value
    assert b'"tries":4' in after.value
    assert tries_until_closed(lockout, "ann", CAFE)[0] == FREE_OF_NETWORK


def test_a_try_that_is_undone_was_none(lockout: Lockout) -> None:
    for _ in range(50):
        lockout.undone(lockout.enter("ann", EVIL))
    assert tries_until_closed(lockout, "ann", EVIL)[0] == FREE_OF_NETWORK


def test_an_admin_lets_a_user_try_again_at_once(lockout: Lockout) -> None:
    tries_until_closed(lockout, "ann", CAFE, 10)
    tries_until_closed(lockout, "anna", CAFE, 10)
    assert lockout.unlock("ann") == 1
    lockout.succeeded(lockout.enter("ann", CAFE))
    with pytest.raises(TooManyTries):
        lockout.enter("anna", CAFE)
    assert lockout.unlock("nobody") == 0


def test_of_many_at_once_at_many_instances_no_more_slip_through(store: Store) -> None:
    instances = [Lockout(store) for _ in range(4)]

    def guess(number: int) -> int:
        with suppress(TooManyTries):
            instances[number % 4].enter("ann", EVIL)
            return 1
        return 0

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(guess, range(100))) == FREE_OF_NETWORK


def test_what_is_counted_is_forgotten_by_itself(lockout: Lockout, store: Store) -> None:
    lockout.succeeded(lockout.enter("ann", HOME))
    lockout.enter("ann", HOME)
    for prefix in (keys.LOGIN_DOOR, keys.KNOWN_NETWORK):
        entries = store.list(prefix).entries
        assert entries
        assert all(entry.lease for entry in entries)


def test_a_lease_that_is_gone_is_replaced(lockout: Lockout, store: Store) -> None:
    lockout.enter("ann", HOME)
    (door, *_) = store.list(keys.LOGIN_DOOR).entries
    store.revoke(door.lease)
    assert tries_until_closed(lockout, "ann", HOME)[0] == FREE_OF_NETWORK

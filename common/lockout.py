"""Holds off those who guess at a user's password or token, over all instances and restarts, but not the user.

Each try of a user goes through doors, and is counted at each of them before its proof is looked at, in one transaction:
so none slips through beside another one. The door of the network that it comes from closes after a few tries. The door
of strangers is that of all networks together that the user never logged in from: it closes later, and bounds what
somebody with many networks may guess. Who comes from where they were before passes by the door of strangers, so that
nobody elsewhere can lock them out.

It must never let the door tell whether there is such a user: names that nobody has are counted, too.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from common import keys
from common.errors import Conflict, LeaseExpired, Refused, TooManyTries
from common.lent_lease import LentLease
from common.pauses import FORGET_S, pause_after, seconds_until
from common.schemas.login import KnownNetwork, LoginDoor
from common.store import Compare, Delete, Entry, Operation, Put, Store, present, unchanged
from common.throttle import network_of

FREE_OF_NETWORK = 5
FREE_OF_STRANGERS = 20
STRANGERS = "-"
KNOWN_FOR_S = 30 * 24 * 3600
"""A network is known for so many seconds after a login from it."""

_ATTEMPTS = 50
_KNOWN_AGAIN = timedelta(days=1)


@dataclass(frozen=True)
class Try:
    """A try that is counted already: `succeeded` or `undone` unless it fails."""

    user: str
    network: str
    is_known: bool
    doors: dict[str, LoginDoor]
    """By key, what was written."""


class Lockout:
    """The doors of all users, in etcd."""

    def __init__(self, store: Store, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._now = now
        self._door_lease = LentLease(store, FORGET_S)
        self._known_lease = LentLease(store, KNOWN_FOR_S)

    def enter(self, user: str, address: str) -> Try:
        """Count a try of `user` from an IP address; TooManyTries while a door that it needs is closed."""
        network = _door_of(address)
        for _ in range(_ATTEMPTS):
            is_known = self._store.get(keys.known_network(user, network)) is not None
            entries = {keys.login_door(user, network): FREE_OF_NETWORK}
            if not is_known:
                entries[keys.login_door(user, STRANGERS)] = FREE_OF_STRANGERS
            found = {key: self._store.get(key) for key in entries}
            now = self._now()
            closed = [_read(key, entry).closed_until for key, entry in found.items() if entry]
            if left_s := max((seconds_until(each, now) for each in closed), default=0):
                raise TooManyTries(left_s)
            doors = {key: _after(_tries(key, found[key]), free, now) for key, free in entries.items()}
            compares = [unchanged(key, entry.mod_revision if entry else 0) for key, entry in found.items()]
            lease = self._door_lease.get()
            with suppress(Conflict, LeaseExpired):
                self._commit(compares, [Put(key, door.to_json(), lease) for key, door in doors.items()])
                return Try(user, network, is_known, doors)
        raise TooManyTries(1)

    def succeeded(self, attempt: Try) -> None:
        """The proof was right: the network is known from now on, and its door stands open."""
        own = keys.login_door(attempt.user, attempt.network)
        self._open(own)
        for key in attempt.doors.keys() - {own}:
            self._undo(key, attempt.doors[key])
        self._know(attempt)

    def undone(self, attempt: Try) -> None:
        """It could not be found out whether the proof was right: the try counts for nothing."""
        for key, door in attempt.doors.items():
            self._undo(key, door)

    def unlock(self, user: str) -> int:
        """Open all doors of a user, as if nobody had tried; returns how many were open no more."""
        now, closed = self._now(), 0
        for entry in self._store.list(keys.login_doors(user)).entries:
            closed += _read(entry.key, entry).closed_until > now
            self._open(entry.key)
        return closed

    def _open(self, key: str) -> None:
        with suppress(Conflict):  # it is gone already
            self._store.commit([present(key)], [Delete(key)])

    def _undo(self, key: str, door: LoginDoor) -> None:
        """Take one try back. Where nobody tried since, the door is as it was before, not closed at any rate."""
        for _ in range(_ATTEMPTS):
            entry = self._store.get(key)
            if entry is None:
                return
            current = _read(key, entry)
            update: dict[str, object] = {"tries": max(0, current.tries - 1), "try_id": secrets.token_hex(8)}
            if current == door:
                update["closed_until"] = self._now()
            operation: Operation = Put(key, current.model_copy(update=update).to_json(), self._door_lease.get())
            with suppress(Conflict, LeaseExpired):
                self._commit([unchanged(key, entry.mod_revision)], [operation])
                return

    def _know(self, attempt: Try) -> None:
        key = keys.known_network(attempt.user, attempt.network)
        entry = self._store.get(key)
        now = self._now()
        if entry and now - KnownNetwork.read(key, entry.value).at < _KNOWN_AGAIN:
            return
        put = Put(key, KnownNetwork(at=now).to_json(), self._known_lease.get())
        with suppress(Conflict, LeaseExpired):  # another login did it, or the next one will
            self._commit([unchanged(key, entry.mod_revision if entry else 0)], [put])

    def _commit(self, compares: list[Compare], operations: list[Operation]) -> None:
        try:
            self._store.commit(compares, operations)
        except Refused as error:
            if error.code != "NOT_FOUND":
                raise
            for operation in operations:
                if isinstance(operation, Put):
                    self._door_lease.forget(operation.lease)
                    self._known_lease.forget(operation.lease)
            raise LeaseExpired("a lease that was lent is gone; another one is lent now") from error


def _door_of(address: str) -> str:
    """The network of an address, as a part of a key."""
    return network_of(address).partition("/")[0] or "unknown"


def _read(key: str, entry: Entry) -> LoginDoor:
    return LoginDoor.read(key, entry.value)


def _tries(key: str, entry: Entry | None) -> int:
    return _read(key, entry).tries if entry else 0


def _after(tries: int, free: int, now: datetime) -> LoginDoor:
    pause = pause_after(tries + 1, free)
    return LoginDoor(tries=tries + 1, closed_until=now + pause, try_id=secrets.token_hex(8))

"""Whether somebody's token is right. What is decided is written before it is answered, in one transaction.

So a token is accepted once, and no wrong one goes uncounted, however many ask at the same time, of however many
instances, and whichever of them die.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyotp
from pydantic import TypeAdapter, ValidationError

from common import keys
from common.errors import Conflict, LeaseExpired, TooManyTries
from common.pauses import FORGET_S
from common.schemas.otp import OtpEntry, OtpName, OtpTries
from common.store import Delete, Entry, Operation, Put, Store, unchanged
from ucloud_otp.totp import after_wrong_token, seconds_left, step_of

_ATTEMPTS = 20
_NAME = TypeAdapter(OtpName)


@dataclass(frozen=True)
class Claim:
    """Somebody claims to be `name` of `realm`, and shows a token for it."""

    name: str
    realm: str
    token: str = field(repr=False)

    def can_be(self) -> bool:
        """Whether there could be such a name in such a realm: both are parts of keys."""
        try:
            _NAME.validate_python(self.name)
            _NAME.validate_python(self.realm)
        except ValidationError:
            return False
        return True


class Verifier:
    """Checks claims against the entries in etcd."""

    def __init__(self, store: Store, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._now = now
        # Unknown names are checked against it, and are never right: that takes as long as a wrong token does.
        self._decoy = OtpEntry(name="nobody", realm="none", seed=pyotp.random_base32()).to_json()

    def accept(self, claim: Claim, is_counted: bool = True) -> bool:
        """Whether the token is right and new; it is used up then. TooManyTries after too many wrong ones.

        Not `is_counted`: the caller holds off those who guess, here it is not done.
        """
        if not claim.can_be():
            return False
        if not is_counted:
            return self._accept_uncounted(claim)
        for _ in range(_ATTEMPTS):
            entry, seeded = self._entry(claim)
            tries_key = keys.otp_tries(claim.realm, claim.name)
            tries_entry = self._store.get(tries_key)
            tries = OtpTries.read(tries_key, tries_entry.value) if tries_entry else None
            now = self._now()
            if left_s := seconds_left(tries, now):
                raise TooManyTries(left_s)
            step = step_of(seeded.seed, claim.token, now)
            is_right = entry is not None and step is not None and step > seeded.last_counter
            operations: tuple[Operation, ...]
            if is_right:
                operations = (_use(claim, seeded, step), Delete(tries_key))
            else:
                lease = self._lease(tries_entry)
                operations = (Put(tries_key, after_wrong_token(tries, now).to_json(), lease),)
            compares = (
                unchanged(_key(claim), entry.mod_revision if entry else 0),
                unchanged(tries_key, tries_entry.mod_revision if tries_entry else 0),
            )
            try:
                self._store.commit(compares, operations)
            except Conflict:
                continue  # somebody tried the same name at the same time: what holds now may be another thing
            return is_right
        raise TooManyTries(1)

    def _accept_uncounted(self, claim: Claim) -> bool:
        for _ in range(_ATTEMPTS):
            entry, seeded = self._entry(claim)
            step = step_of(seeded.seed, claim.token, self._now())
            if entry is None or step is None or step <= seeded.last_counter:
                return False
            try:
                self._store.commit([unchanged(_key(claim), entry.mod_revision)], [_use(claim, seeded, step)])
            except Conflict:
                continue
            return True
        raise TooManyTries(1)

    def is_right(self, claim: Claim) -> bool:
        """Whether the token is right, be it new or not; nothing is counted, and nothing used up."""
        if not claim.can_be():
            return False
        entry, seeded = self._entry(claim)
        return step_of(seeded.seed, claim.token, self._now()) is not None and entry is not None

    def _entry(self, claim: Claim) -> tuple[Entry | None, OtpEntry]:
        """What etcd has of a name, and the record, which is the decoy where etcd has nothing."""
        entry = self._store.get(_key(claim))
        return entry, OtpEntry.read(_key(claim), entry.value if entry else self._decoy)

    def _lease(self, tries: Entry | None) -> int:
        """A lease that forgets the tries in due time: the one that they have, or a new one."""
        if tries and tries.lease:
            try:
                self._store.keep_alive(tries.lease)
            except LeaseExpired:
                return self._store.grant(FORGET_S)
            return tries.lease
        return self._store.grant(FORGET_S)


def _use(claim: Claim, seeded: OtpEntry, step: int | None) -> Put:
    """Use up the token of a step."""
    used = seeded.model_copy(update={"last_counter": step, "accepted_id": secrets.token_hex(8)})
    return Put(_key(claim), used.to_json())


def _key(claim: Claim) -> str:
    return keys.otp(claim.realm, claim.name)

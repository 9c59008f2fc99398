"""Who somebody is who logs in: guesses are held off, proofs are looked at, and what came of it is remembered.

Whatever is wrong, the refusal is the same, and takes as long: all proofs are looked at even where one is wrong, or
there is no such user. It must never keep a proof, nor say which one was wrong to anybody but admins.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from common import keys
from common.admission import Step
from common.errors import LeaseExpired, StoreError, TooManyTries, UcloudError, Unavailable
from common.lockout import Try
from common.schemas.event import EventRecord
from common.schemas.user import Account, Source
from common.store import Put, absent, unchanged
from ucloud_api import models
from ucloud_api.access import directory
from ucloud_api.access.quota import DEFAULT_QUOTA
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import State

_log = logging.getLogger(__name__)
KIND = "login"
"""Logins are remembered apart from what else happens to a user: a crowd of the ones can't displace the others."""
_EMBEDDED_PROOFS = frozenset(("token",))


@dataclass(frozen=True)
class Claim:
    """Somebody at an address claims to be a user, and proves it by what the body has."""

    body: models.SessionCreate
    address: str

    @property
    def proofs(self) -> tuple[str, ...]:
        """The kinds of proofs that are given."""
        return tuple(proof for proof in ("password", "token") if getattr(self.body, proof) is not None)


@dataclass(frozen=True)
class Candidate:
    """The account that the claim is about, as it is to be, and the step that makes it so unless it changed."""

    account: Account
    step: Step


@contextmanager
def held_off(state: State, claim: Claim) -> Iterator[Try]:
    """Hold off who guesses: TooManyTries. What ends with an error of ours is no guess."""
    attempt = state.users.lockout.enter(claim.body.name, claim.address)
    try:
        yield attempt
    except Refusal:
        raise
    except BaseException:
        state.users.lockout.undone(attempt)
        raise


class Refusal(UcloudError):
    """The claim is not proved; `why` is for admins."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def prove(state: State, claim: Claim) -> None:
    """Look at all proofs; Refusal when one is wrong. TooManyTries, Unavailable, ApiProblem (503)."""
    body, wrong = claim.body, []
    if body.password is not None and not state.users.is_password(body.name, body.password):
        wrong.append("password")
    if body.token is not None and not state.otp.verify(body.name, body.realm, body.token):
        wrong.append("token")
    if wrong:
        raise Refusal(f"wrong {' and '.join(wrong)}")


def candidate(state: State, claim: Claim) -> Candidate:
    """The account that may log in by the proofs that are given, made if LDAP has the user; Refusal, Unavailable."""
    body, key = claim.body, keys.account(claim.body.name)
    entry = state.store.get(key)
    known = Account.read(key, entry.value) if entry else None
    person = state.users.find_in_ldap(body.name)
    if known and known.source is Source.EMBEDDED:
        account, needed = known, _EMBEDDED_PROOFS
    elif person is None:
        raise Refusal("gone from LDAP" if known else "no such user")
    else:
        account, needed = known or _new_account(state, body.name), state.settings.ldap.proofs
        account = directory.as_said(state, account, person)
    if not account.enabled:
        raise Refusal("disabled")
    if account.realm != body.realm:
        raise Refusal(f"not of the realm {body.realm}")
    if missing := needed - set(claim.proofs):
        raise Refusal(f"without {' and '.join(sorted(missing))}")
    step = Step((unchanged(key, entry.mod_revision if entry else 0),), ())
    if account != known:
        step += Step((), (Put(key, account.to_json()),)) + directory.told_by_directory(state, known, account)
    return Candidate(account, step)


def _new_account(state: State, name: str) -> Account:
    now = datetime.now(UTC)
    realm = state.settings.ldap.realm
    return Account(name=name, realm=realm, source=Source.LDAP, quota=DEFAULT_QUOTA, created_at=now)


# --- what is remembered -----------------------------------------------------------------------------------------------


def remembered(state: State, user: str, what: str, by: str = "", admin_only: str = "") -> Step:
    """A step that remembers a login, or the end of a session."""
    event = EventRecord(at=datetime.now(UTC), what=what, owner=user, by=by, admin_only=admin_only)
    puts = state.events.tell(KIND, user, event)
    return Step(tuple(absent(put.key) for put in puts), puts)


def remember(state: State, user: str, what: str, by: str = "", admin_only: str = "") -> None:
    """The same at once. It is in the log, too, for where events are collected."""
    _log.info("%s: %s", user, f"{what} ({admin_only})" if admin_only else what)
    for _ in range(2):
        step = remembered(state, user, what, by, admin_only)
        with suppress(LeaseExpired):  # the second time there is another one
            if step.operations:
                commit(state, step)
            return


def remember_refusal(state: State, claim: Claim, attempt: Try, refusal: Refusal) -> None:
    """Remember that a claim was refused, and whether others will be held off now."""
    closed_until = max(door.closed_until for door in attempt.doors.values())
    pause = f"; tries are held off until {closed_until:%H:%M:%S} UTC" if closed_until > datetime.now(UTC) else ""
    what = f"refused from {claim.address} by {' and '.join(claim.proofs)}{pause}"
    try:
        remember(state, claim.body.name, what, admin_only=refusal.why)
    except (StoreError, Unavailable) as error:
        _log.warning("a refusal can't be remembered: %s", error)


def remember_held_off(state: State, claim: Claim, refusal: TooManyTries) -> None:
    """Log that a claim was not looked at. Events are of the tries before it: these may be any number."""
    _log.info("%s: held off from %s for %d s", claim.body.name, claim.address, refusal.retry_after_s)

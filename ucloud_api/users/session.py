"""The routes of sessions: logging in and out, and what sessions a user has.

A login trades a password, a one-time token, or both for a bearer token, of which etcd gets only the digest.
"""

import logging
import secrets
from datetime import UTC, datetime, timedelta

from flask import Response, g
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.admission import Step
from common.errors import Conflict, LeaseExpired, StoreError, TooManyTries, Unavailable
from common.schemas.user import Session
from common.store import Put, absent
from common.throttle import network_of
from ucloud_api import models
from ucloud_api.access import login
from ucloud_api.access.auth import TOKEN_PREFIX, current_caller, not_authenticated, require_admin
from ucloud_api.access.login import Candidate, Claim, Refusal
from ucloud_api.access.origin import client_address
from ucloud_api.access.sessions import digest, end_session, id_of, sessions_of
from ucloud_api.problems import documented, not_found
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer
from ucloud_api.writing.change import attempts

_log = logging.getLogger(__name__)
_PATH = keys.SESSION.rstrip("/")
_TOKEN_BYTES = 32
_REFUSED = "the name, the realm, the password or the token is wrong, one is missing, or the token was used already"

blueprint = APIBlueprint(
    "session",
    __name__,
    url_prefix=_PATH,
    abp_tags=[Tag(name="session", description="Logging in and out")],
    abp_responses=documented(401, 422, 429, 500, 503),
)
of_user = APIBlueprint(
    "sessions",
    __name__,
    url_prefix=keys.USER.rstrip("/"),
    abp_tags=[Tag(name="session", description="Logging in and out")],
    abp_responses=documented(401, 404, 422, 429, 500, 503),
)


@blueprint.post("", summary="Log in", responses={201: models.SessionCreated, **documented(400, 409, 413, 415)})
def create(body: models.SessionCreate) -> Response:
    """Trade a password, a one-time token or both for a bearer token. Whatever was wrong, the refusal is the same."""
    state = current_state()
    claim = Claim(body, client_address(state))
    state.guard.logins_from_network.take(network_of(claim.address))
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    try:
        with login.held_off(state, claim) as attempt:
            try:
                session, is_admin = _log_in(state, claim, keys.session(digest(token)))
            except Refusal as refusal:
                login.remember_refusal(state, claim, attempt, refusal)
                raise
    except Refusal:
        state.logins.labels("refused").inc()
        raise not_authenticated(_REFUSED) from None
    except TooManyTries as refusal:
        state.logins.labels("held off").inc()
        login.remember_held_off(state, claim, refusal)
        raise
    state.logins.labels("done").inc()
    try:
        state.users.lockout.succeeded(attempt)
    except (StoreError, Unavailable) as error:
        _log.warning("a login counts as a try for a while: %s", error)
    resource = models.SessionCreated(token=token, user=session.user, is_admin=is_admin, expires_at=session.expires_at)
    return answer(resource, 201, {"Location": _PATH})


def _log_in(state: State, claim: Claim, key: str) -> tuple[Session, bool]:
    """A session for who proves to be somebody, and whether that is an admin; Refusal."""
    found: Candidate | Refusal
    try:
        found = login.candidate(state, claim)
    except Refusal as refusal:
        found = refusal
    try:
        # Looked at in any case: neither the answer nor its time tells who has an account here.
        login.prove(state, claim)
    except Refusal as wrong:
        raise (found if isinstance(found, Refusal) else wrong) from None
    if isinstance(found, Refusal):
        raise found
    for _ in attempts("the account"):
        try:
            return _begin(state, claim, found, key), found.account.is_admin
        except (Conflict, LeaseExpired):
            found = login.candidate(state, claim)  # the account has just been changed: it may be disabled now
    raise AssertionError("attempts ends with an error")


def _begin(state: State, claim: Claim, candidate: Candidate, key: str) -> Session:
    """Write a session that ends by itself; Conflict when the account changed since it was read."""
    ttl_s = state.settings.api.session_ttl_s
    now = datetime.now(UTC)
    session = Session(
        user=candidate.account.name,
        created_at=now,
        expires_at=now + timedelta(seconds=ttl_s),
        address=claim.address,
        proofs=claim.proofs,
    )
    what = f"logged in from {claim.address} by {' and '.join(claim.proofs)}, session {id_of(key)}"
    lease = state.store.grant(ttl_s)
    step = candidate.step + Step((absent(key),), (Put(key, session.to_json(), lease),))
    try:
        revision = commit(state, step + login.remembered(state, session.user, what, by=session.user))
    except (Conflict, LeaseExpired):
        state.store.revoke(lease)
        raise
    state.wrote(state.sessions, revision)
    if len(candidate.step.operations):
        state.wrote(state.accounts, revision)
    return session


@blueprint.get("", summary="Show who is logged in", responses={200: models.SessionOut})
def show() -> Response:
    """The session of the bearer token."""
    caller = current_caller()
    return answer(models.SessionOut(user=caller.user, is_admin=caller.is_admin, expires_at=g.session.expires_at))


@blueprint.delete("", summary="Log out", responses={204: {"description": "The token is worth nothing any more."}})
def delete() -> Response:
    """End the session of the bearer token, everywhere."""
    _end(current_state(), g.session.user, g.session_key)
    return Response(status=204)


def _end(state: State, user: str, key: str) -> None:
    end_session(state, key)
    login.remember(state, user, f"session {id_of(key)} ended", by=current_caller().user)


# --- the sessions of a user -------------------------------------------------------------------------------------------


def _check_user(name: str) -> None:
    """ApiProblem (404) for what is not the caller's to see."""
    if not current_caller().may_see(name):
        raise not_found("user", name)


@of_user.get("/<name>/session", summary="List sessions", responses={200: models.SessionList})
def list_sessions(path: models.UserPath) -> Response:
    """The sessions of a user that last, oldest first."""
    _check_user(path.name)
    items = tuple(
        models.SessionOfUser(
            id=id_of(entry.key),
            created_at=session.created_at,
            expires_at=session.expires_at,
            address=session.address,
            proofs=session.proofs,
            is_this=entry.key == g.session_key,
        )
        for entry, session in sessions_of(current_state(), path.name)
    )
    return answer(models.SessionList(items=items))


@of_user.delete(
    "/<name>/session/<id>",
    summary="End a session",
    responses={204: {"description": "Its token is worth nothing any more."}},
)
def end(path: models.SessionPath) -> Response:
    """End a session of a user, everywhere; its own one too."""
    _check_user(path.name)
    state = current_state()
    found = [entry.key for entry, _ in sessions_of(state, path.name) if id_of(entry.key) == path.id]
    if not found:
        raise not_found("session", path.id)
    for key in found:
        _end(state, path.name, key)
    return Response(status=204)


@of_user.delete(
    "/<name>/lockout",
    summary="Let a user try to log in again",
    responses={204: {"description": "No try is held off, until there are too many again."}, **documented(403)},
)
def unlock(path: models.UserPath) -> Response:
    """Forget the wrong tries to log in as a user, whoever made them."""
    require_admin()
    state = current_state()
    state.users.lockout.unlock(path.name)
    login.remember(state, path.name, "tries are held off no more", by=current_caller().user)
    return Response(status=204)

"""The routes of sessions: logging in and out.

A login trades a one-time token for a bearer token, of which etcd gets only the digest.
"""

import secrets
from datetime import UTC, datetime, timedelta

from flask import Response, g, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.errors import Conflict, MalformedRecord
from common.schemas.user import Account, Session
from common.store import Delete, Put, absent, present, unchanged
from common.throttle import network_of
from ucloud_api import models
from ucloud_api.answers import answer
from ucloud_api.auth import TOKEN_PREFIX, current_caller, digest, not_authenticated
from ucloud_api.change import attempts
from ucloud_api.problems import documented
from ucloud_api.state import State, current_state

_PATH = keys.SESSION.rstrip("/")
_TOKEN_BYTES = 32

blueprint = APIBlueprint(
    "session",
    __name__,
    url_prefix=_PATH,
    abp_tags=[Tag(name="session", description="Logging in and out")],
    abp_responses=documented(401, 422, 429, 500, 503),
)


@blueprint.post("", summary="Log in", responses={201: models.SessionCreated, **documented(400, 409, 413, 415)})
def create(body: models.SessionCreate) -> Response:
    """Trade a one-time token for a bearer token. Whatever was wrong, the refusal is the same."""
    state = current_state()
    state.guard.logins_from_network.take(network_of(request.remote_addr))
    state.guard.logins_of_name.take(f"{body.realm}/{body.name}")
    # Asked in any case: neither the answer nor its time tells who has an account here.
    is_right = state.otp.verify(body.name, body.realm, body.token)
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    for _ in attempts("the account"):
        found = _account(state, body.name, body.realm)
        if not is_right or found is None:
            raise not_authenticated("the name, the realm or the token is wrong, or the token was used already")
        account, revision = found
        try:
            session = _begin(state, account, revision, keys.session(digest(token)))
        except Conflict:
            continue  # the account has just been changed: it may be disabled now
        resource = models.SessionCreated(
            token=token, user=account.name, is_admin=account.is_admin, expires_at=session.expires_at
        )
        return answer(resource, 201, {"Location": _PATH})
    raise AssertionError("attempts ends with an error")


def _account(state: State, name: str, realm: str) -> tuple[Account, int] | None:
    """The account that may log in, with its revision."""
    entry = state.store.get(keys.account(name))
    if entry is None:
        return None
    account = Account.read(entry.key, entry.value)
    return (account, entry.mod_revision) if account.enabled and account.realm == realm else None


def _begin(state: State, account: Account, account_revision: int, key: str) -> Session:
    """Write a session that ends by itself; Conflict when the account changed since it was read."""
    ttl_s = state.settings.api.session_ttl_s
    now = datetime.now(UTC)
    session = Session(user=account.name, created_at=now, expires_at=now + timedelta(seconds=ttl_s))
    lease = state.store.grant(ttl_s)
    try:
        revision = state.store.commit(
            [unchanged(keys.account(account.name), account_revision), absent(key)], [Put(key, session.to_json(), lease)]
        )
    except Conflict:
        state.store.revoke(lease)
        raise
    state.wrote(state.sessions, revision)
    return session


@blueprint.get("", summary="Show who is logged in", responses={200: models.SessionOut})
def show() -> Response:
    """The session of the bearer token."""
    caller = current_caller()
    return answer(models.SessionOut(user=caller.user, is_admin=caller.is_admin, expires_at=g.session.expires_at))


@blueprint.delete("", summary="Log out", responses={204: {"description": "The token is worth nothing any more."}})
def delete() -> Response:
    """End the session of the bearer token, everywhere."""
    end_session(current_state(), g.session_key)
    return Response(status=204)


def end_session(state: State, key: str) -> None:
    """Remove a session with its lease; one that is gone already is fine."""
    entry = state.store.get(key)
    if entry is None:
        return
    try:
        revision = state.store.commit([present(key)], [Delete(key)])
    except Conflict:
        return
    state.wrote(state.sessions, revision)
    if entry.lease:
        state.store.revoke(entry.lease)


def end_sessions_of(state: State, user: str) -> None:
    """End all sessions of a user. No login can be under way: it compares the account, which has changed."""
    for entry in state.store.list(keys.SESSION).entries:
        try:
            is_theirs = Session.read(entry.key, entry.value).user == user
        except MalformedRecord:
            continue  # nobody's: it lets nobody in
        if is_theirs:
            end_session(state, entry.key)

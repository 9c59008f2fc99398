"""Who asks: finds the session of a request's bearer token, and the account behind it. Source: RFC 6750.

It must never log, store or answer a token: a session is known by the digest of its token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar, cast

from flask import g, request

from common import keys
from common.cache import Cache, Cached
from common.schemas.owner import project_owner
from common.schemas.record import Record
from common.schemas.role import MemberRole, stronger
from common.schemas.user import Account, Session, Source
from common.throttle import network_of
from ucloud_api.access import directory
from ucloud_api.access.origin import client_address
from ucloud_api.access.sessions import digest
from ucloud_api.problems import ApiProblem
from ucloud_api.worker.membership import extra_memberships
from ucloud_api.worker.state import State, current_state

R = TypeVar("R", bound=Record)
TOKEN_PREFIX = "ucloud_"  # noqa: S105 - tells people and secret scanners what a leaked token is
_MOST_TOKEN_CHARACTERS = 128
_OPEN_PATHS = ("/healthz", "/metrics", "/openapi")


@dataclass(frozen=True)
class Caller:
    """A user who proved who they are. An admin sees and changes what others own, the hosts and the accounts."""

    user: str
    is_admin: bool
    roles: Mapping[str, MemberRole] = field(default_factory=dict, hash=False)
    """In projects, by the owner ("project:web") that each of them is."""

    def may_see(self, owner: str) -> bool:
        """Whether what `owner` has is shown to the caller; to others it does not exist."""
        return self.is_admin or self.user == owner or owner in self.roles

    def may_change(self, owner: str) -> bool:
        """Whether the caller may do with what `owner` has as it likes."""
        return self.is_admin or self.user == owner or (owner in self.roles and self.roles[owner].may_change)

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose things the caller sees who is no admin."""
        return self.user, *self.roles


def current_caller() -> Caller:
    """The caller of this request."""
    return cast(Caller, g.caller)


def require_admin() -> Caller:
    """The caller, who is an admin; ApiProblem (403) for anybody else."""
    caller = current_caller()
    if not caller.is_admin:
        raise ApiProblem(403, "admins-only", "only an admin may do this")
    return caller


def authenticate() -> None:
    """Before each request: set `g.caller`; ApiProblem (401) when nobody is logged in with its token."""
    if _is_open():
        return
    state, key = current_state(), keys.session(digest(_bearer_token()))
    if state.sessions.get(key) is None:
        # Looking for it costs a question to etcd, which is not for everybody to have asked as often as they like.
        state.guard.unknown_tokens.take(network_of(client_address(state)))
    found = find_session(state, key)
    if found is None:
        raise not_authenticated("the bearer token is unknown or expired; log in again", "invalid_token")
    session, account = found
    g.session_key, g.session = key, session
    state.await_writes(state.projects)
    g.caller = caller_of(state, account)


def caller_of(state: State, account: Account) -> Caller:
    """The user of an account, with what it may do now."""
    roles = dict(state.memberships.of(account.name))
    for project, role in extra_memberships(account, state.projects).items():
        owner = project_owner(project)
        roles[owner] = stronger(role, roles.get(owner, role))
    return Caller(account.name, account.is_admin, roles)


def _is_open() -> bool:
    """Whether everybody may ask for this."""
    if request.path == keys.SESSION.rstrip("/"):
        return request.method == "POST"
    return any(request.path == path or request.path.startswith(f"{path}/") for path in _OPEN_PATHS)


def _bearer_token() -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise not_authenticated("a bearer token is needed: log in at POST /v1/session")
    if not token.startswith(TOKEN_PREFIX) or len(token) > _MOST_TOKEN_CHARACTERS:
        raise not_authenticated("this is no token of ucloud; log in at POST /v1/session", "invalid_token")
    return token


def not_authenticated(detail: str, error: str = "") -> ApiProblem:
    """401; `error` is RFC 6750's code of what is wrong with a token that was sent."""
    challenge = 'Bearer realm="ucloud"' + (f', error="{error}"' if error else "")
    return ApiProblem(401, "not-authenticated", detail, headers={"WWW-Authenticate": challenge})


def find_session(state: State, key: str) -> tuple[Session, Account] | None:
    """The session at `key` with its account, if it holds: not expired, and the account is there and enabled.

    Unavailable where neither LDAP nor what it said lately tells that.
    """
    session = _known(state, state.sessions, key, Session)
    if session is None or session.record.expires_at <= datetime.now(UTC):
        return None
    account = _known(state, state.accounts, keys.account(session.record.user), Account)
    # A session that is older than the account is that of a deleted user of the same name.
    if account is None or not account.record.enabled or session.create_revision < account.create_revision:
        return None
    if account.record.source is Source.LDAP:
        now = directory.current(state, account.record)
        return (session.record, now) if now else None
    return session.record, account.record


def _known(state: State, cache: Cache[R], key: str, kind: type[R]) -> Cached[R] | None:
    """What the cache knows, else what etcd has: another process may have written it just now.

    The cache is not asked where it may have missed that somebody logged out: its watch does not stand, or it is behind
    what a worker of this machine wrote.
    """
    cached = cache.get(key)
    if cached and cache.problem() is None and cache.revision >= state.last_writes.get(cache.prefix):
        return cached
    entry = state.store.get(key)
    return Cached(kind.read(key, entry.value), entry.create_revision, entry.mod_revision) if entry else None

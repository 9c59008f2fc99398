"""Sessions in etcd: found, listed, ended. Each is known by the digest of its token, and shown by how that begins."""

import hashlib

from common import keys
from common.errors import Conflict, MalformedRecord
from common.schemas.user import Session
from common.store import Delete, Entry, present
from ucloud_api.worker.state import State

_ID_CHARACTERS = 16


def digest(token: str) -> str:
    """What a token is known by: SHA-256 is enough, as tokens are random and long."""
    return hashlib.sha256(token.encode()).hexdigest()


def id_of(key: str) -> str:
    """What a session is called: enough of the digest to tell it from others, too little to be of use."""
    return keys.last_part(key)[:_ID_CHARACTERS]


def sessions_of(state: State, user: str) -> list[tuple[Entry, Session]]:
    """The sessions of a user, as etcd has them, oldest first."""
    found = []
    for entry in state.store.list(keys.SESSION).entries:
        try:
            session = Session.read(entry.key, entry.value)
        except MalformedRecord:
            continue  # nobody's: it lets nobody in
        if session.user == user:
            found.append((entry, session))
    return sorted(found, key=lambda each: each[0].create_revision)


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
    for entry, _ in sessions_of(state, user):
        end_session(state, entry.key)

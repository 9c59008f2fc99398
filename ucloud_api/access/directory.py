"""What LDAP says of users while they are logged in, and whose ssh keys it has.

An account of LDAP follows the directory: who is gone there is logged out, and who is no admin there any more, or in no
group of a project, is so here, as soon as an answer is too old (`[ldap] refresh_s`) and another one is needed.
"""

import hashlib
from datetime import UTC, datetime

from common import keys
from common.admission import Step
from common.directory import RememberedDirectory
from common.errors import Conflict, LeaseExpired
from common.schemas.directory import Person
from common.schemas.event import EventRecord
from common.schemas.user import Account, Source
from common.store import Put, unchanged
from ucloud_api.access.sessions import end_sessions_of
from ucloud_api.told import asked
from ucloud_api.worker.commit import commit
from ucloud_api.worker.state import State

KEY_PREFIX = "ldap-"


def says_who_is_admin(state: State, account: Account) -> bool:
    """Whether an account's rights are the directory's to give."""
    return account.source is Source.LDAP and bool(state.settings.ldap.admin_group)


def current(state: State, account: Account) -> Account | None:
    """An enabled account of LDAP as it is by now; None, and its sessions end, when it is gone there. Unavailable."""
    person = _person(state, account.name)
    if person is None:
        end_sessions_of(state, account.name)
        return None
    wanted = as_said(state, account, person)
    if wanted != account:
        _write(state, account, wanted)
    return wanted


def as_said(state: State, account: Account, person: Person) -> Account:
    """The account with the rights that the directory gives."""
    rights: dict[str, object] = {"memberships": state.project_groups.memberships(person.groups)}
    if says_who_is_admin(state, account):
        rights["is_admin"] = person.is_admin
    said = account.model_copy(update=rights)
    return account if said == account else said.model_copy(update={"generation": account.generation + 1})


def told_by_directory(state: State, before: Account | None, after: Account) -> Step:
    """A step that remembers what the directory made of an account."""
    if before == after:
        return Step((), ())
    event = EventRecord(at=datetime.now(UTC), what=f"{asked(before, after)} (as LDAP says)", owner=after.name)
    return Step((), state.events.tell("user", after.name, event))


def ssh_keys_of(state: State, owner: str) -> dict[str, tuple[str, datetime]]:
    """The ssh keys that LDAP has of a user, by the names that they have here, and when that was read. Unavailable."""
    entry = state.store.get(keys.account(owner))
    if entry is None or Account.read(entry.key, entry.value).source is not Source.LDAP:
        return {}
    person = _person(state, owner)
    return {_key_name(line): (line, person.read_at) for line in person.ssh_keys} if person else {}


def _key_name(line: str) -> str:
    """A name that a key keeps, whatever its comment becomes."""
    return KEY_PREFIX + hashlib.sha256(line.split(" ")[1].encode()).hexdigest()[:12]


def _person(state: State, name: str) -> Person | None:
    ldap: RememberedDirectory | None = state.users.ldap
    if ldap is None:
        return None
    cached = state.people.get(keys.person(name))
    return cached.record if cached and ldap.is_fresh(cached.record) else ldap.find(name)


def _write(state: State, account: Account, wanted: Account) -> None:
    key = keys.account(account.name)
    entry = state.store.get(key)
    if entry is None or Account.read(key, entry.value) != account:
        return  # it has changed; the next request sees to it
    step = Step((unchanged(key, entry.mod_revision),), (Put(key, wanted.to_json()),))
    try:
        state.wrote(state.accounts, commit(state, step + told_by_directory(state, account, wanted)))
    except (Conflict, LeaseExpired):
        return

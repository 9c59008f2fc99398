"""The directory that needs no other server: accounts and ssh keys in etcd. Nobody has a password here."""

from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from common import keys
from common.schemas.directory import Person
from common.schemas.owner import UserName
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account, Source
from common.store import Store

_NAME = TypeAdapter(UserName)


def is_name(name: str) -> bool:
    """Whether a user can be called so; names are parts of keys and of paths."""
    try:
        _NAME.validate_python(name, strict=True)
    except ValidationError:
        return False
    return True


def added_keys(store: Store, name: str) -> tuple[str, ...]:
    """The public ssh keys that were added here for a user, by the keys' names."""
    entries = store.list(keys.ssh_keys(name)).entries
    return tuple(SshKey.read(entry.key, entry.value).key for entry in entries)


class EmbeddedDirectory:
    """Accounts that admins made."""

    def __init__(self, store: Store, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._now = now

    def find(self, name: str) -> Person | None:
        """See Directory."""
        entry = self._store.get(keys.account(name)) if is_name(name) else None
        if entry is None:
            return None
        account = Account.read(entry.key, entry.value)
        if not account.enabled or account.source is not Source.EMBEDDED:
            return None
        ssh_keys = added_keys(self._store, name)
        return Person(name=name, is_admin=account.is_admin, ssh_keys=ssh_keys, read_at=self._now())

    def is_password(self, name: str, password: str) -> bool:
        """Never: users of this directory prove themselves by one-time tokens and ssh keys."""
        return False

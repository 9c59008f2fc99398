"""Who may log in: the accounts of the cloud, with the public keys that their owners keep at the API."""

from typing import Protocol

from common import keys
from common.errors import MalformedRecord
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account
from common.store import Store


class Accounts(Protocol):
    """Where users are known. Both may block; Unavailable when it can't be told now."""

    @property
    def has_passwords(self) -> bool:
        """Whether anybody may log in by a password; if not, none is asked for."""
        ...

    def public_keys(self, user: str) -> tuple[str, ...]:
        """The keys of a user who may log in, as lines of an authorized_keys file; none for anybody else."""
        ...

    def is_password(self, user: str, password: str) -> bool:
        """Whether it is the password of a user who may log in."""
        ...


class StoredAccounts:
    """Accounts as etcd has them: keys only."""

    has_passwords = False

    def __init__(self, store: Store) -> None:
        self._store = store

    def public_keys(self, user: str) -> tuple[str, ...]:
        """See Accounts."""
        entry = self._store.get(keys.account(user))
        try:
            if entry is None or not Account.read(entry.key, entry.value).enabled:
                return ()
            return tuple(
                SshKey.read(each.key, each.value).key for each in self._store.list(keys.ssh_keys(user)).entries
            )
        except MalformedRecord:
            return ()

    def is_password(self, user: str, password: str) -> bool:
        """See Accounts."""
        return False

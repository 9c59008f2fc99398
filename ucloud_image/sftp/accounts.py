"""Who may log in: the accounts of the cloud, with the public keys that their owners keep at the API."""

from typing import Protocol

from common import keys
from common.errors import MalformedRecord
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account
from common.store import Store


class Accounts(Protocol):
    """Where users are known. Both may block; Unavailable when it can't be told now."""

    def public_keys(self, user: str) -> tuple[str, ...]:
        """The keys of a user who may log in, as lines of an authorized_keys file; none for anybody else."""
        ...

    def check_password(self, user: str, password: str, address: str) -> bool:
        """Whether it is the password of a user who may log in, as somebody at an IP address says.

        TooManyTries while guesses are held off.
        """
        ...


class StoredAccounts:
    """Accounts as etcd has them: keys, and no passwords."""

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

    def check_password(self, user: str, password: str, address: str) -> bool:
        """See Accounts."""
        return False

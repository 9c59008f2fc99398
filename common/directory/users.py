"""All users, whichever directory they come from: what the API and the daemon of uploads ask."""

import logging
import secrets

from common import keys
from common.directory.embedded import EmbeddedDirectory, added_keys, is_name
from common.directory.ldap import LdapDirectory
from common.directory.remembered import RememberedDirectory
from common.errors import MalformedRecord, Unavailable
from common.lockout import Lockout
from common.schemas.directory import Person
from common.schemas.ssh_key import unique
from common.schemas.user import Account, Source
from common.settings.identity import LdapSettings
from common.store import Store

_log = logging.getLogger(__name__)


class Users:
    """Accounts that admins made, then users of LDAP if the settings name a server. One for each process."""

    def __init__(self, store: Store, settings: LdapSettings) -> None:
        """ConfigurationError where the settings can't be used."""
        self._store = store
        self._takes_passwords = settings.proofs == {"password"}
        self._embedded = EmbeddedDirectory(store)
        self.lockout = Lockout(store)
        self.ldap = (
            RememberedDirectory(LdapDirectory(settings), store, settings.refresh_s, settings.outage_s)
            if settings.uris
            else None
        )

    def find(self, name: str) -> Person | None:
        """A user who may use the cloud, with all of its ssh keys; Unavailable."""
        if not is_name(name):
            return None
        account = self._account(name)
        if account and account.source is Source.EMBEDDED:
            return self._embedded.find(name)
        if self.ldap is None or (account and not account.enabled):
            return None
        person = self.ldap.find(name)
        if person is None:
            return None
        return person.model_copy(update={"ssh_keys": unique((*added_keys(self._store, name), *person.ssh_keys))})

    def may_use(self, user: str) -> bool:
        """Whether there is such a user, who may use the cloud; Unavailable. Not where its records can't be read."""
        return self._readable(user) is not None

    def public_keys(self, user: str) -> tuple[str, ...]:
        """The public ssh keys that let a user in, those of the directory and those added here; Unavailable.

        None for who may not use the cloud, or whose records can't be read.
        """
        person = self._readable(user)
        return person.ssh_keys if person else ()

    def check_password(self, user: str, password: str, address: str) -> bool:
        """Whether `user` may use the cloud and this is its password, as somebody at an IP address says.

        Never where a password alone proves nobody (`[ldap] login`). TooManyTries while guesses are held off;
        Unavailable.
        """
        attempt = self.lockout.enter(user if is_name(user) else "-", address)
        try:
            is_right = self._takes_passwords and self.is_password(user, password) and self._readable(user) is not None
        except MalformedRecord:
            is_right = False
        except Unavailable:
            self.lockout.undone(attempt)
            raise
        if is_right:
            self.lockout.succeeded(attempt)
        return is_right

    def _readable(self, name: str) -> Person | None:
        try:
            return self.find(name)
        except MalformedRecord as error:
            _log.error("malformed record: %s", error)
            return None

    def is_password(self, name: str, password: str) -> bool:
        """The same, but nobody is held off: that is the caller's to do."""
        if self.ldap is None:
            return False
        return self.ldap.is_password(self._name_in_ldap(name), password)

    def find_in_ldap(self, name: str) -> Person | None:
        """What LDAP says now of a user who has no account that an admin made; Unavailable.

        It takes as long for those who have one, but it can't fail for them.
        """
        if self.ldap is None:
            return None
        wanted = self._name_in_ldap(name)
        try:
            return self.ldap.find_now(wanted)
        except Unavailable:
            if wanted == name:
                raise
            return None

    def _name_in_ldap(self, name: str) -> str:
        """Whom to ask LDAP for: nobody, where the user is not of LDAP."""
        account = self._account(name) if is_name(name) else None
        return secrets.token_hex(16) if account and account.source is Source.EMBEDDED else name

    def _account(self, name: str) -> Account | None:
        entry = self._store.get(keys.account(name))
        return Account.read(entry.key, entry.value) if entry else None

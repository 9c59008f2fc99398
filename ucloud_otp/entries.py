"""The names of the realms, each with its seed: made, listed, removed."""

from dataclasses import dataclass

import pyotp

from common import keys
from common.errors import Conflict, UcloudError
from common.schemas.otp import OtpEntry
from common.store import Delete, Put, Store, absent, present, unchanged


class NameTaken(UcloudError):
    """The realm has this name already."""


class NoSuchEntry(UcloudError):
    """The realm has no such name."""


@dataclass(frozen=True)
class Listed:
    """An entry without its seed. `id` is never given to another one: it is etcd's revision of its creation."""

    id: int
    name: str
    realm: str


class Entries:
    """All names of all realms, in etcd."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, name: str, realm: str, seed: str = "") -> tuple[int, OtpEntry]:
        """A new name of a realm, with a new seed unless one is given; its id too. NameTaken if it is there already."""
        entry = OtpEntry(name=name, realm=realm, seed=seed or pyotp.random_base32())
        key = keys.otp(realm, name)
        try:
            revision = self._store.commit([absent(key)], [Put(key, entry.to_json())])
        except Conflict as conflict:
            raise NameTaken(f'the realm "{realm}" has a name "{name}" already') from conflict
        return revision, entry

    def replace(self, name: str, realm: str) -> tuple[int, OtpEntry]:
        """Give a name of a realm, which need not be there, a new seed: no token of the old one is right from now on."""
        key, entry = keys.otp(realm, name), OtpEntry(name=name, realm=realm, seed=pyotp.random_base32())
        while True:
            old = self._store.get(key)
            try:
                revision = self._store.commit(
                    [unchanged(key, old.mod_revision if old else 0)],
                    [Put(key, entry.to_json()), Delete(keys.otp_tries(realm, name))],
                )
            except Conflict:
                continue
            return (old.create_revision if old else revision), entry

    def list(self) -> tuple[Listed, ...]:
        """All entries, by realm and name."""
        found = []
        for entry in self._store.list(keys.OTP).entries:
            *_, realm, name = entry.key.split("/")
            found.append(Listed(entry.create_revision, name, realm))
        return tuple(found)

    def delete(self, name: str, realm: str) -> None:
        """Remove a name from its realm, with its wrong tries; NoSuchEntry if it is not there."""
        try:
            self._store.commit(
                [present(keys.otp(realm, name))], [Delete(keys.otp(realm, name)), Delete(keys.otp_tries(realm, name))]
            )
        except Conflict as conflict:
            raise NoSuchEntry(f'the realm "{realm}" has no name "{name}"') from conflict

    def delete_by_id(self, entry_id: int) -> None:
        """Remove an entry; NoSuchEntry if there is none with this id."""
        for entry in self.list():
            if entry.id == entry_id:
                self.delete(entry.name, entry.realm)
                return
        raise NoSuchEntry(f"there is no entry {entry_id}")

    def unblock(self, name: str, realm: str) -> None:
        """Forget the wrong tries of a name."""
        key = keys.otp_tries(realm, name)
        tries = self._store.get(key)
        if tries:
            self._store.commit([unchanged(key, tries.mod_revision)], [Delete(key)])

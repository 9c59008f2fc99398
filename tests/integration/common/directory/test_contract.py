"""What holds of every directory: of accounts in etcd as of LDAP, by memberOf and by groups that are searched."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from common import keys
from common.directory import Directory, EmbeddedDirectory, LdapDirectory, RememberedDirectory
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account
from common.store import Delete, Put, Store, present, unchanged
from tests.integration.slapd import GROUPS, PEOPLE, Slapd

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIrBAlpQwAjCagbL5M+kxdeOrqOTlOQgKhJGH4J7mU7b ann's"
HOSTILE = [
    "",
    " ",
    "*",
    "a*",
    "ann)",
    "ann)(uid=*",
    "*)(objectClass=*",
    "ann)(|(uid=*",
    "ann\\2a",
    "\\61nn",
    "ann\0",
    "ann\n",
    " ann",
    "ann ",
    "ANN",
    "änn",
    "ann,ou=people",
    "uid=ann",
    "../ann",
    "ann/name",
    "a" * 100_000,
]


class Kind(Protocol):
    """Has users made, as administrators of a kind of directory do."""

    directory: Directory

    def add(self, name: str, is_admin: bool = False, ssh_key: str = "") -> None: ...

    def disable(self, name: str) -> None: ...

    def remove(self, name: str) -> None: ...


class _Embedded:
    def __init__(self, store: Store) -> None:
        self.directory: Directory = EmbeddedDirectory(store)
        self._store = store

    def add(self, name: str, is_admin: bool = False, ssh_key: str = "") -> None:
        now = datetime.now(UTC)
        self._put(keys.account(name), Account(name=name, realm="ucloud", is_admin=is_admin, created_at=now).to_json())
        if ssh_key:
            key = SshKey(owner=name, name="laptop", key=ssh_key, created_at=now)
            self._put(keys.ssh_key(name, "laptop"), key.to_json())

    def disable(self, name: str) -> None:
        account = Account(name=name, realm="ucloud", enabled=False, created_at=datetime.now(UTC))
        self._put(keys.account(name), account.to_json())

    def remove(self, name: str) -> None:
        self._store.commit([present(keys.account(name))], [Delete(keys.account(name))])

    def _put(self, key: str, value: bytes) -> None:
        entry = self._store.get(key)
        self._store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, value)])


class _Ldap:
    def __init__(self, slapd: Slapd, store: Store, group_base: str, is_remembered: bool) -> None:
        directory = LdapDirectory(slapd.settings(group_base=group_base))
        self.directory: Directory = (
            RememberedDirectory(directory, store, refresh_s=0, outage_s=60) if is_remembered else directory
        )
        self._slapd = slapd
        slapd.add_user("somebody", "else")
        slapd.add_group("admins", f"uid=somebody,{PEOPLE}")

    def add(self, name: str, is_admin: bool = False, ssh_key: str = "") -> None:
        dn = self._slapd.add_user(name, f"{name}'s", **({"sshPublicKey": ssh_key} if ssh_key else {}))
        if is_admin:
            self._slapd.set(f"cn=admins,{GROUPS}", member=[dn, f"uid=somebody,{PEOPLE}"])

    def disable(self, name: str) -> None:
        self._slapd.set(f"uid={name},{PEOPLE}", shadowExpire="1")

    def remove(self, name: str) -> None:
        self._slapd.remove(f"uid={name},{PEOPLE}")


@pytest.fixture(params=["embedded", "ldap memberOf", "ldap groups", "ldap remembered"])
def kind(request: pytest.FixtureRequest, store: Store) -> Kind:
    if request.param == "embedded":
        return _Embedded(store)
    slapd = request.getfixturevalue("slapd")
    return _Ldap(slapd, store, GROUPS if "groups" in request.param else "", "remembered" in request.param)


def test_a_user_is_found_with_rights_and_keys(kind: Kind) -> None:
    kind.add("ann", ssh_key=KEY)
    kind.add("root_of.all-1", is_admin=True)
    before = datetime.now(UTC)
    ann, root = kind.directory.find("ann"), kind.directory.find("root_of.all-1")
    assert ann
    assert root
    assert (ann.name, ann.is_admin, ann.ssh_keys) == ("ann", False, (KEY,))
    assert (root.name, root.is_admin, root.ssh_keys) == ("root_of.all-1", True, ())
    assert before - timedelta(seconds=1) < ann.read_at <= datetime.now(UTC)


def test_who_is_not_there_is_nobody(kind: Kind) -> None:
    kind.add("ann")
    assert kind.directory.find("ben") is None
    assert not kind.directory.is_password("ben", "ben's")


def test_names_that_nobody_can_have_are_nobodys(kind: Kind) -> None:
    kind.add("ann", is_admin=True)
    assert [name for name in HOSTILE if kind.directory.find(name)] == []
    assert [name for name in HOSTILE if kind.directory.is_password(name, "ann's")] == []


def test_who_is_disabled_or_removed_is_nobody(kind: Kind) -> None:
    takes: list[Callable[[str], None]] = [kind.disable, kind.remove]
    for name, take in zip(("ann", "ben"), takes, strict=True):
        kind.add(name)
        assert kind.directory.find(name)
        take(name)
        assert kind.directory.find(name) is None
        assert not kind.directory.is_password(name, f"{name}'s")


def test_an_empty_or_a_hostile_password_is_none(kind: Kind) -> None:
    kind.add("ann")
    for password in ("", " ", "*", "\0", "ann's\0", "x" * 100_000, "ann", "ANN'S"):
        assert not kind.directory.is_password("ann", password)

"""What LDAP said is kept while it lasts, and counts for a settable time when LDAP is away; and all users together."""

from datetime import UTC, datetime, timedelta

import pytest

from common import keys
from common.directory import LdapDirectory, RememberedDirectory, Users
from common.errors import TooManyTries, Unavailable
from common.schemas.ssh_key import SshKey
from common.schemas.user import Account, Source
from common.settings.identity import LdapSettings
from common.store import Put, Store, absent
from tests.integration.slapd import GROUPS, PEOPLE, Slapd

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIrBAlpQwAjCagbL5M+kxdeOrqOTlOQgKhJGH4J7mU7b"
HERE = "2001:db8::7"


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(slapd: Slapd, store: Store, clock: Clock) -> RememberedDirectory:
    slapd.add_user("ann", "ann's")
    return RememberedDirectory(LdapDirectory(slapd.settings(), clock), store, 60, 3600, clock)


@pytest.fixture
def users(slapd: Slapd, store: Store) -> Users:
    slapd.add_user("ann", "ann's", sshPublicKey=f"{KEY} ldap")
    return Users(store, slapd.settings(group_base=GROUPS))


def test_an_answer_is_not_asked_for_again_while_it_is_fresh(
    directory: RememberedDirectory, slapd: Slapd, clock: Clock
) -> None:
    assert directory.find("ann")
    slapd.remove(f"uid=ann,{PEOPLE}")
    clock.now += timedelta(seconds=59)
    assert directory.find("ann")
    clock.now += timedelta(seconds=1)
    assert directory.find("ann") is None


def test_who_logs_in_is_asked_for_now(directory: RememberedDirectory, slapd: Slapd, store: Store) -> None:
    assert directory.find_now("ann")
    slapd.remove(f"uid=ann,{PEOPLE}")
    assert directory.find_now("ann") is None
    assert store.get(keys.person("ann")) is None
    assert directory.find("ann") is None


def test_without_a_server_the_last_answer_counts_for_its_time_and_then_it_is_an_error(
    directory: RememberedDirectory, slapd: Slapd, clock: Clock
) -> None:
    first = directory.find("ann")
    slapd.stop()
    clock.now += timedelta(seconds=3599)
    assert directory.find("ann") == first
    assert directory.find_now("ann") == first
    with pytest.raises(Unavailable):
        directory.find("ben")
    with pytest.raises(Unavailable):
        directory.is_password("ann", "ann's")
    clock.now += timedelta(seconds=1)
    with pytest.raises(Unavailable):
        directory.find("ann")


def test_another_daemon_knows_what_one_was_told(
    directory: RememberedDirectory, slapd: Slapd, store: Store, clock: Clock
) -> None:
    first = directory.find("ann")
    slapd.stop()
    other = RememberedDirectory(LdapDirectory(slapd.settings()), store, 60, 3600, clock)
    assert other.find("ann") == first


def test_an_answer_of_the_future_is_asked_for_again(directory: RememberedDirectory, slapd: Slapd, clock: Clock) -> None:
    clock.now += timedelta(days=1)
    assert directory.find("ann")
    clock.now -= timedelta(days=1)
    slapd.remove(f"uid=ann,{PEOPLE}")
    assert directory.find("ann") is None


def test_no_password_is_kept_in_any_form(directory: RememberedDirectory, store: Store) -> None:
    assert directory.is_password("ann", "ann's")
    directory.find("ann")
    assert store.get(keys.person("ann"))
    everything = b"".join(entry.value for entry in store.list("/").entries)
    for secret in (b"ann's", b"assword", b"SSHA"):
        assert secret not in everything


# --- users of both kinds ----------------------------------------------------------------------------------------------


def test_keys_of_ldap_and_those_added_here_let_a_user_in(users: Users, store: Store) -> None:
    other = KEY.replace("IIrB", "IIrC")
    for name, line in (("again", f"{KEY} here"), ("laptop", f"{other} here")):
        key = SshKey(owner="ann", name=name, key=line, created_at=datetime.now(UTC))
        store.commit([absent(keys.ssh_key("ann", name))], [Put(keys.ssh_key("ann", name), key.to_json())])
    assert users.public_keys("ann") == (f"{KEY} here", f"{other} here")
    assert users.public_keys("ben") == ()
    assert users.public_keys("../ann") == ()


def test_groups_are_told(users: Users, slapd: Slapd) -> None:
    dn = slapd.add_group("dev", f"uid=ann,{PEOPLE}")
    ann = users.find("ann")
    assert ann
    assert [(group.dn, group.name) for group in ann.groups] == [(dn, "dev")]


def test_an_account_that_an_admin_made_goes_before_one_of_ldap(users: Users, store: Store) -> None:
    account = Account(name="ann", realm="ucloud", created_at=datetime.now(UTC))
    store.commit([absent(keys.account("ann"))], [Put(keys.account("ann"), account.to_json())])
    assert users.find("ann")
    assert users.public_keys("ann") == ()
    assert not users.check_password("ann", "ann's", HERE)


def test_who_is_disabled_here_is_nobody(users: Users, store: Store) -> None:
    account = Account(name="ann", realm="ucloud", source=Source.LDAP, enabled=False, created_at=datetime.now(UTC))
    store.commit([absent(keys.account("ann"))], [Put(keys.account("ann"), account.to_json())])
    assert users.public_keys("ann") == ()
    assert not users.check_password("ann", "ann's", HERE)


def test_passwords_are_not_guessed(users: Users) -> None:
    assert users.check_password("ann", "ann's", HERE)
    for number in range(5):
        assert not users.check_password("ann", f"guess {number}", HERE)
    with pytest.raises(TooManyTries):
        users.check_password("ann", "ann's", HERE)
    for name in ("*", "../x", ""):
        assert not users.check_password(name, "x", "2001:db8:1::1")


@pytest.mark.parametrize("policy", ["token", "password+token"])
def test_a_password_alone_is_nothing_where_more_is_needed(slapd: Slapd, store: Store, policy: str) -> None:
    slapd.add_user("ann", "ann's")
    users = Users(store, slapd.settings(login=policy))
    assert users.find("ann")
    assert not users.check_password("ann", "ann's", HERE)


def test_a_try_without_an_answer_is_no_guess(users: Users, slapd: Slapd) -> None:
    slapd.stop()
    for _ in range(30):
        with pytest.raises(Unavailable):
            users.check_password("ann", "ann's", HERE)


def test_without_ldap_there_are_no_passwords(store: Store) -> None:
    users = Users(store, LdapSettings())
    assert not users.check_password("ann", "ann's", HERE)
    assert users.find("ann") is None


def test_whose_record_can_not_be_read_is_nobody(users: Users, store: Store) -> None:
    store.commit([absent(keys.account("ann"))], [Put(keys.account("ann"), b"{")])
    assert users.public_keys("ann") == ()
    assert not users.may_use("ann")
    assert not users.check_password("ann", "ann's", HERE)

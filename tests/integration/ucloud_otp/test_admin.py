"""ucloud-otp-admin and ucloud-admin: what is made before there is anybody who could ask the API for it."""

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ucloud_api.admin
import ucloud_otp.admin
from common import keys
from common.schemas.otp import OtpEntry
from common.schemas.user import Account
from common.store import Store
from devcloud.etcd import EtcdCluster


@pytest.fixture(autouse=True)
def settings(etcd: EtcdCluster, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the daemons name the test's etcd."""
    monkeypatch.setenv("UCLOUD_ETCD_ENDPOINTS", ",".join(etcd.endpoints))


def otp_admin(*arguments: str) -> Result:
    return CliRunner().invoke(ucloud_otp.admin.main, arguments)


def admin(*arguments: str) -> Result:
    return CliRunner().invoke(ucloud_api.admin.main, arguments)


def seed_of(store: Store, name: str, realm: str) -> str:
    entry = store.get(keys.otp(realm, name))
    assert entry
    return OtpEntry.read(entry.key, entry.value).seed


def test_a_seed_is_printed_once_and_names_are_listed_without_it(store: Store) -> None:
    made = otp_admin("create", "ann", "--realm", "ucloud")
    assert made.exit_code == 0
    assert made.output == f"{seed_of(store, 'ann', 'ucloud')}\n"
    assert otp_admin("list").output == "ucloud ann\n"
    again = otp_admin("create", "ann", "--realm", "ucloud")
    assert again.exit_code == 1
    assert 'the realm "ucloud" has a name "ann" already' in again.output


def test_a_seed_file_is_new_and_its_owners_alone(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "otp.seed"
    made = otp_admin("create", "ucloud-api", "--realm", "ungleich-auth", "--seed-file", str(file))
    assert made.exit_code == 0
    seed = seed_of(store, "ucloud-api", "ungleich-auth")
    assert file.read_text() == f"{seed}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert seed not in made.output
    other = otp_admin("create", "other", "--realm", "ungleich-auth", "--seed-file", str(file))
    assert other.exit_code == 1
    assert file.read_text() == f"{seed}\n"
    assert store.get(keys.otp("ungleich-auth", "other")) is None


def test_no_seed_file_stays_of_a_name_that_was_not_made(tmp_path: Path) -> None:
    otp_admin("create", "ann", "--realm", "ucloud")
    file = tmp_path / "seed"
    assert otp_admin("create", "ann", "--realm", "ucloud", "--seed-file", str(file)).exit_code == 1
    assert otp_admin("create", "a/b", "--realm", "ucloud", "--seed-file", str(file)).exit_code == 1
    assert not file.exists()


def test_a_name_is_removed_once(store: Store) -> None:
    otp_admin("create", "ann", "--realm", "ucloud")
    assert otp_admin("delete", "ann", "--realm", "ucloud").exit_code == 0
    assert store.get(keys.otp("ucloud", "ann")) is None
    again = otp_admin("delete", "ann", "--realm", "ucloud")
    assert again.exit_code == 1
    assert 'the realm "ucloud" has no name "ann"' in again.output


def test_the_first_admin_is_made_once(store: Store) -> None:
    assert admin("create", "root", "--realm", "ungleich-admin").exit_code == 0
    entry = store.get(keys.account("root"))
    assert entry
    account = Account.read(entry.key, entry.value)
    assert (account.realm, account.is_admin, account.enabled, account.quota) == ("ungleich-admin", True, True, None)
    again = admin("create", "root")
    assert again.exit_code == 1
    assert 'there is an account "root" already' in again.output


@pytest.mark.parametrize("name", ["Root", "a/b", "", "../x", "x" * 64])
def test_a_bad_name_is_refused_with_the_field(name: str) -> None:
    result = admin("create", name)
    assert result.exit_code == 1
    assert "name:" in result.output

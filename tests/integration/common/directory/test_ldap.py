"""LDAP as it is in the world: several servers, some of them dead or slow; certificates; accounts that are locked."""

import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest

from common.directory import LdapDirectory
from common.errors import ConfigurationError, Unavailable
from tests.integration.slapd import ADMINS, BASE, GROUPS, PEOPLE, SERVICE_PASSWORD, Slapd

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIrBAlpQwAjCagbL5M+kxdeOrqOTlOQgKhJGH4J7mU7b ann's"
_DAY_S = 24 * 3600


@pytest.fixture
def ann(slapd: Slapd) -> str:
    """A user; its DN."""
    return slapd.add_user("ann", "ann's")


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_password_is_right_or_wrong_over_tls(slapd: Slapd, ann: str, scheme: str) -> None:
    port = slapd.tls_port if scheme == "ldaps" else slapd.port
    directory = LdapDirectory(slapd.settings(uris=(f"{scheme}://[::1]:{port}",)))
    assert directory.find("ann")
    assert directory.is_password("ann", "ann's")
    assert not directory.is_password("ann", "ben's")


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_server_that_nobody_vouches_for_is_told_nothing(slapd: Slapd, ann: str, scheme: str) -> None:
    port = slapd.tls_port if scheme == "ldaps" else slapd.port
    uris = (f"{scheme}://[::1]:{port}",)
    for changes in ({"ca_file": ""}, {"ca_file": "/etc/ssl/certs/ca-certificates.crt"}):
        with pytest.raises(Unavailable):
            LdapDirectory(slapd.settings(uris=uris, **changes)).is_password("ann", "ann's")


def test_a_server_of_another_name_is_told_nothing(slapd: Slapd, ann: str) -> None:
    directory = LdapDirectory(slapd.settings(uris=(f"ldaps://ip6-localhost:{slapd.tls_port}",)))
    with pytest.raises(Unavailable):
        directory.is_password("ann", "ann's")


def test_the_next_server_answers_for_one_that_is_dead_or_silent(slapd: Slapd, ann: str, tmp_path: Path) -> None:
    other = Slapd(tmp_path / "other")
    try:
        other.pause()
        directory = LdapDirectory(
            slapd.settings(
                uris=("ldaps://[::1]:1", f"ldaps://[::1]:{other.tls_port}", f"ldaps://[::1]:{slapd.tls_port}")
            )
        )
        began_s = time.monotonic()
        assert directory.is_password("ann", "ann's")
        assert time.monotonic() - began_s < 3
        began_s = time.monotonic()
        for _ in range(10):
            assert directory.is_password("ann", "ann's")
        assert time.monotonic() - began_s < 5, "it is not waited for again each time, for a second"
    finally:
        other.close()


@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
def test_a_frozen_server_costs_its_timeout_once_and_is_found_when_it_is_back(
    slapd: Slapd, ann: str, scheme: str
) -> None:
    port = slapd.tls_port if scheme == "ldaps" else slapd.port
    later_s = 0
    directory = LdapDirectory(
        slapd.settings(uris=(f"{scheme}://[::1]:{port}",)), monotonic_s=lambda: time.monotonic() + later_s
    )
    assert directory.find("ann")
    slapd.pause()
    began_s = time.monotonic()
    with pytest.raises(Unavailable):
        directory.find("ann")
    assert time.monotonic() - began_s < 3
    began_s = time.monotonic()
    for _ in range(100):
        with pytest.raises(Unavailable):
            directory.is_password("ann", "ann's")
    assert time.monotonic() - began_s < 10, "not a hundred times a second"
    slapd.resume()
    later_s = 11
    assert directory.find("ann")


def test_groups_are_those_of_member_of_or_of_a_search(slapd: Slapd, ann: str) -> None:
    slapd.add_group("dev", ann)
    slapd.add_group("admins", ann)
    slapd.add("cn=posix," + GROUPS, ["posixGroup"], gidNumber=7, memberUid="ann")
    slapd.add("ou=others," + BASE, ["organizationalUnit"])
    slapd.add("cn=admins,ou=others," + BASE, ["groupOfNames"], member=ann)
    by_member_of = LdapDirectory(slapd.settings()).find("ann")
    by_search = LdapDirectory(slapd.settings(group_base=GROUPS)).find("ann")
    assert by_member_of
    assert by_search
    assert sorted(group.name for group in by_member_of.groups) == ["admins", "admins", "dev"]
    assert sorted(group.name for group in by_search.groups) == ["admins", "dev", "posix"]
    assert by_member_of.is_admin
    assert by_search.is_admin
    slapd.remove(ADMINS)
    still = LdapDirectory(slapd.settings()).find("ann")
    assert still
    assert not still.is_admin, "a group of that name elsewhere is another group"


def test_the_admin_group_is_known_however_its_dn_is_written(slapd: Slapd, ann: str) -> None:
    slapd.add_group("admins", ann)
    person = LdapDirectory(slapd.settings(admin_group=ADMINS.upper().replace(",", ", "))).find("ann")
    assert person
    assert person.is_admin


def test_a_dn_with_all_that_needs_escaping_is_asked_for_as_it_is(slapd: Slapd) -> None:
    dn = f"cn=Ann \\(the first\\)\\, \\*\\+x,{PEOPLE}".replace("\\(", "(").replace("\\)", ")").replace("\\*", "*")
    slapd.add(dn, ["inetOrgPerson", "ldapPublicKey"], sn="x", uid="ann", userPassword="ann's")
    slapd.add_group("dev", dn)
    directory = LdapDirectory(slapd.settings(group_base=GROUPS))
    person = directory.find("ann")
    assert person
    assert [group.name for group in person.groups] == ["dev"]
    assert directory.is_password("ann", "ann's")


def test_two_entries_of_one_name_let_nobody_in(slapd: Slapd, ann: str, caplog: pytest.LogCaptureFixture) -> None:
    slapd.add(f"cn=other,{PEOPLE}", ["inetOrgPerson"], sn="x", uid="ann", userPassword="other's")
    directory = LdapDirectory(slapd.settings())
    assert directory.find("ann") is None
    assert not directory.is_password("ann", "ann's")
    assert "more than one" in caplog.text


def test_who_the_filter_leaves_out_is_nobody(slapd: Slapd, ann: str) -> None:
    directory = LdapDirectory(slapd.settings(user_filter="(&(objectClass=inetOrgPerson)(!(employeeType=left)))"))
    assert directory.is_password("ann", "ann's")
    slapd.set(ann, employeeType="left")
    assert directory.find("ann") is None
    assert not directory.is_password("ann", "ann's")


def test_a_filter_may_compare_with_the_time(slapd: Slapd, ann: str) -> None:
    assert LdapDirectory(slapd.settings(user_filter="(createTimestamp<={now})")).find("ann")
    assert not LdapDirectory(slapd.settings(user_filter="(!(createTimestamp<={now}))")).find("ann")


@pytest.mark.parametrize(("days", "is_there"), [(-1, False), (0, False), (1, True), (None, True), ("never", True)])
def test_an_account_ends_on_the_day_that_it_expires(
    slapd: Slapd, ann: str, days: int | str | None, is_there: bool
) -> None:
    today = int(datetime.now(UTC).timestamp()) // _DAY_S
    if days is not None:
        slapd.set(ann, shadowExpire="-1" if days == "never" else str(today + int(days)))
    assert bool(LdapDirectory(slapd.settings()).find("ann")) is is_there


def test_ssh_keys_that_are_none_are_left_out(slapd: Slapd, ann: str, caplog: pytest.LogCaptureFixture) -> None:
    hostile = ['command="rm -rf /" ' + KEY, "ssh-dss AAAA", "x", KEY + "\nssh-rsa y", "-----BEGIN PRIVATE KEY-----"]
    slapd.set(ann, sshPublicKey=[KEY, KEY.replace("ann's", "again"), *hostile])
    person = LdapDirectory(slapd.settings()).find("ann")
    assert person
    assert {key.split(" ")[1] for key in person.ssh_keys} == {KEY.split(" ")[1]}
    assert "PRIVATE" not in caplog.text


def test_referrals_are_not_followed(slapd: Slapd, ann: str) -> None:
    slapd.add(f"cn=elsewhere,{PEOPLE}", ["referral", "extensibleObject"], ref=f"ldap://[::1]:1/{PEOPLE}")
    directory = LdapDirectory(slapd.settings())
    assert directory.find("ann")
    assert directory.find("elsewhere") is None


def test_a_wrong_service_password_is_an_outage_that_the_log_explains(
    slapd: Slapd, ann: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = tmp_path / "wrong"
    wrong.write_text("not the service's")
    for file in (wrong, tmp_path / "nothing"):
        with pytest.raises(Unavailable):
            LdapDirectory(slapd.settings(bind_password_file=str(file))).is_password("ann", "ann's")
    assert "bind_dn" in caplog.text
    assert "bind_password_file" in caplog.text
    for secret in ("not the service's", SERVICE_PASSWORD, "ann's"):
        assert secret not in caplog.text


def test_an_unknown_name_takes_as_long_as_a_wrong_password(slapd: Slapd, ann: str) -> None:
    directory = LdapDirectory(slapd.settings())

    took_s: dict[str, list[float]] = {"ann": [], "ben": []}
    for _ in range(15):
        for name, times in took_s.items():
            began_s = time.perf_counter()
            assert not directory.is_password(name, "x")
            times.append(time.perf_counter() - began_s)
    known_s, unknown_s = (median(times) for times in took_s.values())
    assert 0.5 < known_s / unknown_s < 2


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"user_filter": "(&(a=b)(!))"}, "user_filter"),
        ({"group_filter": "(member={dn}(x))"}, "group_filter"),
        ({"admin_group": "admins"}, "admin_group"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
    ],
)
def test_settings_that_can_not_be_used_are_named(slapd: Slapd, changes: dict[str, str], setting: str) -> None:
    with pytest.raises(ConfigurationError, match=setting):
        LdapDirectory(slapd.settings(**changes))


def test_a_person_was_read_when_it_was(slapd: Slapd, ann: str) -> None:
    then = datetime.now(UTC) - timedelta(days=3)
    person = LdapDirectory(slapd.settings(), lambda: then).find("ann")
    assert person
    assert person.read_at == then


def test_a_server_that_shows_nothing_is_an_outage_that_the_log_explains(
    slapd: Slapd, ann: str, caplog: pytest.LogCaptureFixture
) -> None:
    for changes in ({"bind_dn": "", "bind_password_file": ""}, {"user_base": f"ou=nowhere,{BASE}"}):
        with pytest.raises(Unavailable):
            LdapDirectory(slapd.settings(**changes)).find("ann")
        assert "noSuchObject" in caplog.text
        caplog.clear()

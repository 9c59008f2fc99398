"""Logging in with an account of LDAP, with the real slapd and ucloud-otp; and what happens when either is away."""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.directory import Person as PersonOfLdap
from common.schemas.user import Account, Source
from common.settings import ApiSettings, EtcdSettings, Settings
from common.settings.identity import LdapSettings, OtpSettings
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.slapd import ADMINS, GROUPS, PEOPLE, Slapd
from tests.integration.ucloud_api.world import World, bearer
from tests.integration.ucloud_otp_server import OtpServer, Person
from ucloud_api.access.auth import Caller, caller_of, find_session
from ucloud_api.access.permit import Permit
from ucloud_api.access.sessions import digest
from ucloud_api.app import create_app
from ucloud_api.worker.state import State

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIrBAlpQwAjCagbL5M+kxdeOrqOTlOQgKhJGH4J7mU7b"
HOME = {"REMOTE_ADDR": "2001:db8:1::7"}
EVIL = {"REMOTE_ADDR": "2001:db8:bad::7"}
ANN = f"uid=ann,{PEOPLE}"
Start = Callable[..., FlaskClient]


@pytest.fixture
def otp(etcd: EtcdCluster, store: Store, tmp_path: Path) -> Iterator[OtpServer]:
    server = OtpServer(etcd.endpoints, tmp_path / "otp.log")
    server.daemon.wait_healthy()
    yield server
    server.daemon.close()


@pytest.fixture
def start(etcd: EtcdCluster, otp: OtpServer, slapd: Slapd, store: Store, tmp_path: Path) -> Iterator[Start]:
    """Start an API with settings of LDAP; several are several instances."""
    seed_file = tmp_path / "otp.seed"
    seed_file.write_text(Person(store, "ucloud-api", "ungleich-auth").seed + "\n")
    slapd.add_user("ann", "ann's", sshPublicKey=f"{KEY} of LDAP")
    slapd.add_user("root", "root's")
    slapd.add_group("admins", f"uid=root,{PEOPLE}")
    states: list[State] = []

    def start(**changes: Any) -> FlaskClient:
        configuration = Settings(
            etcd=EtcdSettings(endpoints=etcd.endpoints),
            api=ApiSettings(threads=4),
            otp=OtpSettings(url=f"{otp.url}verify/", seed_file=str(seed_file)),
            ldap=slapd.settings(**changes),
        )
        states.append(State(configuration))
        states[-1].start()
        return create_app(states[-1]).test_client()

    yield start
    for state in states:
        state.close()


def try_to(client: FlaskClient, name: str, address: dict[str, str] | None = None, **proofs: str) -> Any:
    return client.post("/v1/session", json={"name": name, **proofs}, environ_base=address or HOME)


def log_in(client: FlaskClient, name: str, address: dict[str, str] | None = None, **proofs: str) -> dict[str, str]:
    """Log in; returns the header of the session."""
    answer = try_to(client, name, address, **(proofs or {"password": f"{name}'s"}))
    assert answer.status_code == 201, answer.text
    return bearer(answer.get_json()["token"])


def grow_stale(client: FlaskClient, name: str) -> None:
    """Wait until what LDAP said of a user is to be asked for again."""
    state: State = client.application.extensions["ucloud"]
    entry = state.store.get(keys.person(name))
    assert entry
    person, ldap = PersonOfLdap.read(entry.key, entry.value), state.users.ldap
    assert ldap
    wait_for("an answer that is not fresh", lambda: not ldap.is_fresh(person), 10)


def what_of(client: FlaskClient, name: str, header: dict[str, str]) -> list[str]:
    items = client.get(f"/v1/user/{name}/logins", headers=header).get_json()["items"]
    return [event["what"] for event in items]


def test_a_password_is_traded_for_a_session_of_a_new_account(start: Start, store: Store) -> None:
    api = start()
    header = log_in(api, "ann")
    assert api.get("/v1/session", headers=header).get_json()["is_admin"] is False
    account = api.get("/v1/user/ann", headers=header).get_json()
    assert (account["source"], account["enabled"], account["quota"]["vms"]) == ("ldap", True, 10)
    events = api.get("/v1/user/ann/events", headers=header).get_json()["items"]
    assert events[0]["what"] == "created: of the realm ucloud (as LDAP says)"
    assert api.get("/v1/host", headers=log_in(api, "root")).status_code == 200


@pytest.mark.parametrize(
    ("policy", "right"),
    [("password", ["p", "pt"]), ("token", ["t", "pt"]), ("password+token", ["pt"])],
)
def test_what_proves_a_user_is_a_setting(start: Start, store: Store, policy: str, right: list[str]) -> None:
    api, person = start(login=policy), Person(store, "ann", "ucloud")
    for number, given in enumerate(["p", "t", "pt"]):
        proofs = {"p": {"password": "ann's"}, "t": {"token": person.token(number - 1)}}
        shown = {name: value for each in given for name, value in proofs[each].items()}
        answer = try_to(api, "ann", HOME, **shown)
        assert (answer.status_code == 201) is (given in right), given


def test_of_two_proofs_none_may_be_wrong(start: Start, store: Store) -> None:
    api, person = start(), Person(store, "ann", "ucloud")
    wrong = [
        try_to(api, "ann", password="ann's", token=person.wrong_token()),
        try_to(api, "ann", password="wrong", token=person.token()),
        try_to(api, "ann", password="wrong"),
        try_to(api, "nobody", password="ann's"),
    ]
    assert [answer.status_code for answer in wrong] == [401] * 4
    assert len({answer.text for answer in wrong}) == 1


@pytest.mark.parametrize("name", ["*", "ann)(uid=*", "ann*", "uid=ann", "ann\x00", "a" * 64, "*)(|(uid=*", ""])
def test_names_with_filters_in_them_are_no_names(start: Start, name: str) -> None:
    assert try_to(start(), name, password="ann's").status_code == 422


def test_an_account_of_an_admin_goes_before_one_of_ldap(start: Start, world: World, store: Store) -> None:
    world.add_account("root", is_admin=True)
    api, person = start(), Person(store, "root", "ucloud")
    assert try_to(api, "root", password="root's").status_code == 401
    assert try_to(api, "root", password="root's", token=person.token()).status_code == 401
    assert try_to(api, "root", token=person.token(1)).status_code == 201


# --- what changes while somebody is logged in -------------------------------------------------------------------------


def test_who_is_removed_is_logged_out(start: Start, slapd: Slapd, store: Store) -> None:
    api = start(refresh_s=1)
    header = log_in(api, "ann")
    assert api.get("/v1/vm", headers=header).status_code == 200
    state = api.application.extensions["ucloud"]
    session_key = keys.session(digest(header["Authorization"].removeprefix("Bearer ")))
    stream = Permit(session_key, Caller("ann", False), datetime.now(UTC) + timedelta(hours=1))
    assert stream.holds(state)
    slapd.remove(ANN)
    wait_for("the end of streams", lambda: not stream.holds(state), 10)
    assert api.get("/v1/vm", headers=header).status_code == 401
    assert not store.list(keys.SESSION).entries
    assert try_to(api, "ann", password="ann's").status_code == 401
    slapd.add_user("ann", "other's")
    assert api.get("/v1/vm", headers=header).status_code == 401, "the session is over for good"


def test_who_is_no_admin_any_more_is_none_here(start: Start, slapd: Slapd) -> None:
    api = start(refresh_s=1)
    header, ann = log_in(api, "root"), log_in(api, "ann")
    assert api.get("/v1/host", headers=header).status_code == 200
    slapd.set(ADMINS, member=[ANN])
    wait_for("no admin", lambda: api.get("/v1/host", headers=header).status_code == 403, 10)
    assert api.get("/v1/vm", headers=header).status_code == 200
    wait_for("an admin", lambda: api.get("/v1/host", headers=ann).status_code == 200, 10)
    events = api.get("/v1/user/root/events", headers=header).get_json()["items"]
    assert events[-1]["what"] == "is admin: yes -> no (as LDAP says)"


def test_a_user_who_is_disabled_here_is_out_at_once_whatever_ldap_says(start: Start) -> None:
    api = start()
    header, root = log_in(api, "ann"), log_in(api, "root")
    assert api.patch("/v1/user/ann", json={"enabled": False}, headers=root).status_code == 200
    assert api.get("/v1/vm", headers=header).status_code == 401
    assert try_to(api, "ann", password="ann's").status_code == 401


def test_what_ldap_says_is_not_for_admins_to_change(start: Start) -> None:
    api = start()
    log_in(api, "ann")
    root = log_in(api, "root")
    for change in ({"is_admin": True}, {"is_admin": True, "enabled": True}):
        answer = api.patch("/v1/user/ann", json=change, headers=root)
        assert (answer.status_code, answer.get_json()["type"]) == (409, "urn:ucloud:problem:kept-in-ldap")
    assert api.patch("/v1/user/ann", json={"quota": {"vms": 1}}, headers=root).status_code == 200
    made = api.post("/v1/user", json={"name": "ben", "source": "ldap", "quota": None}, headers=root)
    assert made.status_code == 201
    without = start(uris=())
    answer = without.post("/v1/user", json={"name": "cleo", "source": "ldap"}, headers=root)
    assert answer.status_code in (401, 409)


def test_without_a_group_of_admins_they_are_made_here(start: Start, world: World) -> None:
    world.add_account("boss", is_admin=True)
    api = start(admin_group="")
    header = log_in(api, "ann")
    boss = bearer(world.log_in("boss"))
    assert api.patch("/v1/user/ann", json={"is_admin": True}, headers=boss).status_code == 200
    assert api.get("/v1/host", headers=header).status_code == 200
    last = api.patch("/v1/user/boss", json={"enabled": False}, headers=boss)
    assert last.get_json()["type"] == "urn:ucloud:problem:last-admin", "one who needs no LDAP stays"


def test_groups_put_users_into_projects_and_out_of_them(start: Start, slapd: Slapd, store: Store) -> None:
    member, owner = (slapd.add_group(f"cloud-web-{role}", ANN) for role in ("member", "owner"))
    slapd.add_group("cloud-none-owner", ANN)
    api = start(refresh_s=1, project_groups=f"cn=cloud-{{project}}-{{role}},{GROUPS}")
    root, header = log_in(api, "root"), log_in(api, "ann")

    def roles() -> dict[str, str]:
        items = api.get("/v1/project", headers={**header, "Cache-Control": "no-cache"}).get_json()["items"]
        return {each["name"]: each["role"] for each in items}

    assert roles() == {}, "there is no project"
    assert api.post("/v1/project", json={"name": "web"}, headers=root).status_code == 201
    assert roles() == {"web": "owner"}
    invited = api.post("/v1/project/web/member", json={"user": "ann", "role": "reader"}, headers=header)
    assert invited.status_code == 201, "an owner says who is in it"
    assert api.get("/v1/project/none", headers=header).status_code == 404
    network = {"name": "lan", "owner": "project:web"}
    assert api.post("/v1/network", json=network, headers=header).status_code == 201

    state = api.application.extensions["ucloud"]
    session_key = keys.session(digest(header["Authorization"].removeprefix("Bearer ")))
    found = find_session(state, session_key)
    assert found
    stream = Permit(session_key, caller_of(state, found[1]), datetime.now(UTC) + timedelta(hours=1))
    assert stream.holds(state)
    since = state.rights_since("ann")
    slapd.remove(owner)
    wait_for("the end of streams", lambda: not stream.holds(state), 10)
    wait_for("a member", lambda: roles() == {"web": "member"}, 10)
    assert state.rights_since("ann") > since
    slapd.remove(member)
    wait_for("what the project's own record says", lambda: roles() == {"web": "reader"}, 10)
    assert api.post("/v1/network", json={**network, "name": "wan"}, headers=header).status_code == 403
    events = api.get("/v1/user/ann/events", headers=header).get_json()["items"]
    assert [event["what"] for event in events[-2:]] == [
        "memberships: none=owner web=owner -> none=owner web=member (as LDAP says)",
        "memberships: none=owner web=member -> none=owner (as LDAP says)",
    ]


# --- when something is away -------------------------------------------------------------------------------------------


def test_without_ldap_sessions_go_on_for_their_time_and_admins_of_here_log_in(
    start: Start, slapd: Slapd, world: World, store: Store
) -> None:
    world.add_account("boss", is_admin=True)
    boss, ann = Person(store, "boss", "ucloud"), Person(store, "ann", "ucloud")
    api = start(refresh_s=1, outage_s=3600, login="token")
    shorter = start(refresh_s=1, outage_s=0)
    header = log_in(api, "ann", token=ann.token())
    slapd.stop()
    grow_stale(api, "ann")
    assert api.get("/v1/vm", headers=header).status_code == 200
    assert log_in(api, "ann", token=ann.token(1)), "by a token, as LDAP knew ann lately"
    refused = try_to(api, "ann", password="ann's")
    assert (refused.status_code, refused.get_json()["type"]) == (503, "urn:ucloud:problem:directory-unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    assert try_to(api, "nobody", token="123456").status_code == 503
    assert log_in(api, "boss", token=boss.token())
    too_old = shorter.get("/v1/vm", headers=header)
    assert (too_old.status_code, too_old.get_json()["type"]) == (503, "urn:ucloud:problem:directory-unavailable")
    slapd.start()
    wait_for("LDAP", lambda: shorter.get("/v1/vm", headers=header).status_code == 200, 20)
    assert log_in(api, "ann", token=ann.token(2))


def test_a_slow_ldap_costs_its_timeout_once(start: Start, slapd: Slapd, world: World, store: Store) -> None:
    world.add_account("boss", is_admin=True)
    boss = Person(store, "boss", "ucloud")
    api = start(refresh_s=1)
    header = log_in(api, "ann")
    slapd.pause()
    grow_stale(api, "ann")
    took_s = []
    for _ in range(20):
        began_s = time.monotonic()
        assert api.get("/v1/vm", headers=header).status_code == 200
        took_s.append(time.monotonic() - began_s)
    assert took_s[0] < 3
    assert sum(took_s[1:]) < 5, "not each of them for a second"
    began_s = time.monotonic()
    assert log_in(api, "boss", token=boss.token())
    assert try_to(api, "ann", password="ann's").status_code == 503
    assert time.monotonic() - began_s < 2
    slapd.resume()


def test_without_the_otp_server_passwords_do(start: Start, otp: OtpServer, store: Store) -> None:
    api, person = start(), Person(store, "ann", "ucloud")
    otp.daemon.kill()
    assert try_to(api, "ann", password="ann's", token=person.token()).status_code == 503
    assert log_in(api, "ann")


# --- guessing ---------------------------------------------------------------------------------------------------------


def test_a_thousand_guesses_are_held_off_over_all_instances_and_the_user_is_not(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    instances = [start(), start()]
    for each in instances:  # what one process holds off by itself is not what is looked at here
        monkeypatch.setattr(each.application.extensions["ucloud"].guard.logins_from_network, "take", lambda key: None)
    header = log_in(instances[0], "ann")
    began_s = time.monotonic()
    statuses = [
        try_to(instances[number % 2], "ann", EVIL, password=f"guess {number}").status_code for number in range(1000)
    ]
    assert time.monotonic() - began_s < 60
    assert statuses == [401] * 5 + [429] * 995
    refused = try_to(instances[1], "ann", EVIL, password="ann's")
    assert refused.status_code == 429, "the right one is not looked at either"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    for each in instances:
        assert each.get("/v1/vm", headers=header).status_code == 200, "the session goes on"
        assert log_in(each, "ann"), "from where ann was before"
    told = what_of(instances[0], "ann", header)
    assert len([what for what in told if what.startswith("refused from 2001:db8:bad::7 by password")]) == 5
    assert any("held off until" in what for what in told)
    root = log_in(instances[0], "root")
    assert instances[0].delete("/v1/user/ann/lockout", headers=header).status_code == 403
    assert instances[0].delete("/v1/user/ann/lockout", headers=root).status_code == 204
    assert log_in(instances[1], "ann", EVIL)


def test_a_proxy_that_is_trusted_says_where_a_request_comes_from(start: Start) -> None:
    api = start()
    state = api.application.extensions["ucloud"]
    state.settings = state.settings.model_copy(
        update={"api": ApiSettings.model_validate({"threads": 4, "trusted_proxies": "2001:db8:ff::/64"})}
    )
    proxy = {"REMOTE_ADDR": "2001:db8:ff::1"}
    for peer, header, address in (
        (proxy, "2001:db8:66::6, 2001:db8:1::7", "2001:db8:1::7"),
        (proxy, "2001:db8:1::7, 2001:db8:ff::2", "2001:db8:1::7"),
        (EVIL, "2001:db8:1::7", "2001:db8:bad::7"),
        (proxy, "'; drop", "2001:db8:ff::1"),
    ):
        body = {"name": "ann", "password": "ann's"}
        answer = api.post("/v1/session", json=body, environ_base=peer, headers={"X-Forwarded-For": header})
        assert answer.status_code == 201
        sessions = api.get("/v1/user/ann/session", headers=bearer(answer.get_json()["token"])).get_json()["items"]
        assert sessions[-1]["address"] == address


# --- what is remembered, and what is not ------------------------------------------------------------------------------


def test_logins_are_remembered_for_the_user_and_for_admins(start: Start, store: Store) -> None:
    api = start()
    header, root = log_in(api, "ann"), log_in(api, "root")
    try_to(api, "ann", EVIL, password="wrong")
    api.delete("/v1/session", headers=log_in(api, "ann"))
    told = what_of(api, "ann", header)
    assert told[0].startswith("logged in from 2001:db8:1::7 by password, session ")
    assert told[1] == "refused from 2001:db8:bad::7 by password"
    assert told[-1].startswith("session ")
    assert told[-1].endswith(" ended")
    of_admin = api.get("/v1/user/ann/logins", headers=root).get_json()["items"]
    assert [event["details"] for event in of_admin][:2] == ["", "wrong password"]
    of_user = api.get("/v1/user/ann/logins", headers=header).get_json()["items"]
    assert {event["details"] for event in of_user} == {""}
    assert api.get("/v1/user/root/logins", headers=header).status_code == 404
    try_to(api, "nobody", EVIL, password="x")
    (event,) = api.get("/v1/user/nobody/logins", headers=root).get_json()["items"]
    assert event["details"] == "no such user"


def test_no_password_is_in_a_log_or_in_etcd(start: Start, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    api = start()
    log_in(api, "ann")
    try_to(api, "ann", password="a wrong secret")
    answer = api.post("/v1/session", json={"name": "ann", "password": 7, "x": "a wrong secret"})
    everything = answer.text + caplog.text
    everything += b"".join(entry.key.encode() + entry.value for entry in store.list("/").entries).decode()
    for secret in ("ann's", "a wrong secret", "the service's own"):
        assert secret not in everything


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_user_sees_and_ends_its_sessions_and_nobody_elses(start: Start) -> None:
    api = start()
    first, second, root = log_in(api, "ann"), log_in(api, "ann", EVIL), log_in(api, "root")
    items = api.get("/v1/user/ann/session", headers=first).get_json()["items"]
    assert [(item["address"], item["proofs"], item["is_this"]) for item in items] == [
        ("2001:db8:1::7", ["password"], True),
        ("2001:db8:bad::7", ["password"], False),
    ]
    assert api.get("/v1/user/root/session", headers=first).status_code == 404
    (of_root,) = api.get("/v1/user/root/session", headers=root).get_json()["items"]
    for path in (f"/v1/user/root/session/{of_root['id']}", f"/v1/user/ann/session/{of_root['id']}"):
        assert api.delete(path, headers=first).status_code == 404
    assert api.delete(f"/v1/user/ann/session/{items[1]['id']}", headers=first).status_code == 204
    assert api.get("/v1/session", headers=second).status_code == 401
    assert api.delete(f"/v1/user/ann/session/{items[1]['id']}", headers=first).status_code == 404
    assert api.delete(f"/v1/user/ann/session/{items[0]['id']}", headers=root).status_code == 204
    assert api.get("/v1/session", headers=first).status_code == 401
    assert api.delete("/v1/user/ann/session/*", headers=root).status_code == 422


# --- ssh keys ---------------------------------------------------------------------------------------------------------


def test_ssh_keys_of_ldap_are_listed_and_given_to_guests_with_those_added_here(start: Start, world: World) -> None:
    world.add_image()
    api = start()
    header = log_in(api, "ann")
    other = KEY.replace("IIrB", "IIrC")
    for name, line in (("laptop", f"{other} here"), ("same", f"{KEY} here")):
        assert api.post("/v1/user/ann/ssh-key", json={"name": name, "key": line}, headers=header).status_code == 201
    items = api.get("/v1/user/ann/ssh-key", headers=header).get_json()["items"]
    assert [(item["source"], item["key"]) for item in items] == [
        ("embedded", f"{other} here"),
        ("embedded", f"{KEY} here"),
        ("ldap", f"{KEY} of LDAP"),
    ]
    of_ldap = items[-1]["name"]
    assert api.get(f"/v1/user/ann/ssh-key/{of_ldap}", headers=header).get_json() == items[-1]
    refused = api.delete(f"/v1/user/ann/ssh-key/{of_ldap}", headers=header)
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:kept-in-ldap")
    specs = {"cpu": 1, "ram": "1GiB", "ssd": 4}
    for body, fingerprints in (({}, 2), ({"ssh_keys": [of_ldap]}, 1)):
        made = api.post("/v1/vm", json={"image": "debian", "specs": specs, **body}, headers=header)
        assert made.status_code == 202, made.text
        assert len(made.get_json()["ssh_keys"]) == fingerprints


def test_an_account_without_its_ldap_lets_nobody_in(start: Start, world: World) -> None:
    header = log_in(start(), "ann")
    without = start(uris=())
    assert without.get("/v1/vm", headers=header).status_code == 401
    assert LdapSettings().uris == ()
    account = world.store.get(keys.account("ann"))
    assert account
    assert Account.read(account.key, account.value).source is Source.LDAP

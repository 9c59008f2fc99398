"""Logging in and out, with the real ucloud-otp: who gets a session, for how long, and what nobody finds anywhere."""

import logging
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

from common import keys
from common.schemas.user import Account
from common.settings import ApiSettings, EtcdSettings, Settings
from common.settings.identity import OtpSettings
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World, bearer
from tests.integration.ucloud_otp_server import OtpServer, Person
from ucloud_api.access.auth import TOKEN_PREFIX
from ucloud_api.access.sessions import digest
from ucloud_api.app import create_app
from ucloud_api.worker.state import State
from ucloud_otp.entries import Entries


@pytest.fixture
def otp(etcd: EtcdCluster, store: Store, tmp_path: Path) -> Iterator[OtpServer]:
    server = OtpServer(etcd.endpoints, tmp_path / "otp.log")
    server.daemon.wait_healthy()
    yield server
    server.daemon.close()


@pytest.fixture
def configuration(etcd: EtcdCluster, otp: OtpServer, store: Store, tmp_path: Path) -> Settings:
    """An API that asks that server as ucloud-api."""
    seed_file = tmp_path / "otp.seed"
    seed_file.write_text(Person(store, "ucloud-api", "ungleich-auth").seed + "\n")
    return Settings(
        etcd=EtcdSettings(endpoints=etcd.endpoints),
        api=ApiSettings(threads=4, session_ttl_s=60),
        otp=OtpSettings(url=f"{otp.url}verify/", seed_file=str(seed_file)),
    )


@pytest.fixture
def state(configuration: Settings) -> Iterator[State]:
    state = State(configuration)
    state.start()
    yield state
    state.close()


@pytest.fixture
def ann(store: Store, world: World) -> Person:
    """A user with one-time tokens and an account."""
    world.add_account("ann")
    return Person(store, "ann", "ucloud")


def log_in(client: FlaskClient, person: Person, token: str | None = None, **changes: str) -> str:
    """Log in; returns the bearer token."""
    answer = client.post("/v1/session", json={**person.as_caller(token), **changes})
    assert answer.status_code == 201, answer.text
    return str(answer.get_json()["token"])


def status_of(client: FlaskClient, token: str) -> int:
    return client.get("/v1/session", headers=bearer(token)).status_code


def test_a_one_time_token_is_traded_for_a_session(nobody: FlaskClient, ann: Person, world: World) -> None:
    answer = nobody.post("/v1/session", json={"name": "ann", "token": ann.token()})
    assert answer.status_code == 201
    session = answer.get_json()
    assert (session["user"], session["is_admin"]) == ("ann", False)
    assert session["token"].startswith(TOKEN_PREFIX)
    assert len(session["token"]) > 43
    ends_in = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=50) < ends_in <= timedelta(seconds=60)
    shown = nobody.get("/v1/session", headers=bearer(session["token"]))
    assert shown.get_json() == {key: session[key] for key in ("user", "is_admin", "expires_at")}
    record = world.store.get(keys.session(digest(session["token"])))
    assert record
    assert record.lease, "a session ends by itself"


def test_a_one_time_token_is_good_for_one_login(nobody: FlaskClient, ann: Person) -> None:
    token = ann.token()
    log_in(nobody, ann, token)
    again = nobody.post("/v1/session", json=ann.as_caller(token))
    assert again.status_code == 401


def test_of_many_logins_at_once_with_one_token_one_succeeds(nobody: FlaskClient, ann: Person, world: World) -> None:
    body = ann.as_caller()
    clients = [nobody.application.test_client() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda client: client.post("/v1/session", json=body).status_code, clients))
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 401, 429}
    assert len(world.store.list(keys.SESSION).entries) == 1


def test_whatever_is_wrong_the_refusal_is_the_same(
    nobody: FlaskClient, ann: Person, world: World, store: Store
) -> None:
    no_account = Person(store, "ben", "ucloud")
    world.add_account("cleo")
    other_realm = Person(store, "cleo", "elsewhere")
    world.add_account("dan")
    disabled = Account(name="dan", realm="ucloud", enabled=False, created_at=datetime.now(UTC))
    world.put(keys.account("dan"), disabled)
    dan = Person(store, "dan", "ucloud")
    world.add_account("eve")  # who has no one-time tokens
    wrong = [
        ann.as_caller(ann.wrong_token()),
        ann.as_caller("x"),
        {"name": "eve", "token": "123456"},
        {"name": "nobody", "token": "123456"},
        no_account.as_caller(),
        other_realm.as_caller(),
        dan.as_caller(),
        {**ann.as_caller(), "realm": "elsewhere"},
    ]
    answers = [nobody.post("/v1/session", json=body) for body in wrong]
    assert [answer.status_code for answer in answers] == [401] * len(wrong)
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].headers["WWW-Authenticate"].startswith("Bearer")
    assert not world.store.list(keys.SESSION).entries


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"token": "1"}, "name"),
        ({"name": "ann"}, "body"),
        ({"name": "Ann", "token": "1"}, "name"),
        ({"name": "a\nb", "token": "1"}, "name"),
        ({"name": "a" * 10000, "token": "1"}, "name"),
        ({"name": "../x", "token": "1"}, "name"),
        ({"name": "ann", "token": 123456}, "token"),
        ({"name": "ann", "token": ""}, "token"),
        ({"name": "ann", "token": "1" * 65}, "token"),
        ({"name": "ann", "token": "1", "realm": "a/b"}, "realm"),
        ({"name": "ann", "token": "1", "seed": "PZKBPTHDGSLZBKIZ"}, "seed"),
    ],
)
def test_a_malformed_login_is_a_422_that_repeats_no_token(
    nobody: FlaskClient, body: dict[str, object], field: str
) -> None:
    answer = nobody.post("/v1/session", json=body)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]
    assert "PZKBPTHDGSLZBKIZ" not in answer.text


def test_too_many_tries_are_held_off(nobody: FlaskClient, ann: Person) -> None:
    answers = [nobody.post("/v1/session", json=ann.as_caller(ann.wrong_token())) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert answers[-1].content_type == "application/problem+json"
    assert 55 <= int(answers[-1].headers["Retry-After"]) <= 60


def test_many_names_from_one_network_are_held_off(nobody: FlaskClient) -> None:
    statuses = [
        nobody.post(
            "/v1/session",
            json={"name": f"user{number}", "token": "123456"},
            environ_base={"REMOTE_ADDR": f"2001:db8::{number:x}"},
        ).status_code
        for number in range(61)
    ]
    assert statuses == [401] * 60 + [429]
    other = nobody.post(
        "/v1/session", json={"name": "x", "token": "1"}, environ_base={"REMOTE_ADDR": "2001:db8:0:1::1"}
    )
    assert other.status_code == 401


def test_unknown_bearer_tokens_from_one_network_are_held_off_but_known_ones_are_not(
    nobody: FlaskClient, ann: Person
) -> None:
    token = log_in(nobody, ann)
    sessions = nobody.application.extensions["ucloud"].sessions
    wait_for("word of the session", lambda: sessions.get(keys.session(digest(token))), 20)
    statuses = [status_of(nobody, f"{TOKEN_PREFIX}{number}") for number in range(61)]
    assert statuses == [401] * 60 + [429]
    assert status_of(nobody, token) == 200


def test_logging_out_ends_the_session_in_every_process(
    nobody: FlaskClient, ann: Person, configuration: Settings, world: World
) -> None:
    other_state = State(configuration)
    other_state.start()
    try:
        other = create_app(other_state).test_client()
        token = log_in(nobody, ann)
        assert status_of(other, token) == 200
        assert nobody.delete("/v1/session", headers=bearer(token)).status_code == 204
        assert status_of(nobody, token) == 401
        wait_for("logged out there too", lambda: status_of(other, token) == 401, 20)
        assert not world.store.list(keys.SESSION).entries
        assert nobody.delete("/v1/session", headers=bearer(token)).status_code == 401
    finally:
        other_state.close()


def test_a_session_ends_with_its_lease(nobody: FlaskClient, ann: Person, store: Store, world: World) -> None:
    token = log_in(nobody, ann)
    record = store.get(keys.session(digest(token)))
    assert record
    store.revoke(record.lease)
    wait_for("ended", lambda: status_of(nobody, token) == 401, 20)


def test_without_the_otp_server_a_login_is_a_503_and_sessions_go_on(
    nobody: FlaskClient, ann: Person, otp: OtpServer
) -> None:
    token = log_in(nobody, ann)
    otp.daemon.kill()
    answer = nobody.post("/v1/session", json=ann.as_caller(ann.token(1)))
    assert answer.status_code == 503
    assert answer.get_json()["type"] == "urn:ucloud:problem:otp-unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert status_of(nobody, token) == 200


def test_an_api_without_a_seed_says_so_in_its_log_and_not_to_everybody(
    nobody: FlaskClient, ann: Person, configuration: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    seed_file = Path(configuration.otp.seed_file)
    for content in (None, "", "not base32!"):
        if content is None:
            seed_file.unlink()
        else:
            seed_file.write_text(content)
        answer = nobody.post("/v1/session", json=ann.as_caller())
        assert answer.status_code == 503
        assert str(seed_file) not in answer.text
        assert "seed_file" in caplog.text
        assert "not base32!" not in caplog.text
        caplog.clear()


def test_a_wrong_seed_of_the_api_is_warned_of(
    nobody: FlaskClient, ann: Person, configuration: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    Path(configuration.otp.seed_file).write_text("PZKBPTHDGSLZBKIZ")
    assert nobody.post("/v1/session", json=ann.as_caller()).status_code == 401
    assert "seed_file" in caplog.text
    assert "PZKBPTHDGSLZBKIZ" not in caplog.text


def test_an_account_that_changes_during_a_login_is_looked_at_again(
    nobody: FlaskClient, ann: Person, state: State, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = state.store.grant
    lost = threading.Event()

    def disable_then_grant(ttl_s: int) -> int:
        if not lost.is_set():
            lost.set()
            account = Account(name="ann", realm="ucloud", enabled=False, created_at=datetime.now(UTC))
            world.put(keys.account("ann"), account)
        return granted(ttl_s)

    monkeypatch.setattr(state.store, "grant", disable_then_grant)
    assert nobody.post("/v1/session", json=ann.as_caller()).status_code == 401
    assert not world.store.list(keys.SESSION).entries


def test_no_token_is_in_a_log_or_in_etcd(
    nobody: FlaskClient, ann: Person, otp: OtpServer, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    one_time, wrong = ann.token(), ann.wrong_token()
    token = log_in(nobody, ann, one_time)
    nobody.post("/v1/session", json=ann.as_caller(wrong))
    nobody.get("/v1/user", headers=bearer(token))
    nobody.get("/v1/user", headers=bearer(token + "x"))
    logged = caplog.text + otp.daemon.log.read_text()
    stored = b"".join(entry.key.encode() + entry.value for entry in store.list("/").entries).decode()
    for secret in (token, token.removeprefix(TOKEN_PREFIX)):
        assert secret not in logged + stored
    for secret in (one_time, wrong, ann.seed):
        assert secret not in logged


def test_the_program_lets_one_log_in_over_tls_and_counts_over_its_workers(
    configuration: Settings, ann: Person, tmp_path: Path
) -> None:
    cert, key = make_certificate(tmp_path)
    port = free_port()
    daemon = DaemonProcess(
        "ucloud_api",
        tmp_path / "api.log",
        {
            "UCLOUD_ETCD_ENDPOINTS": ",".join(configuration.etcd.endpoints),
            "UCLOUD_API_PORT": str(port),
            "UCLOUD_API_CERT_FILE": str(cert),
            "UCLOUD_API_KEY_FILE": str(key),
            "UCLOUD_OTP_URL": configuration.otp.url,
            "UCLOUD_OTP_SEED_FILE": configuration.otp.seed_file,
        },
    )
    url = f"https://[::1]:{port}"
    try:
        wait_for("the API", lambda: is_served(f"{url}/healthz", cert), 20)
        answer = requests.post(f"{url}/v1/session", json=ann.as_caller(), verify=str(cert), timeout=20)
        assert answer.status_code == 201, answer.text
        header = bearer(answer.json()["token"])
        for _ in range(8):  # each worker gets some of them
            shown = requests.get(f"{url}/v1/session", headers=header, verify=str(cert), timeout=20)
            assert shown.status_code == 200
        assert answer.json()["token"] not in daemon.log.read_text()
        assert daemon.end() == 0
    finally:
        daemon.close()


def is_served(url: str, cert: Path) -> bool:
    try:
        return requests.get(url, verify=str(cert), timeout=20).ok
    except requests.RequestException:
        return False


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of ::1 that signs itself, and its key."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    name = ["-subj", "/CN=ucloud", "-addext", "subjectAltName=IP:::1", "-days", "2"]
    subprocess.run([*command, *name, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_a_certificate_without_its_key_is_refused_at_the_start(tmp_path: Path, etcd: EtcdCluster) -> None:
    daemon = DaemonProcess("ucloud_otp", tmp_path / "otp.log", {"UCLOUD_OTP_CERT_FILE": "/nowhere/cert.pem"})
    wait_for("its end", lambda: "cert_file and key_file are set both, or neither" in daemon.log.read_text(), 20)
    daemon.close()


def test_a_deleted_otp_entry_lets_nobody_log_in_any_more(nobody: FlaskClient, ann: Person, store: Store) -> None:
    Entries(store).delete("ann", "ucloud")
    assert nobody.post("/v1/session", json=ann.as_caller()).status_code == 401

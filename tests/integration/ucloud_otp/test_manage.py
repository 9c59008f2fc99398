"""GET, POST and DELETE below /ungleichotp/, who may do so, and what is not understood."""

from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from common.store import Store
from devcloud.etcd import EtcdCluster
from tests.integration.ucloud_otp.test_verify import NOT_AUTHENTICATED, NOT_PERMITTED
from tests.integration.ucloud_otp_server import OtpServer, Person
from ucloud_otp.totp import token_at


def test_an_admin_makes_lists_and_removes_entries(
    server: OtpServer, admin: Person, service: Person, store: Store
) -> None:
    made = server.ask("POST", **admin.as_auth(admin.token(-1)), name="bob", realm="ucloud")
    assert made.status_code == 201
    entry = made.json()
    assert (entry["name"], entry["realm"]) == ("bob", "ucloud")
    token = token_at(entry["seed"], datetime.now(UTC))
    assert server.verify(**service.as_caller(), verifyname="bob", verifyrealm="ucloud", verifytoken=token).ok
    listed = server.ask("GET", **admin.as_auth(admin.token(0)))
    assert listed.status_code == 200
    assert {"id": entry["id"], "name": "bob", "realm": "ucloud"} in listed.json()
    assert not any("seed" in each for each in listed.json())
    removed = server.ask("DELETE", f"{entry['id']}/", **admin.as_auth(admin.token(1)))
    assert (removed.status_code, removed.content) == (204, b"")
    again = server.ask("DELETE", f"{entry['id']}/", **admin.as_auth(admin.token(2)))
    assert (again.status_code, again.json()) == (404, {"detail": "Not found."})


def test_an_admins_token_is_right_once(server: OtpServer, admin: Person) -> None:
    token = admin.token()
    assert server.ask("GET", **admin.as_caller(token)).status_code == 200
    answer = server.ask("GET", **admin.as_caller(token))
    assert (answer.status_code, answer.json()) == (403, NOT_AUTHENTICATED)


def test_an_entry_exists_once(server: OtpServer, admin: Person, service: Person) -> None:
    answer = server.ask("POST", **admin.as_auth(), name=service.name, realm=service.realm)
    assert answer.status_code == 400
    assert answer.json() == {"non_field_errors": ["The fields name, realm must make a unique set."]}


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", ""), ("DELETE", ""), ("DELETE", "1/")])
def test_others_than_admins_manage_nothing(
    server: OtpServer, service: Person, ann: Person, method: str, path: str
) -> None:
    answer = server.ask(method, path, **service.as_auth(), name="x", realm="y")
    assert (answer.status_code, answer.json()) == (403, NOT_PERMITTED)
    answer = server.ask(method, path, **ann.as_auth(), name="x", realm="y")
    assert (answer.status_code, answer.json()) == (403, NOT_AUTHENTICATED)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 129, "../../v1/vm", 'a"b', None, [], "💥"])
def test_a_bad_name_is_a_400(server: OtpServer, admin: Person, name: object) -> None:
    answer = server.ask("POST", **admin.as_auth(), name=name, realm="ucloud")
    assert answer.status_code == 400
    assert list(answer.json()) == ["name"]


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 5000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[1]", "application/json", 403),
        (b"null", "application/json", 403),
        (b"x", "text/plain", 415),
        (b"", "", 415),
        (b'{"name": "' + b"x" * 10000 + b'"}', "application/json", 413),
    ],
)
def test_what_is_not_understood_is_refused_with_a_detail(
    server: OtpServer, body: bytes, content_type: str, status: int
) -> None:
    answer = requests.post(f"{server.url}verify/", data=body, headers={"Content-Type": content_type}, timeout=20)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_other_paths_and_methods_are_refused(server: OtpServer) -> None:
    assert server.ask("PUT").status_code == 405
    assert server.ask("GET", "verify/").status_code == 405
    assert server.ask("DELETE", "x/").status_code == 404
    assert server.ask("DELETE", f"{10**40}/").status_code in (403, 404)


def test_without_etcd_it_is_a_503_with_retry_after(
    etcd: EtcdCluster, server: OtpServer, service: Person, ann: Person
) -> None:
    body = {**service.as_caller(), **ann.as_subject()}
    etcd.pause(0)
    try:
        answer = server.verify(**body)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert server.daemon.health() is None or server.daemon.health() != {"status": "ok"}
    finally:
        etcd.resume(0)
    server.daemon.wait_healthy()
    assert server.verify(**service.as_caller(), **ann.as_subject(ann.token(1))).status_code == 200


def test_an_admin_gives_a_new_seed_and_removes_by_name(
    server: OtpServer, admin: Person, service: Person, ann: Person
) -> None:
    made = server.ask("POST", **admin.as_auth(admin.token(-1)), name="ann", realm="ucloud", replace=True)
    assert made.status_code == 201
    assert made.json()["seed"] != ann.seed
    assert not server.verify(**service.as_caller(), **ann.as_subject()).ok, "the lost phone"
    token = token_at(made.json()["seed"], datetime.now(UTC))
    assert server.verify(**service.as_caller(), verifyname="ann", verifyrealm="ucloud", verifytoken=token).ok
    gone = server.ask("DELETE", **admin.as_auth(admin.token(0)), name="ann", realm="ucloud")
    assert (gone.status_code, gone.content) == (204, b"")
    again = server.ask("DELETE", **admin.as_auth(admin.token(1)), name="ann", realm="ucloud")
    assert again.status_code == 404


@pytest.mark.parametrize(("method", "more"), [("POST", {"replace": True}), ("DELETE", {})])
def test_who_says_no_name_beside_its_own_changes_nothing(
    server: OtpServer, admin: Person, method: str, more: dict[str, Any]
) -> None:
    answer = server.ask(method, **admin.as_caller(admin.token(0)), **more)
    assert (answer.status_code, answer.json()) == (400, {"auth_name": ["This field is required."]})
    assert server.ask("GET", **admin.as_caller(admin.token(1))).ok

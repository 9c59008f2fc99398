"""Users' ssh keys over HTTP, and what a VM's guest is given: nobody else is shown it, and it is nowhere told."""

import json
import logging
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.ssh_key import MOST_SSH_KEYS, fingerprint
from common.store import Store
from tests.integration.ucloud_api.test_network import caller, held
from tests.integration.ucloud_api.world import World
from tests.unit.common.schemas.test_ssh_key import ED25519, blob, rsa

KEY = {"name": "laptop", "key": ED25519}
OTHER = f"ssh-ed25519 {blob(b'ssh-ed25519', b'o' * 32)}"
VM: dict[str, Any] = {"name": "web", "specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": "debian"}
SECRET = "#cloud-config\npassword: Tr0ub4dor&3\n"


@pytest.fixture
def ann(api: FlaskClient, world: World) -> FlaskClient:
    world.add_image()
    return caller(api, world, "ann")


def test_a_key_is_added_listed_and_removed_without_a_trace(ann: FlaskClient, store: Store) -> None:
    before = held(store)
    answers = [ann.post("/v1/user/ann/ssh-key", json=KEY, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert {each.status_code for each in answers} == {201}, answers[0].text
    made = answers[0].get_json()
    assert answers[0].headers["Location"] == "/v1/user/ann/ssh-key/laptop"
    assert (made["owner"], made["key"], made["fingerprint"]) == ("ann", ED25519, fingerprint(ED25519))
    assert ann.get("/v1/user/ann/ssh-key").get_json() == {"items": [made], "next_cursor": None}
    shown = ann.get("/v1/user/ann/ssh-key/laptop")
    assert (shown.get_json(), shown.headers["ETag"]) == (made, answers[0].headers["ETag"])
    taken = ann.post("/v1/user/ann/ssh-key", json=KEY)
    assert (taken.status_code, taken.get_json()["errors"][0]["field"]) == (409, "name")
    assert ann.delete("/v1/user/ann/ssh-key/laptop", headers={"If-Match": '"1"'}).status_code == 412
    assert ann.delete("/v1/user/ann/ssh-key/laptop").status_code == 204
    assert ann.delete("/v1/user/ann/ssh-key/laptop").status_code == 404
    assert ann.get("/v1/user/ann/ssh-key/laptop").status_code == 404
    assert held(store) == before
    words = [each["what"] for each in ann.get("/v1/user/ann/events").get_json()["items"]]
    assert words == [f"ssh key laptop {verb}: {fingerprint(ED25519)}" for verb in ("added", "removed")]


def test_keys_are_their_users_and_admins_alone(api: FlaskClient, ann: FlaskClient, world: World) -> None:
    bob = caller(api, world, "bob")
    assert api.post("/v1/user/ann/ssh-key", json=KEY).status_code == 201
    for answer in (
        bob.get("/v1/user/ann/ssh-key"),
        bob.get("/v1/user/ann/ssh-key/laptop"),
        bob.post("/v1/user/ann/ssh-key", json={**KEY, "name": "mine"}),
        bob.delete("/v1/user/ann/ssh-key/laptop"),
        api.get("/v1/user/nobody/ssh-key"),
        api.post("/v1/user/nobody/ssh-key", json=KEY),
    ):
        assert answer.status_code == 404
        assert "laptop" not in answer.text.replace("/laptop", "")
    assert api.delete("/v1/user/ann/ssh-key/laptop").status_code == 204


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a"}, "key"),
        *[({**KEY, "name": name}, "name") for name in ("A", "", "a/b", "..", 1, "a" * 64)],
        *[({**KEY, "key": key}, "key") for key in ("", "x", rsa(1024), ED25519[:50], 1, None, ["a"], ED25519 * 60)],
        ({**KEY, "owner": "bob"}, "owner"),
    ],
)
def test_what_is_no_key_is_a_422_that_names_the_field(ann: FlaskClient, body: dict[str, Any], field: str) -> None:
    answer = ann.post("/v1/user/ann/ssh-key", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["errors"][0]
    assert error["field"] == field
    assert error["allowed"]
    assert "AAAA" not in answer.text


def test_a_user_has_so_many_keys_which_go_with_the_account(api: FlaskClient, world: World, store: Store) -> None:
    eve = caller(api, world, "eve")
    for number in range(MOST_SSH_KEYS):
        assert eve.post("/v1/user/eve/ssh-key", json={**KEY, "name": f"k{number}"}).status_code == 201
    full = eve.post("/v1/user/eve/ssh-key", json=KEY)
    assert (full.status_code, full.get_json()["type"]) == (409, "urn:ucloud:problem:too-many-ssh-keys")
    assert api.delete("/v1/user/eve").status_code == 204
    assert not store.list(keys.SSH_KEY).entries


def test_a_guest_gets_what_is_said_or_all_keys(ann: FlaskClient, world: World) -> None:
    ann.post("/v1/user/ann/ssh-key", json=KEY)
    ann.post("/v1/user/ann/ssh-key", json={"name": "phone", "key": OTHER})
    cases: list[tuple[dict[str, Any], tuple[str, ...], str | None]] = [
        ({}, (ED25519, OTHER), None),
        ({"ssh_keys": []}, (), None),
        ({"ssh_keys": ["phone", "phone"], "hostname": "www.example.org"}, (OTHER,), "www.example.org"),
        ({"ssh_keys": ["laptop", f" {OTHER} me \n"]}, (ED25519, f"{OTHER} me"), None),
    ]
    for number, (said, lines, hostname) in enumerate(cases):
        answer = ann.post("/v1/vm", json={**VM, **said, "name": f"vm{number}"})
        assert answer.status_code == 202, answer.text
        vm = answer.get_json()
        request = world.request_of(vm["uuid"])
        assert (request.ssh_keys, request.hostname, request.user_data) == (lines, hostname, "")
        assert vm["ssh_keys"] == [fingerprint(line) for line in lines]
        assert vm["guest_hostname"] == (hostname or f"vm{number}")
    for said, has in (({"seed_disk": True}, True), ({"seed_disk": False}, False), ({}, False)):
        vm = ann.post("/v1/vm", json={**VM, **said, "name": f"seed{len(said)}{has:d}"}).get_json()
        assert (vm["seed_disk"], world.request_of(vm["uuid"]).seed_disk) == (has, has)
    # A key that is removed stays where it is: what a guest was given is fixed.
    ann.delete("/v1/user/ann/ssh-key/phone")
    assert ann.get("/v1/vm?name=vm0").get_json()["items"][0]["ssh_keys"] == [fingerprint(ED25519), fingerprint(OTHER)]


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"ssh_keys": ["nothing"]}, "ssh_keys.0"),
        ({"seed_disk": "yes"}, "seed_disk"),
        ({"seed_disk": None}, "seed_disk"),
        ({"ssh_keys": ["../x"]}, "ssh_keys.0"),
        ({"ssh_keys": [ED25519, "ssh-ed25519 AAAA"]}, "ssh_keys.1"),
        ({"ssh_keys": "laptop"}, "ssh_keys"),
        ({"ssh_keys": [""]}, "ssh_keys.0"),
        ({"ssh_keys": ["a"] * 33}, "ssh_keys"),
        ({"ssh_keys": [f"{rsa(16384)} {number}" for number in range(6)]}, "ssh_keys"),
        ({"user_data": "x" * 16385}, "user_data"),
        ({"user_data": "ü" * 8193}, "user_data"),
        ({"user_data": 1}, "user_data"),
        *[({"hostname": name}, "hostname") for name in ("", "A", "a_b", "a..b", "-a", "a-.b", "a" * 64, 1)],
    ],
)
def test_what_no_guest_can_be_given_is_a_422(ann: FlaskClient, store: Store, said: dict[str, Any], field: str) -> None:
    answer = ann.post("/v1/vm", json={**VM, **said})
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["errors"][0]
    assert error["field"] == field
    assert error["allowed"]
    assert not store.list(keys.VM).entries


def test_user_data_is_for_the_guest_alone(
    ann: FlaskClient, api: FlaskClient, world: World, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = ann.post("/v1/vm", json={**VM, "user_data": SECRET}, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 202, answer.text
        path = answer.headers["Location"]
        assert ann.post("/v1/vm", json={**VM, "user_data": SECRET, "name": "-"}).status_code == 422
        answers = [
            answer,
            *(each.get(url) for each in (ann, api) for url in (path, "/v1/vm", f"{path}/why", f"{path}/events")),
            ann.patch(path, json={"name": "www"}),
        ]
    request = world.request_of(answer.get_json()["uuid"])
    assert request.user_data == SECRET
    assert "Tr0ub4dor" not in repr(request)
    assert not any("Tr0ub4dor" in each.text for each in answers)
    assert "Tr0ub4dor" not in caplog.text
    holders = [entry.key for entry in store.list(keys.ROOT).entries if b"Tr0ub4dor" in entry.value]
    assert holders == [keys.vm(request.uuid)]
    assert json.loads(request.to_json())["user_data"] == SECRET

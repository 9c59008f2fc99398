"""Security groups over HTTP: rules, which are about other groups, too; what is in use stays."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.store import Store
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.test_network import caller, held
from tests.integration.ucloud_api.world import NOBODY, World

HTTPS = {"protocol": "tcp", "first_port": 443}
SPECS = {"cpu": 1, "ram": 1, "ssd": 4}


@pytest.fixture
def ann(api: FlaskClient, world: World) -> FlaskClient:
    return caller(api, world, "ann")


def make(api: FlaskClient, name: str, *rules: Any) -> dict[str, Any]:
    answer = api.post("/v1/security-group", json={"name": name, "rules": list(rules)})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.get_json()
    return made


def test_a_group_is_made_shown_changed_and_deleted_without_a_trace(ann: FlaskClient, store: Store) -> None:
    before = held(store)
    db = make(ann, "db")
    web = make(ann, "web", HTTPS, HTTPS, {"direction": "out", "group": "db"}, {"group": "web"})
    path = f"/v1/security-group/{web['uuid']}"
    first = {"direction": "in", "protocol": "tcp", "first_port": 443, "last_port": 443, "prefix": None, "group": None}
    assert web["rules"][0] == first
    assert [rule["group"] for rule in web["rules"]] == [None, db["uuid"], web["uuid"]]
    assert web["group_names"] == {db["uuid"]: "db", web["uuid"]: "web"}
    assert store.get(keys.group_use(db["uuid"], web["uuid"]))
    assert not store.list(keys.group_uses(web["uuid"])).entries
    assert ann.get(path).get_json() == web
    # What is shown may be sent back as it is.
    kept = ann.patch(path, json={"rules": web["rules"]})
    assert (kept.status_code, kept.get_json()) == (200, web)
    refused = ann.delete(f"/v1/security-group/{db['uuid']}")
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:security-group-in-use")
    assert web["uuid"] in refused.text
    changed = ann.patch(path, json={"name": "www", "rules": [{"prefix": "2001:db8::/32"}, {"prefix": "10.0.0.0/8"}]})
    assert [rule["prefix"] for rule in changed.get_json()["rules"]] == ["2001:db8::/32", "10.0.0.0/8"]
    assert ann.delete(f"/v1/security-group/{db['uuid']}").status_code == 204
    words = [each["what"] for each in ann.get(f"{path}/events").get_json()["items"]]
    assert words == ["created: web with 3 rules", "renamed from web to www; rules: 2 added, 3 removed"]
    assert ann.delete(path).status_code == 204
    assert ann.get(path).status_code == ann.delete(path).status_code == 404
    assert held(store) == before


def test_a_group_with_ports_stays(ann: FlaskClient, world: World, store: Store) -> None:
    world.add_image()
    group = make(ann, "web")
    before = held(store)
    ann.post("/v1/network", json={"name": "lan"})
    wanted = [{"network": "lan", "security_groups": ["web"]}]
    vm = ann.post("/v1/vm", json={"specs": SPECS, "image": "debian", "networks": wanted}).get_json()
    refused = ann.delete(f"/v1/security-group/{group['uuid']}")
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:security-group-in-use")
    assert vm["uuid"] in refused.text
    world.forget(vm["uuid"])
    assert ann.delete(f"/v1/network/{vm['ports'][0]['network']['uuid']}").status_code == 204
    assert held(store) == before
    assert ann.delete(f"/v1/security-group/{group['uuid']}").status_code == 204


def test_groups_are_their_owners_alone(api: FlaskClient, ann: FlaskClient, world: World) -> None:
    bob = caller(api, world, "bob")
    own = make(ann, "own-of-ann")
    path = f"/v1/security-group/{own['uuid']}"
    answers = [
        bob.get(path),
        bob.get(f"{path}/events"),
        bob.patch(path, json={"name": "x"}),
        bob.delete(path),
        bob.post("/v1/security-group", json={"name": "x", "rules": [{"group": "own-of-ann"}]}),
        bob.post("/v1/security-group", json={"name": "x", "rules": [{"group": own["uuid"]}]}),
    ]
    assert {each.status_code for each in answers} == {404}
    assert not any("own-of-ann" in each.text for each in answers[:4])
    assert bob.get("/v1/security-group").get_json()["items"] == []
    assert [each["uuid"] for each in api.get("/v1/security-group?owner=ann").get_json()["items"]] == [own["uuid"]]
    taken = ann.post("/v1/security-group", json={"name": "own-of-ann"})
    assert taken.get_json()["type"] == "urn:ucloud:problem:name-taken"
    assert ann.post("/v1/security-group", json={"name": "x", "owner": "bob"}).status_code == 403


def rules(*each: Any) -> dict[str, Any]:
    return {"name": "web", "rules": list(each)}


BAD_PREFIXES: tuple[Any, ...] = ("x", "10.0.0.1/8", "fe80::1%eth0/64", 5, [])
BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    *[({"name": name}, "name") for name in ("Web", "", "-a", "a_b", 1, None)],
    ({"name": "web", "public": True}, "public"),
    ({"name": "web", "rules": {}}, "rules"),
    (rules(*[HTTPS] * 65), "rules"),
    (rules("tcp"), "rules.0"),
    (rules(HTTPS, {"colour": 1}), "rules.1.colour"),
    (rules({"direction": "up"}), "rules.0.direction"),
    (rules({"protocol": "sctp"}), "rules.0.protocol"),
    *[(rules({**HTTPS, "first_port": port}), "rules.0.first_port") for port in (0, 65536, "80", True, 1.5)],
    *[(rules({"protocol": each, "first_port": 80}), "rules.0.first_port") for each in ("any", "icmp")],
    (rules({"first_port": 80}), "rules.0.first_port"),
    (rules({"protocol": "tcp", "last_port": 80}), "rules.0.last_port"),
    (rules({**HTTPS, "last_port": 442}), "rules.0.last_port"),
    *[(rules({"prefix": each}), "rules.0.prefix") for each in BAD_PREFIXES],
    (rules({"prefix": "::/0", "group": "db"}), "rules.0.group"),
    (rules({"group": "Db"}), "rules.0.group"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[str(body)[:60] for body, _ in BAD])
def test_a_malformed_group_is_a_422_that_names_the_field(
    api: FlaskClient, store: Store, body: dict[str, Any], field: str
) -> None:
    answer = api.post("/v1/security-group", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["errors"][0]
    assert error["field"] == field
    assert error["problem"]
    assert error["allowed"]
    assert not store.list(keys.SECURITY_GROUP).entries


def test_rules_are_about_groups_that_exist_and_not_too_many(ann: FlaskClient, store: Store) -> None:
    for group in ("nothing", NOBODY):
        unknown = ann.post("/v1/security-group", json=rules(HTTPS, {"group": group}))
        assert (unknown.status_code, unknown.get_json()["errors"][0]["field"]) == (404, "rules.1.group")
    names = [f"g{number}" for number in range(64)]
    for name in names:
        make(ann, name)
    too_many = ann.post("/v1/security-group", json=rules(*({"group": name} for name in names[:33])))
    assert (too_many.status_code, too_many.get_json()["errors"][0]["field"]) == (422, "rules")
    web = make(ann, "web", *({"group": name} for name in names[:32]))
    other = {"rules": [{"group": name} for name in names[32:]], "name": "www"}
    assert ann.patch(f"/v1/security-group/{web['uuid']}", json=other).status_code == 200
    assert len(store.list(keys.GROUP_USE).entries) == 32


def test_a_rule_about_a_group_that_goes_meanwhile_is_not_written(served: DaemonProcess, world: World) -> None:
    """Whoever is first wins: the group stays with the rule about it, or goes and there is none."""
    ann, other = (Client.logged_in(served, world, name, is_admin=True) for name in ("ann", "other"))
    for turn in range(6):
        group = ann.post("/security-group", json={"name": "db"}).json()["uuid"]
        body = {"name": f"web-{turn}", "rules": [{"group": group}]}
        with ThreadPoolExecutor(2) as pool:
            asks = (
                lambda body=body: ann.post("/security-group", json=body).status_code,
                lambda group=group: other.delete(f"/security-group/{group}").status_code,
            )
            statuses = tuple(pool.map(lambda ask: ask(), asks))
        assert statuses in {(201, 409), (404, 204)}
        if statuses == (201, 409):
            for each in ann.get("/security-group").json()["items"][::-1]:
                assert ann.delete(f"/security-group/{each['uuid']}").status_code == 204

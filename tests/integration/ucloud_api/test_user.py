"""Users: who may see and change them, their quotas, and that an enabled admin always stays."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import admission, keys
from common.schemas.user import Account, Quota
from common.schemas.vm import Specs, VmRequest
from common.store import Store
from tests.integration.ucloud_api.world import World, bearer

BEN: dict[str, Any] = {"name": "ben"}
DEFAULT = {"vms": 10, "cpu": 20, "ram": 64, "ssd": 500, "hdd": 2000, "networks": 10, "security_groups": 50}
NOTHING = {"vms": 0, "cpu": 0, "ram": 0, "ssd": 0, "hdd": 0, "networks": 0, "security_groups": 0}


@pytest.fixture
def ann(nobody: FlaskClient, world: World) -> FlaskClient:
    """The API, asked by the user "ann"."""
    world.add_account("ann")
    client = nobody.application.test_client()
    client.environ_base.update(HTTP_AUTHORIZATION=f"Bearer {world.log_in('ann')}")
    return client


def charge_vm(store: Store, world: World, owner: str, name: str = "web") -> VmRequest:
    """A VM of an owner, as the API admits it."""
    image = world.add_image(name=f"image-of-{name}", owner="admin")
    entry = store.get(keys.image(image))
    assert entry
    specs = Specs.of(cpu=2, ram_mib=1536, ssd_mib=10240, hdd_mib=0)
    request = VmRequest(
        uuid=str(uuid.uuid4()), owner=owner, name=name, specs=specs, image=image, created_at=datetime.now(UTC)
    )
    budget = admission.read_budget(store, owner)
    assert budget
    step = admission.admit_vm(request, entry.mod_revision, budget)
    store.commit(step.compares, step.operations)
    return request


def account_of(store: Store, name: str) -> Account:
    entry = store.get(keys.account(name))
    assert entry
    return Account.read(entry.key, entry.value)


def test_a_user_is_made_shown_changed_and_deleted(api: FlaskClient, store: Store) -> None:
    made = api.post("/v1/user", json=BEN)
    assert made.status_code == 201, made.text
    assert made.headers["Location"] == "/v1/user/ben"
    ben = made.get_json()
    assert ben["created_at"]
    assert {key: ben[key] for key in ben if key != "created_at"} == {
        "name": "ben",
        "realm": "ucloud",
        "source": "embedded",
        "is_admin": False,
        "enabled": True,
        "quota": DEFAULT,
        "used": NOTHING,
        "generation": 1,
    }
    shown = api.get("/v1/user/ben")
    assert shown.get_json() == ben
    assert shown.headers["ETag"] == made.headers["ETag"]
    changed = api.patch("/v1/user/ben", json={"is_admin": True}, headers={"If-Match": made.headers["ETag"]})
    assert changed.status_code == 200
    assert (changed.get_json()["is_admin"], changed.get_json()["generation"]) == (True, 2)
    assert changed.headers["ETag"] != made.headers["ETag"]
    assert api.delete("/v1/user/ben").status_code == 204
    assert store.get(keys.account("ben")) is None
    assert api.get("/v1/user/ben").status_code == 404
    assert api.delete("/v1/user/ben").status_code == 404


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (
            {"vms": 1, "cpu": 2, "ram": 3, "ssd": 4, "hdd": 5},
            {**DEFAULT, "vms": 1, "cpu": 2, "ram": 3, "ssd": 4, "hdd": 5},
        ),
        ({"networks": 0, "security_groups": 7}, {**DEFAULT, "networks": 0, "security_groups": 7}),
        ({"ram": "1536MiB", "hdd": "2TiB"}, {**DEFAULT, "ram": "1536MiB", "hdd": 2048}),
        ({"vms": 0}, {**DEFAULT, "vms": 0}),
        ({}, DEFAULT),
        (None, None),
    ],
)
def test_a_quota_comes_back_as_it_was_given(api: FlaskClient, sent: Any, kept: Any) -> None:
    assert api.post("/v1/user", json={**BEN, "quota": sent}).get_json()["quota"] == kept
    assert api.get("/v1/user/ben").get_json()["quota"] == kept


def test_a_quota_is_changed_in_part_taken_away_and_given_again(api: FlaskClient) -> None:
    api.post("/v1/user", json={**BEN, "quota": {"cpu": 4}})
    assert api.patch("/v1/user/ben", json={"quota": {"vms": 3}}).get_json()["quota"] == {**DEFAULT, "cpu": 4, "vms": 3}
    assert api.patch("/v1/user/ben", json={"quota": None}).get_json()["quota"] is None
    assert api.patch("/v1/user/ben", json={"enabled": True}).get_json()["quota"] is None
    assert api.patch("/v1/user/ben", json={"quota": {"vms": 3}}).get_json()["quota"] == {**DEFAULT, "vms": 3}


def test_what_is_used_is_the_sum_of_the_charges(api: FlaskClient, ann: FlaskClient, world: World, store: Store) -> None:
    for name in ("one", "two"):
        charge_vm(store, world, "ann", name)
    used = {**NOTHING, "vms": 2, "cpu": 4, "ram": 3, "ssd": 20}
    assert api.get("/v1/user/ann").get_json()["used"] == used
    assert ann.get("/v1/user/ann").get_json()["used"] == used
    by_name = {user["name"]: user["used"] for user in api.get("/v1/user").get_json()["items"]}
    assert by_name == {"admin": NOTHING, "ann": used}


def test_users_see_themselves_and_change_nobody(api: FlaskClient, ann: FlaskClient) -> None:
    api.post("/v1/user", json=BEN)
    assert [user["name"] for user in ann.get("/v1/user").get_json()["items"]] == ["ann"]
    assert ann.get("/v1/user/ann").status_code == 200
    assert ann.get("/v1/user/ben").status_code == 404
    assert ann.get("/v1/user/ben").get_json()["type"] == ann.get("/v1/user/nobody").get_json()["type"]
    for answer in (
        ann.post("/v1/user", json={"name": "x"}),
        ann.patch("/v1/user/ann", json={"is_admin": True}),
        ann.patch("/v1/user/ben", json={"enabled": False}),
        ann.patch("/v1/user/nobody", json={"enabled": False}),
        ann.delete("/v1/user/ann"),
        ann.delete("/v1/user/ben"),
    ):
        assert answer.status_code == 403
        assert answer.get_json()["type"] == "urn:ucloud:problem:admins-only"


def test_all_users_are_listed_in_pages_oldest_first(api: FlaskClient) -> None:
    for number in range(5):
        api.post("/v1/user", json={"name": f"user{number}"})
    names, cursor = [], ""
    while cursor is not None:
        listed = api.get(f"/v1/user?limit=4{cursor and f'&cursor={cursor}'}").get_json()
        names += [user["name"] for user in listed["items"]]
        cursor = listed["next_cursor"]
    assert names == ["admin", *[f"user{number}" for number in range(5)]]


NO_BOOLEANS: tuple[Any, ...] = ("yes", 1, [])
NO_SIZES: tuple[Any, ...] = (-1, "1GB", 1.5, "9" * 50 + "GiB", [])

BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "name"),
    *[({"name": name}, "name") for name in ("Ben", "../x", "a/b", "", "ü", "a\0b", "💥", "a" * 10000, 1, None)],
    *[({**BEN, "realm": realm}, "realm") for realm in ("", "a/b", "x" * 129, 1, "-x")],
    *[({**BEN, field: value}, field) for field in ("is_admin", "enabled") for value in NO_BOOLEANS],
    *[({**BEN, "quota": {"vms": value}}, "quota.vms") for value in (-1, 1.5, "3", 10**30, True)],
    *[({**BEN, "quota": {"ram": value}}, "quota.ram") for value in NO_SIZES],
    ({**BEN, "quota": {"gpu": 1}}, "quota.gpu"),
    ({**BEN, "quota": 3}, "quota"),
    ({**BEN, "seed": "x"}, "seed"),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[str(body)[:50] for body, _ in BAD])
def test_a_malformed_user_is_a_422_that_names_the_field(
    api: FlaskClient, store: Store, body: dict[str, Any], field: str
) -> None:
    answer = api.post("/v1/user", json=body)
    assert answer.status_code == 422, answer.text
    error = answer.get_json()["errors"][0]
    assert error["field"] == field
    assert error["problem"]
    assert error["allowed"]
    assert len(store.list(keys.ACCOUNT).entries) == 1


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"used": {}}])
def test_a_change_of_nothing_or_of_what_stays_is_a_422(api: FlaskClient, body: dict[str, Any]) -> None:
    assert api.patch("/v1/user/admin", json=body).status_code == 422


def test_a_name_is_given_once(api: FlaskClient) -> None:
    assert api.post("/v1/user", json=BEN).status_code == 201
    again = api.post("/v1/user", json={**BEN, "is_admin": True})
    assert again.status_code == 409
    assert again.get_json()["type"] == "urn:ucloud:problem:name-taken"
    assert not api.get("/v1/user/ben").get_json()["is_admin"]


def test_a_user_is_made_once_however_often_it_is_asked_for_with_one_key(api: FlaskClient) -> None:
    key = {"Idempotency-Key": "a-user"}
    first = api.post("/v1/user", json=BEN, headers=key)
    again = api.post("/v1/user", json=BEN, headers=key)
    assert (again.status_code, again.data) == (201, first.data)
    assert [again.headers[name] for name in ("ETag", "Location")] == [first.headers["ETag"], "/v1/user/ben"]
    assert api.post("/v1/user", json={"name": "cleo"}, headers=key).status_code == 409


def test_a_stale_change_is_a_412_and_changes_nothing(api: FlaskClient) -> None:
    etag = api.post("/v1/user", json=BEN).headers["ETag"]
    api.patch("/v1/user/ben", json={"quota": None})
    for stale in (etag, '"x"', "nonsense", f"W/{etag}"):
        assert api.patch("/v1/user/ben", json={"enabled": False}, headers={"If-Match": stale}).status_code == 412
        assert api.delete("/v1/user/ben", headers={"If-Match": stale}).status_code == 412
    assert api.get("/v1/user/ben").get_json()["enabled"]
    assert api.delete("/v1/user/ben", headers={"If-Match": "*"}).status_code == 204


@pytest.mark.parametrize("change", [{"enabled": False}, {"realm": "elsewhere"}])
def test_who_is_disabled_or_of_another_realm_is_logged_out_for_good(
    api: FlaskClient, ann: FlaskClient, store: Store, change: dict[str, Any]
) -> None:
    before = {"enabled": True, "realm": "ucloud"}
    assert ann.get("/v1/user/ann").status_code == 200
    assert api.patch("/v1/user/ann", json=change).status_code == 200
    assert ann.get("/v1/user/ann").status_code == 401
    assert len(store.list(keys.SESSION).entries) == 1, "the admin's own stays"
    api.patch("/v1/user/ann", json=before)
    assert ann.get("/v1/user/ann").status_code == 401


def test_an_admin_who_is_none_any_more_acts_as_a_user_at_once(
    api: FlaskClient, nobody: FlaskClient, world: World
) -> None:
    world.add_account("boss", is_admin=True)
    token = world.log_in("boss")
    assert len(nobody.get("/v1/user", headers=bearer(token)).get_json()["items"]) == 2
    api.patch("/v1/user/boss", json={"is_admin": False})
    assert nobody.post("/v1/user", json=BEN, headers=bearer(token)).status_code == 403


def test_a_user_who_owns_something_is_not_deleted(
    api: FlaskClient, ann: FlaskClient, world: World, store: Store
) -> None:
    request = charge_vm(store, world, "ann")
    refused = api.delete("/v1/user/ann")
    assert refused.status_code == 409
    assert refused.get_json()["type"] == "urn:ucloud:problem:owns-things"
    assert "vm: 1" in refused.get_json()["detail"]
    assert ann.get("/v1/user/ann").status_code == 200
    world.forget(request.uuid)
    assert api.delete("/v1/user/ann").status_code == 204
    assert ann.get("/v1/user/ann").status_code == 401


def test_the_last_enabled_admin_stays(api: FlaskClient, world: World) -> None:
    world.put(
        keys.account("asleep"),
        Account(name="asleep", realm="ucloud", is_admin=True, enabled=False, created_at=datetime.now(UTC)),
    )
    for answer in (
        api.patch("/v1/user/admin", json={"enabled": False}),
        api.patch("/v1/user/admin", json={"is_admin": False}),
        api.delete("/v1/user/admin"),
    ):
        assert answer.status_code == 409
        assert answer.get_json()["type"] == "urn:ucloud:problem:last-admin"
    assert api.patch("/v1/user/admin", json={"quota": {"vms": 1}}).status_code == 200
    api.patch("/v1/user/asleep", json={"enabled": True})
    assert api.delete("/v1/user/admin").status_code == 204


@pytest.mark.parametrize("round_", range(5))
def test_of_admins_who_remove_one_another_at_once_one_stays(
    nobody: FlaskClient, world: World, store: Store, round_: int
) -> None:
    admins = [f"boss{number}" for number in range(4)]
    for name in admins:
        world.add_account(name, is_admin=True)
    headers = {name: bearer(world.log_in(name)) for name in admins}

    def take_away(number: int) -> None:
        target = admins[(number + 1) % len(admins)]
        client = nobody.application.test_client()
        if (number + round_) % 2:
            client.delete(f"/v1/user/{target}", headers=headers[admins[number]])
        else:
            client.patch(f"/v1/user/{target}", json={"is_admin": False}, headers=headers[admins[number]])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take_away, range(4)))
    accounts = [Account.read(entry.key, entry.value) for entry in store.list(keys.ACCOUNT).entries]
    assert any(account.is_admin and account.enabled for account in accounts)


def test_a_quota_below_what_is_used_is_allowed_and_shown(
    api: FlaskClient, ann: FlaskClient, world: World, store: Store
) -> None:
    charge_vm(store, world, "ann")
    user = api.patch("/v1/user/ann", json={"quota": {"vms": 0}}).get_json()
    assert (user["quota"]["vms"], user["used"]["vms"]) == (0, 1)
    assert account_of(store, "ann").quota == Quota(
        vms=0, cpu=20, ram_mib=64 * 1024, ssd_mib=500 * 1024, hdd_mib=2000 * 1024
    )

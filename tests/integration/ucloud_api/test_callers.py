"""Whose things are whose: others' do not exist, what is public is seen, hosts are for admins."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from tests.integration.ucloud_api.world import NOBODY, World, bearer

SPECS = {"cpu": 1, "ram": 1, "ssd": 4}


class Caller:
    """Somebody with a session."""

    def __init__(self, client: FlaskClient, world: World, name: str, is_admin: bool = False) -> None:
        world.add_account(name, is_admin=is_admin)
        self._client = client
        self._headers = bearer(world.log_in(name))

    def __call__(self, method: str, path: str, json: Any = None) -> Any:
        options = {} if json is None else {"json": json}
        return self._client.open(path, method=method, headers={**self._headers, "Cache-Control": "no-cache"}, **options)

    def names(self, path: str) -> list[str]:
        return [each["name"] for each in self("GET", path).get_json()["items"]]


@pytest.fixture
def ann(nobody: FlaskClient, world: World) -> Caller:
    return Caller(nobody, world, "ann")


@pytest.fixture
def bob(nobody: FlaskClient, world: World) -> Caller:
    return Caller(nobody, world, "bob")


@pytest.fixture
def admin(nobody: FlaskClient, world: World) -> Caller:
    return Caller(nobody, world, "admin", is_admin=True)


def test_anothers_vm_does_not_exist(ann: Caller, bob: Caller, admin: Caller, world: World) -> None:
    world.add_image()
    path = ann("POST", "/v1/vm", {"name": "hers", "specs": SPECS, "image": "debian"}).headers["Location"]
    nothing = f"/v1/vm/{NOBODY}"
    for method, below, body in (
        ("GET", "", None), ("GET", "?watch=1", None), ("GET", "/log", None), ("GET", "/screenshot", None),
        ("PATCH", "", {"name": "x"}), ("DELETE", "", None), ("POST", "/start", {}), ("POST", "/stop", {}),
        ("POST", "/suspend", {}), ("POST", "/resume", {}), ("POST", "/reboot", {}),
    ):  # fmt: skip
        hers, none = bob(method, path + below, body), bob(method, nothing + below, body)
        assert (hers.status_code, none.status_code) == (404, 404)
        assert hers.text == none.text.replace(NOBODY, path.rsplit("/", 1)[1])
    assert bob.names("/v1/vm") == bob.names("/v1/vm?owner=ann") == []
    assert ann.names("/v1/vm") == ann.names("/v1/vm?owner=ann") == ["hers"]
    assert admin.names("/v1/vm") == admin.names("/v1/vm?owner=ann") == ["hers"]
    assert admin.names("/v1/vm?owner=bob") == []
    assert admin("PATCH", path, {"name": "still-hers"}).get_json()["owner"] == "ann"
    assert bob("POST", "/v1/vm", {"name": "still-hers", "specs": SPECS, "image": "debian"}).status_code == 202


def test_only_admins_make_things_for_others(ann: Caller, bob: Caller, admin: Caller, world: World) -> None:
    world.add_image()
    vm = {"specs": SPECS, "image": "debian", "owner": "bob"}
    image = {"name": "x", "file": "f", "owner": "bob"}
    for path, body in (("/v1/vm", vm), ("/v1/image", image)):
        refused = ann("POST", path, body)
        assert (refused.status_code, refused.get_json()["errors"][0]["field"]) == (403, "owner")
        assert admin("POST", path, body).get_json()["owner"] == "bob"
        assert bob("POST", path, {**body, "name": "y"}).status_code == 202
        assert admin("POST", path, {**body, "owner": "zoe"}).status_code == 404


def test_images_are_seen_and_used_by_their_owner_and_public_ones_by_all(
    ann: Caller, bob: Caller, admin: Caller, world: World
) -> None:
    own, public = world.add_image("own", owner="ann"), world.add_image("public")
    assert (ann.names("/v1/image"), bob.names("/v1/image")) == (["own", "public"], ["public"])
    assert admin.names("/v1/image?owner=ann") == ["own"]
    assert bob("GET", f"/v1/image/{own}").status_code == 404
    for image in ("own", own):
        assert bob("POST", "/v1/vm", {"specs": SPECS, "image": image}).status_code == 404
        assert ann("POST", "/v1/vm", {"specs": SPECS, "image": image}).status_code == 202
    vm = bob("POST", "/v1/vm", {"specs": SPECS, "image": "public"}).get_json()
    assert (vm["image"], vm["image_name"]) == (public, "public")
    for method, body in (("PATCH", {"name": "mine"}), ("DELETE", None)):
        assert bob(method, f"/v1/image/{public}", body).status_code == 403
        assert bob(method, f"/v1/image/{own}", body).status_code == 404
    for refused in (
        ann("PATCH", f"/v1/image/{own}", {"public": True}),
        ann("POST", "/v1/image", {"name": "p", "file": "f", "public": True}),
    ):
        assert (refused.status_code, refused.get_json()["errors"][0]["field"]) == (403, "public")
    shared = admin("PATCH", f"/v1/image/{own}", {"public": True})
    assert (shared.status_code, shared.get_json()["public"], shared.get_json()["generation"]) == (202, True, 2)
    assert bob.names("/v1/image") == ["own", "public"]
    renamed = ann("PATCH", f"/v1/image/{own}", {"name": "ours"})
    assert (renamed.status_code, bob.names("/v1/image")) == (202, ["ours", "public"])
    assert ann("POST", "/v1/image", {"name": "own", "file": "f"}).status_code == 202, "the old name is free"
    assert ann("PATCH", f"/v1/image/{own}", {"name": "own"}).status_code == 409


def test_whoever_deletes_an_image_is_not_told_whose_vms_use_it(ann: Caller, bob: Caller, world: World) -> None:
    image = world.add_image("shared", owner="ann", public=True)
    his = bob("POST", "/v1/vm", {"specs": SPECS, "image": image}).get_json()["uuid"]
    hers = ann("POST", "/v1/vm", {"specs": SPECS, "image": image}).get_json()["uuid"]
    refused = ann("DELETE", f"/v1/image/{image}")
    assert refused.status_code == 409
    assert hers in refused.text
    assert his not in refused.text
    assert "1 of others" in refused.text


def test_hosts_are_for_admins(ann: Caller, admin: Caller, world: World) -> None:
    world.add_host()
    for method, path, body in (
        ("GET", "/v1/host", None),
        ("GET", "/v1/host/h1", None),
        ("GET", "/v1/host/h9", None),
        ("PATCH", "/v1/host/h1", {"state": "disabled"}),
    ):
        refused = ann(method, path, body)
        assert (refused.status_code, refused.get_json()["type"]) == (403, "urn:ucloud:problem:admins-only")
    assert admin.names("/v1/host") == ["h1"]


def test_a_vm_whose_record_is_broken_is_a_problem_to_its_owner_and_nothing_to_others(
    ann: Caller, bob: Caller, admin: Caller, world: World
) -> None:
    world.add_image()
    vm = ann("POST", "/v1/vm", {"name": "hers", "specs": SPECS, "image": "debian"}).get_json()
    world.put(keys.vm(vm["uuid"]), b'{"owner": 1}')
    path = f"/v1/vm/{vm['uuid']}"
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        for caller in (ann, admin):
            broken = caller(method, path, body)
            assert (broken.status_code, broken.get_json()["type"]) == (409, "urn:ucloud:problem:malformed-record")
        assert bob(method, path, body).status_code == 404
    assert bob.names("/v1/vm") == []
    assert ann("GET", "/v1/vm").status_code == 200


def test_vms_are_filtered(ann: Caller, admin: Caller, world: World) -> None:
    image = world.add_image()
    world.add_host()
    uuids = [
        ann("POST", "/v1/vm", {"name": name, "specs": SPECS, "image": "debian"}).get_json()["uuid"]
        for name in ("a", "b", "c")
    ]
    world.run(uuids[0])
    ann("POST", f"/v1/vm/{uuids[1]}/stop", {})
    for caller in (ann, admin):
        assert caller.names("/v1/vm?host=h1") == caller.names("/v1/vm?status=RUNNING") == ["a"]
        assert caller.names("/v1/vm?requested=STOPPED") == ["b"]
        assert caller.names("/v1/vm?image=debian") == caller.names(f"/v1/vm?image={image}") == ["a", "b", "c"]
        assert caller.names("/v1/vm?image=other") == caller.names("/v1/vm?host=h2") == []
        assert caller.names("/v1/vm?requested=RUNNING&limit=1") == ["a"]

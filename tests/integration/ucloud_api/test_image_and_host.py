"""Images and hosts over HTTP."""

from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.host import HostRequest, HostState, StoreCapacity
from common.schemas.image import ImageActual
from common.schemas.image_store import ImageStoreStatus
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World, bearer

DEADLINE_S = 30.0


def test_an_image_is_requested_shown_and_deleted(api: FlaskClient, world: World) -> None:
    world.add_account("ann")
    answer = api.post("/v1/image", json={"name": "debian", "file": "debian-12.qcow2", "owner": "ann"})
    assert answer.status_code == 202
    image = answer.get_json()
    assert answer.headers["Location"] == f"/v1/image/{image['uuid']}"
    assert (image["status"], image["requested"], image["virtual_size"]) == ("PENDING", "READY", 0)
    assert api.post("/v1/image", json={"name": "debian", "file": "other", "owner": "ann"}).status_code == 409
    world.set_image(image["uuid"], ImageActual.REJECTED, "it has a backing file")

    def rejected() -> bool:
        shown = api.get(f"/v1/image/{image['uuid']}").get_json()
        return (shown["status"], shown["reason"]) == ("REJECTED", "it has a backing file")

    wait_for("the reason", rejected, DEADLINE_S)
    for _ in range(2):
        deleted = api.delete(f"/v1/image/{image['uuid']}")
        assert (deleted.status_code, deleted.get_json()["status"]) == (202, "DELETING")
        assert deleted.get_json()["generation"] == 2


def test_an_image_goes_to_a_store_that_there_is(api: FlaskClient, world: World) -> None:
    body = {"name": "debian", "file": "debian-12.qcow2"}
    refused = api.post("/v1/image", json={**body, "store": "fast"})
    (error,) = refused.get_json()["errors"]
    assert (refused.status_code, error["field"], error["allowed"]) == (422, "store", ["default"])
    space = StoreCapacity(store_id="s", total_mib=4096, free_mib=1024)
    fast = ImageStoreStatus(name="fast", kind="rbd", ssd=space, images=3, since=datetime.now(UTC))
    world.put(keys.image_store_status("fast"), fast)
    image = api.post("/v1/image", json={**body, "store": "fast"}).get_json()
    assert image["store"] == "fast"
    world.set_image(image["uuid"], ImageActual.READY)
    vm = api.post("/v1/vm", json={"specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": image["uuid"]}).get_json()
    assert world.request_of(vm["uuid"]).image_store == "fast"
    (listed,) = api.get("/v1/image-store").get_json()["items"]
    assert (listed["name"], listed["kind"], listed["images"], listed["hosts"]) == ("fast", "rbd", 3, 0)
    assert listed["ssd"] == {"total": 4, "free": 1}


def test_how_large_a_store_is_is_for_admins(api: FlaskClient, world: World) -> None:
    space = StoreCapacity(store_id="s", total_mib=4096, free_mib=1024)
    world.put(
        keys.image_store_status("fast"), ImageStoreStatus(name="fast", kind="rbd", ssd=space, since=datetime.now(UTC))
    )
    world.add_account("ann")
    (listed,) = api.get("/v1/image-store", headers=bearer(world.log_in("ann"))).get_json()["items"]
    assert (listed["name"], listed["ssd"]) == ("fast", None)


def test_an_image_in_use_stays_and_its_users_are_named(api: FlaskClient, world: World) -> None:
    image = world.add_image()
    body = {"specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": image}
    vm = api.post("/v1/vm", json=body).get_json()
    refused = api.delete(f"/v1/image/{image}")
    assert refused.status_code == 409
    assert vm["uuid"] in refused.get_json()["detail"]
    world.forget(vm["uuid"])
    assert api.delete(f"/v1/image/{image}").status_code == 202
    late = api.post("/v1/vm", json=body)
    assert late.status_code == 409
    assert "DELETING" in late.get_json()["detail"]


def test_a_protected_image_stays_until_it_is_unprotected(api: FlaskClient, world: World) -> None:
    image = world.add_image()
    assert api.patch(f"/v1/image/{image}", json={"protected": True}).get_json()["protected"] is True
    refused = api.delete(f"/v1/image/{image}")
    assert refused.status_code == 409
    assert refused.get_json()["type"] == "urn:ucloud:problem:image-protected"
    assert api.get(f"/v1/image/{image}").get_json()["requested"] == "READY"
    api.patch(f"/v1/image/{image}", json={"protected": False})
    assert api.delete(f"/v1/image/{image}").status_code == 202


def test_a_vm_has_at_least_what_its_image_needs(api: FlaskClient, world: World) -> None:
    body = {"name": "d", "file": "d.qcow2", "min_ram": "768MiB", "min_disk": 6, "firmware": "UEFI", "public": True}
    made = api.post("/v1/image", json=body).get_json()
    assert (made["min_ram"], made["min_disk"], made["firmware"]) == ("768MiB", 6, "UEFI")
    world.set_image(made["uuid"], ImageActual.READY, size_mib=2048)
    for specs, field in (({"ram": "512MiB", "ssd": 6}, "specs.ram"), ({"ram": 1, "ssd": 5}, "specs.ssd")):
        refused = api.post("/v1/vm", json={"specs": {"cpu": 1, **specs}, "image": "d"})
        assert refused.status_code == 422
        (error,) = refused.get_json()["errors"]
        assert (error["field"], error["allowed"]) == (
            field,
            f"at least {'768 MiB' if field == 'specs.ram' else '6 GiB'}",
        )
    vm = api.post("/v1/vm", json={"specs": {"cpu": 1, "ram": 1, "ssd": 6}, "image": "d"}).get_json()
    world.add_host()
    world.run(vm["uuid"])
    path = f"/v1/vm/{vm['uuid']}"
    wait_for("it runs", lambda: api.get(path).get_json()["status"] == "RUNNING", DEADLINE_S)
    assert api.patch(path, json={"specs": {"ram": "512MiB"}}).status_code == 422
    assert api.patch(path, json={"specs": {"ram": "800MiB"}}).status_code == 202
    assert api.patch(f"/v1/image/{made['uuid']}", json={"min_ram": 2}).get_json()["min_ram"] == 2
    assert api.patch(path, json={"specs": {"cpu": 2}}).status_code == 202
    assert api.patch(f"/v1/image/{made['uuid']}", json={"firmware": "EFI"}).status_code == 422


def test_images_are_filtered(api: FlaskClient, world: World) -> None:
    world.add_image("a", owner="ann")
    world.set_image(world.add_image("b"), ImageActual.ERROR)

    def names(query: str) -> list[str]:
        return [each["name"] for each in api.get(f"/v1/image{query}").get_json()["items"]]

    wait_for("both", lambda: names("?status=READY") == ["a"] and names("?status=ERROR") == ["b"], DEADLINE_S)
    assert (names(""), names("?owner=ann"), names("?name=b"), names("?limit=1")) == (["a", "b"], ["a"], ["b"], ["a"])


def host(api: FlaskClient, name: str = "h1") -> dict[str, Any]:
    return dict(api.get(f"/v1/host/{name}").get_json())


def test_a_host_shows_what_it_has_and_what_is_ordered(api: FlaskClient, world: World) -> None:
    world.add_host()
    world.add_image()
    vm = api.post("/v1/vm", json={"specs": {"cpu": 2, "ram": "512MiB", "ssd": 4, "hdd": 8}, "image": "debian"})
    world.run(vm.get_json()["uuid"], Actual.RUNNING)

    def is_known() -> bool:
        shown = host(api)
        return bool(shown["capacity"]) and (shown["status"], shown["vms"]) == ("ALIVE", 1)

    wait_for("the host with its order", is_known, DEADLINE_S)
    assert host(api) == {
        "name": "h1",
        "state": "enabled",
        "status": "ALIVE",
        "verdict": None,
        "overcommit": {"cpu": 4.0, "ram": 1.0, "disk": 1.0},
        "labels": {},
        "tenants": [],
        "generation": 0,
        "capacity": {"cpu": 8, "ram": 16, "ssd": 100, "hdd": 0},
        "free": {"ssd": None, "hdd": None},
        "ordered": {"cpu": 2, "ram": "512MiB", "ssd": 4, "hdd": 8},
        "vms": 1,
        "addresses": ["fd00::1"],
        "hypervisor": "",
        "versions": {},
    }
    world.remove(keys.alive("h1"))
    wait_for("it SILENT", lambda: host(api)["status"] == "SILENT", DEADLINE_S)
    assert [each["name"] for each in api.get("/v1/host").get_json()["items"]] == ["h1"]


def test_the_admins_word_is_written_and_the_rest_of_it_stays(api: FlaskClient, world: World) -> None:
    world.add_host()
    drained = api.patch("/v1/host/h1", json={"state": "draining"})
    assert (drained.status_code, drained.get_json()["generation"]) == (200, 1)
    changed = api.patch("/v1/host/h1", json={"overcommit": {"cpu": 2}}).get_json()
    assert (changed["state"], changed["generation"]) == ("draining", 2)
    assert changed["overcommit"] == {"cpu": 2.0, "ram": 1.0, "disk": 1.0}
    assert api.patch("/v1/host/h1", json={"overcommit": {"cpu": 2}}).get_json()["generation"] == 2
    entry = world.store.get(keys.host("h1"))
    assert entry
    assert HostRequest.read(entry.key, entry.value).state is HostState.DRAINING


def test_there_is_no_word_on_a_host_that_never_registered(api: FlaskClient, world: World) -> None:
    answer = api.patch("/v1/host/h9", json={"state": "disabled"})
    assert answer.status_code == 404
    assert "registers itself" in answer.get_json()["detail"]
    assert world.store.get(keys.host("h9")) is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"state": "on"}, "state"),
        ({"state": None}, "body"),
        ({"overcommit": {"cpu": 0}}, "overcommit.cpu"),
        ({"overcommit": {"ram": "2"}}, "overcommit.ram"),
        ({"overcommit": {"gpu": 2}}, "overcommit.gpu"),
        ({"overcommit": 2}, "overcommit"),
        ({"status": "DEAD"}, "status"),
    ],
)
def test_a_malformed_word_is_refused(api: FlaskClient, world: World, body: dict[str, Any], field: str) -> None:
    world.add_host()
    answer = api.patch("/v1/host/h1", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]
    assert answer.get_json()["errors"][0]["allowed"]


SINCE = datetime(2026, 11, 21, 3, 0, 0, 123456, UTC)


def _silence(world: World, sentence: Sentence = Sentence.SILENT) -> None:
    world.add_host()
    world.remove(keys.alive("h1"))
    verdict = Verdict(host="h1", sentence=sentence, since=SINCE, boot_id="b", waits_for="manual")
    world.put(keys.verdict("h1"), verdict)


def test_the_death_of_a_silent_host_is_confirmed_for_that_silence(api: FlaskClient, world: World) -> None:
    _silence(world)
    wait_for("the verdict", lambda: host(api)["verdict"], DEADLINE_S)
    shown = host(api)
    assert (shown["status"], shown["verdict"]["waits_for"]) == ("SILENT", "manual")
    since = {"since": shown["verdict"]["since"]}
    answer = api.post("/v1/host/h1/confirm-dead", json=since)
    assert (answer.status_code, answer.get_json()["generation"]) == (202, 1)
    entry = world.store.get(keys.host("h1"))
    assert entry
    word = HostRequest.read(entry.key, entry.value).confirmed_dead
    assert word
    assert (word.boot_id, word.since, word.by) == ("b", SINCE, "admin")
    # Said twice is said once, and the admin's other words stay.
    assert api.post("/v1/host/h1/confirm-dead", json=since).get_json()["generation"] == 1
    assert api.patch("/v1/host/h1", json={"state": "disabled"}).get_json()["generation"] == 2
    entry = world.store.get(keys.host("h1"))
    assert entry
    assert HostRequest.read(entry.key, entry.value).confirmed_dead == word


def test_what_is_dead_already_needs_no_word(api: FlaskClient, world: World) -> None:
    _silence(world, Sentence.DEAD)
    answer = api.post("/v1/host/h1/confirm-dead", json={"since": SINCE.isoformat()})
    assert (answer.status_code, answer.get_json()["generation"]) == (202, 1)


@pytest.mark.parametrize(
    ("since", "status", "kind"),
    [
        ("2026-11-21T04:00:00Z", 409, "not-silent"),
        ("2026-11-21T03:00:00.123456", 422, "invalid-fields"),
        ("now", 422, "invalid-fields"),
    ],
)
def test_another_silence_is_not_confirmed(api: FlaskClient, world: World, since: str, status: int, kind: str) -> None:
    _silence(world)
    answer = api.post("/v1/host/h1/confirm-dead", json={"since": since})
    assert (answer.status_code, answer.get_json()["type"]) == (status, f"urn:ucloud:problem:{kind}")
    assert world.store.get(keys.host("h1")) is None


def test_a_host_that_is_alive_or_unknown_is_not_confirmed_dead(api: FlaskClient, world: World) -> None:
    world.add_host()
    body = {"since": SINCE.isoformat()}
    assert api.post("/v1/host/h1/confirm-dead", json=body).status_code == 409
    assert api.post("/v1/host/h9/confirm-dead", json=body).status_code == 404

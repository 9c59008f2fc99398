"""What may be said over HTTP of where VMs go."""

from flask.testing import FlaskClient

from common import keys
from common.schemas.host import HostRequest
from common.schemas.vm import Affinity, VmRequest
from tests.integration.ucloud_api.world import World, bearer

BODY = {"specs": {"cpu": 1, "ram": 1, "ssd": 10}, "image": "debian"}
SAID = {
    "ha": False,
    "priority": 90,
    "affinity": [{"group": "web", "apart": True, "hard": True}, {"group": "db", "apart": False, "hard": False}],
    "host_labels": {"disk": "nvme"},
}


def _request(world: World, uuid: str) -> VmRequest:
    entry = world.store.get(keys.vm(uuid))
    assert entry
    return VmRequest.read(entry.key, entry.value)


def test_a_vm_is_made_with_what_is_said_and_changed(api: FlaskClient, world: World) -> None:
    world.add_image()
    vm = api.post("/v1/vm", json={**BODY, **SAID}).get_json()
    assert {field: vm[field] for field in SAID} == SAID
    request = _request(world, vm["uuid"])
    assert request.affinity == (Affinity(group="web", hard=True), Affinity(group="db", apart=False))
    assert (request.ha, request.priority, request.host_labels) == (False, 90, {"disk": "nvme"})

    path = f"/v1/vm/{vm['uuid']}"
    changed = api.patch(path, json={"ha": True, "affinity": [], "host_labels": {}}).get_json()
    assert {field: changed[field] for field in SAID} == {
        "ha": True,
        "priority": 90,
        "affinity": [],
        "host_labels": {},
    }
    assert changed["generation"] == 2
    assert api.patch(path, json={"ha": True, "affinity": []}).get_json()["generation"] == 2
    refused = api.patch(path, json={"affinity": [{"group": "Web!", "apart": True}]})
    assert refused.status_code == 422
    assert refused.get_json()["errors"][0]["field"] == "affinity.0.group"


def test_a_priority_above_the_usual_one_is_an_admins_to_give(api: FlaskClient, world: World) -> None:
    world.add_account("ann")
    world.add_image(owner="ann")
    ann = bearer(world.log_in("ann"))
    refused = api.post("/v1/vm", json={**BODY, "priority": 51}, headers=ann)
    assert refused.status_code == 403
    (error,) = refused.get_json()["errors"]
    assert (error["field"], error["allowed"]) == ("priority", "0 to 50")
    vm = api.post("/v1/vm", json={**BODY, "priority": 50}, headers=ann).get_json()
    path = f"/v1/vm/{vm['uuid']}"
    assert api.patch(path, json={"priority": 99}, headers=ann).status_code == 403
    assert api.patch(path, json={"priority": 10}, headers=ann).get_json()["priority"] == 10
    assert api.patch(path, json={"priority": 99}).get_json()["priority"] == 99


def test_a_host_is_labelled_and_kept_for_tenants(api: FlaskClient, world: World) -> None:
    world.add_host("h1")
    body = {"labels": {"disk": "nvme", "rack": "4"}, "tenants": ["bob", "ann", "bob"]}
    host = api.patch("/v1/host/h1", json=body).get_json()
    assert (host["labels"], host["tenants"]) == ({"disk": "nvme", "rack": "4"}, ["ann", "bob"])
    host = api.patch("/v1/host/h1", json={"labels": {"rack": None, "row": "2"}}).get_json()
    assert (host["labels"], host["tenants"]) == ({"disk": "nvme", "row": "2"}, ["ann", "bob"])
    assert api.patch("/v1/host/h1", json={"tenants": []}).get_json()["tenants"] == []
    entry = world.store.get(keys.host("h1"))
    assert entry
    assert HostRequest.read(entry.key, entry.value).labels == {"disk": "nvme", "row": "2"}
    assert api.patch("/v1/host/h1", json={"labels": {"Rack": "1"}}).status_code == 422
    assert api.patch("/v1/host/h1", json={}).status_code == 422

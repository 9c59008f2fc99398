"""Why a VM is as it is, asked of the API."""

from flask.testing import FlaskClient

from common import keys
from common.schemas.vm import Actual
from tests.integration.ucloud_api.world import World, bearer

BODY = {"name": "web", "image": "debian", "specs": {"cpu": 1, "ram": 1, "ssd": 2}}
FRESH = {"Cache-Control": "no-cache"}


def test_it_says_where_a_vm_is_and_what_it_waits_for(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    world.add_account("alice")
    alice = bearer(world.log_in("alice"))
    vm = api.post("/v1/vm", json=BODY, headers=alice).get_json()["uuid"]
    told = api.get(f"/v1/vm/{vm}/why", headers={**alice, **FRESH}).get_json()
    assert (told["status"], told["placements"]) == ("PENDING", [])
    assert told["waits_for"] == ["the scheduler has not looked at it yet"]
    world.run(vm, Actual.STARTING)
    told = api.get(f"/v1/vm/{vm}/why", headers={**alice, **FRESH}).get_json()
    assert [each["host"] for each in told["placements"]] == ["h1"]
    assert told["waits_for"] == ["host h1 is at it"]
    world.remove(keys.alive("h1"))
    told = api.get(f"/v1/vm/{vm}/why", headers=FRESH).get_json()
    assert told["placements"][0]["host_state"] == "SILENT"
    assert told["lines"][0].startswith("web is UNKNOWN")


def test_others_are_told_nothing(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_account("bob")
    vm = api.post("/v1/vm", json=BODY).get_json()["uuid"]
    assert api.get(f"/v1/vm/{vm}/why", headers=bearer(world.log_in("bob"))).status_code == 404

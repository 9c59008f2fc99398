"""Moves over HTTP: what is asked for, refused, and shown of moves, drains and the balance."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.cloud import CloudStatus, Drain, PlannedMove, Rebalance
from common.schemas.host import HostRequest
from common.schemas.vm import Actual, Cause, Leaving, MoveReport, MoveState, MoveWish, Placement, Tried, VmStatus
from tests.integration.ucloud_api.world import NOBODY, World, bearer

FRESH = {"Cache-Control": "no-cache"}
BODY: dict[str, Any] = {"name": "web", "specs": {"cpu": 2, "ram": 1, "ssd": 10}, "image": "debian"}


@pytest.fixture
def vm(api: FlaskClient, world: World) -> str:
    """The uuid of a VM that runs on h1; there is h2, too."""
    world.add_image()
    for name in ("h1", "h2"):
        world.add_host(name)
    uuid = str(api.post("/v1/vm", json=BODY).get_json()["uuid"])
    world.run(uuid)
    return uuid


def _change_order(world: World, uuid: str, **changes: object) -> Placement:
    entry = world.store.get(keys.placement("h1", uuid))
    assert entry
    order = Placement.read(entry.key, entry.value).model_copy(update=changes)
    world.put(entry.key, order)
    return order


def _show(api: FlaskClient, uuid: str) -> Any:
    return api.get(f"/v1/vm/{uuid}", headers=FRESH).get_json()


def test_each_wish_to_move_is_counted(api: FlaskClient, world: World, vm: str) -> None:
    assert _show(api, vm)["move"] is None
    answer = api.post(f"/v1/vm/{vm}/migrate", json={"to": "h2"}, headers=FRESH)
    assert answer.status_code == 202, answer.text
    assert world.request_of(vm).move == MoveWish(number=1, to="h2")
    assert answer.get_json()["move"]["wish"] == 1
    assert api.post(f"/v1/vm/{vm}/migrate", headers=FRESH).status_code == 202
    assert world.request_of(vm).move == MoveWish(number=2)
    assert api.post(f"/v1/vm/{vm}/migrate", json={"cold": True}).status_code == 202
    assert world.request_of(vm).move == MoveWish(number=3, cold=True)
    for _ in range(2):
        assert api.delete(f"/v1/vm/{vm}/migrate", headers=FRESH).status_code == 202
        assert world.request_of(vm).move == MoveWish(number=4, cancelled=True)
    _change_order(world, vm, moved=4)
    assert api.delete(f"/v1/vm/{vm}/migrate", headers=FRESH).status_code == 202
    assert world.request_of(vm).move == MoveWish(number=4, cancelled=True), "there is nothing to cancel"


def test_what_can_not_be_wished_is_refused(api: FlaskClient, world: World, vm: str) -> None:
    unknown = api.post(f"/v1/vm/{vm}/migrate", json={"to": "h9"}, headers=FRESH)
    assert unknown.status_code == 422
    assert unknown.get_json()["errors"] == [{"field": "to", "problem": "is no host", "allowed": ["h1", "h2"]}]
    assert api.post(f"/v1/vm/{vm}/migrate", json={"to": "h1"}, headers=FRESH).status_code == 409
    assert api.post(f"/v1/vm/{NOBODY}/migrate").status_code == 404
    leaving = Leaving(to="h2", epoch=2, live=True)
    _change_order(world, vm, leaving=leaving)
    assert "h2" in api.post(f"/v1/vm/{vm}/migrate", headers=FRESH).get_json()["detail"]
    other = api.post("/v1/vm", json={**BODY, "name": "unplaced"}).get_json()["uuid"]
    assert api.post(f"/v1/vm/{other}/migrate", headers=FRESH).status_code == 409
    world.add_account("alice")
    alice = {**FRESH, **bearer(world.log_in("alice"))}
    for method, path in (
        ("POST", f"/v1/vm/{vm}/migrate"),
        ("DELETE", f"/v1/vm/{vm}/migrate"),
        ("GET", "/v1/host/h1/drain"),
        ("GET", "/v1/rebalance"),
    ):
        assert api.open(path, method=method, headers=alice).status_code == 403
    api.delete(f"/v1/vm/{vm}")
    assert api.post(f"/v1/vm/{vm}/migrate", headers=FRESH).status_code == 409


def test_a_move_is_shown_with_the_vm_and_the_drain(api: FlaskClient, world: World, vm: str) -> None:
    leaving = Leaving(to="h2", epoch=2, live=True, uri="x")
    order = _change_order(world, vm, leaving=leaving)
    report = MoveReport(epoch=2, state=MoveState.RUNNING, percent=40)
    status = VmStatus(epoch=1, generation=1, actual=Actual.MIGRATING, since=order.placed_at, move=report)
    world.put(keys.vm_status("h1", vm), status)
    expected = {"wish": 0, "dealt_with": 0, "to": "h2", "live": True, "percent": 40, "failure": ""}
    assert _show(api, vm)["move"] == expected
    drain = api.get("/v1/host/h1/drain", headers=FRESH).get_json()
    draining = {"uuid": vm, "name": "web", "owner": "admin", "to": "h2", "percent": 40, "reason": ""}
    assert drain == {"host": "h1", "is_draining": False, "cold": False, "vms": [draining]}

    tried = Tried(at=order.placed_at, cause=Cause.DRAIN, to="h2", reason="the wire broke")
    _change_order(world, vm, leaving=None, tried=tried)
    assert _show(api, vm)["move"] == {**expected, "to": None, "live": False, "percent": 0, "failure": "the wire broke"}
    told = CloudStatus(drains={"h1": Drain(left=1, moving=0, stuck={vm: "no host will do"})})
    world.put(keys.STATUS_CLOUD, told)
    answer = api.patch("/v1/host/h1", json={"state": "draining", "drain_cold": True}, headers=FRESH)
    assert answer.get_json()["state"] == "draining"
    drain = api.get("/v1/host/h1/drain", headers=FRESH).get_json()
    assert (drain["is_draining"], drain["cold"]) == (True, True)
    assert [each["reason"] for each in drain["vms"]] == ["no host will do"]
    assert api.get("/v1/host/h9/drain", headers=FRESH).status_code == 404


def test_that_guests_may_be_shut_down_is_said_for_one_drain(api: FlaskClient, world: World, vm: str) -> None:
    def cold() -> bool:
        entry = world.store.get(keys.host("h1"))
        assert entry
        return HostRequest.read(entry.key, entry.value).drain_cold

    api.patch("/v1/host/h1", json={"state": "draining", "drain_cold": True}, headers=FRESH)
    api.patch("/v1/host/h1", json={"overcommit": {"cpu": 2}}, headers=FRESH)
    assert cold()
    api.patch("/v1/host/h1", json={"state": "enabled"}, headers=FRESH)
    api.patch("/v1/host/h1", json={"state": "draining"}, headers=FRESH)
    assert not cold()


def test_the_planned_balance_is_shown(api: FlaskClient, world: World, vm: str) -> None:
    assert api.get("/v1/rebalance", headers=FRESH).status_code == 404
    planned = PlannedMove(vm=vm, source="h1", to="h2", why="host h1 is 90 % full")
    world.put(
        keys.STATUS_CLOUD,
        CloudStatus(rebalance=Rebalance(margin=0.2, is_on=False, left_this_hour=20, moves=(planned,))),
    )
    assert api.get("/v1/rebalance", headers=FRESH).get_json() == {
        "margin": 0.2,
        "is_on": False,
        "left_this_hour": 20,
        "moves": [{**planned.model_dump(), "name": "web", "owner": "admin"}],
    }

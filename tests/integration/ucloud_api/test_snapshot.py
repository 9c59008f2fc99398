"""Snapshots over HTTP: what is asked for and refused, what it costs, roll-backs, and images made from VMs."""

from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.image import ImageRequest
from common.schemas.snapshot import MOST_SNAPSHOTS, SnapshotActual, SnapshotReport
from common.schemas.user import Quota
from common.schemas.vm import Actual, VmStatus
from common.store import Store
from tests.integration.ucloud_api.world import NOBODY, World, bearer

SPECS = {"cpu": 1, "ram": 1, "ssd": 4, "hdd": 2}


@pytest.fixture(autouse=True)
def image(api: FlaskClient, nobody: FlaskClient, world: World) -> str:
    for client in (api, nobody):
        # What hosts say is written past the API.
        client.environ_base["HTTP_CACHE_CONTROL"] = "no-cache"
    world.add_host()
    return world.add_image()


@pytest.fixture
def vm(api: FlaskClient, world: World) -> str:
    """The uuid of a VM that runs."""
    made = api.post("/v1/vm", json={"name": "web", "specs": SPECS, "image": "debian"})
    assert made.status_code == 202, made.text
    uuid: str = made.get_json()["uuid"]
    world.run(uuid)
    return uuid


def say(
    world: World,
    uuid: str,
    snapshots: SnapshotActual = SnapshotActual.READY,
    actual: Actual = Actual.RUNNING,
    rolled_back: int = 0,
) -> None:
    """What the VM's host says of all its snapshots; it has taken notice of what was asked for."""
    request = world.request_of(uuid)
    now = datetime.now(UTC)
    is_there = snapshots is SnapshotActual.READY
    world.place(uuid)
    status = VmStatus(
        epoch=1,
        generation=request.generation,
        actual=actual,
        since=now,
        rolled_back=rolled_back,
        snapshots=tuple(
            SnapshotReport(
                id=each.id, actual=snapshots, taken_at=now if is_there else None, reason="" if is_there else "why"
            )
            for each in request.snapshots
        ),
    )
    world.put(keys.vm_status("h1", uuid), status)


def take(api: FlaskClient, uuid: str, name: str | None = "before", **options: Any) -> Any:
    return api.post(f"/v1/vm/{uuid}/snapshot", json={"name": name} if name else {}, **options)


def test_a_snapshot_from_its_wish_to_its_end(api: FlaskClient, world: World, vm: str) -> None:
    asked = take(api, vm)
    assert asked.status_code == 202, asked.text
    (shown,) = asked.get_json()["snapshots"]
    assert (shown["name"], shown["status"], shown["taken_at"]) == ("before", "PENDING", None)
    assert shown["disks"] == [{"serial": "root", "size": 4}, {"serial": "hdd", "size": 2}]
    say(world, vm, SnapshotActual.PENDING)
    say(world, vm)
    listed = api.get(f"/v1/vm/{vm}/snapshot").get_json()
    assert [(each["name"], each["status"]) for each in listed["items"]] == [("before", "READY")]
    assert listed["items"] == api.get(f"/v1/vm/{vm}").get_json()["snapshots"]
    made_up = take(api, vm, None).get_json()["snapshots"][1]
    assert made_up["name"] == f"snapshot-{made_up['id'][:8]}"
    for wanted in ("before", made_up["id"]):
        gone = api.delete(f"/v1/vm/{vm}/snapshot/{wanted}")
        assert gone.status_code == 202, gone.text
    assert gone.get_json()["snapshots"] == []
    told = [event["what"] for event in api.get(f"/v1/vm/{vm}/events").get_json()["items"]]
    assert any("snapshot before asked for" in what for what in told)
    assert any("snapshot before removed" in what for what in told)


def test_a_wish_that_is_repeated_is_one(api: FlaskClient, vm: str) -> None:
    answers = [take(api, vm, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].get_json() == answers[1].get_json()
    assert len(api.get(f"/v1/vm/{vm}").get_json()["snapshots"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"name": "before"}, 409, "is taken by snapshot"),
        ({"name": "Before"}, 422, "name"),
        ({"name": ""}, 422, "name"),
        ({"name": "x", "disks": []}, 422, "is unknown"),
    ],
)
def test_a_snapshot_that_is_refused(api: FlaskClient, vm: str, body: Any, status: int, words: str) -> None:
    take(api, vm)
    refused = api.post(f"/v1/vm/{vm}/snapshot", json=body)
    assert refused.status_code == status, refused.text
    assert words in refused.text
    assert len(api.get(f"/v1/vm/{vm}").get_json()["snapshots"]) == 1


def test_there_are_not_too_many(api: FlaskClient, vm: str) -> None:
    for number in range(MOST_SNAPSHOTS):
        assert take(api, vm, f"s{number}").status_code == 202
    refused = take(api, vm, "more")
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:too-many-snapshots")


def test_what_is_not_there_is_not_found(api: FlaskClient, vm: str) -> None:
    take(api, vm)
    for answer in (
        api.delete(f"/v1/vm/{vm}/snapshot/after"),
        api.post(f"/v1/vm/{vm}/snapshot/{NOBODY}/rollback"),
        api.get(f"/v1/vm/{NOBODY}/snapshot"),
        take(api, NOBODY),
    ):
        assert answer.status_code == 404, answer.text
    assert "there are: before" in api.delete(f"/v1/vm/{vm}/snapshot/after").get_json()["detail"]
    assert api.delete(f"/v1/vm/{vm}/snapshot/..").status_code in (404, 422)


def test_of_what_is_to_be_deleted_there_is_no_snapshot(api: FlaskClient, vm: str) -> None:
    api.delete(f"/v1/vm/{vm}")
    assert take(api, vm).status_code == 409


def test_a_snapshot_counts_in_the_quota_like_its_disks(api: FlaskClient, world: World, store: Store) -> None:
    world.add_account("ann", quota=Quota(vms=1, cpu=1, ram_mib=1024, ssd_mib=9 * 1024, hdd_mib=4 * 1024))
    as_ann = bearer(world.log_in("ann"))
    made = api.post("/v1/vm", json={"name": "w", "specs": SPECS, "image": "debian"}, headers=as_ann)
    uuid = made.get_json()["uuid"]
    world.run(uuid)
    assert take(api, uuid, "one", headers=as_ann).status_code == 202
    used = api.get("/v1/user/ann", headers=as_ann).get_json()["used"]
    assert (used["ssd"], used["hdd"], used["vms"]) == (8, 4, 1)
    refused = take(api, uuid, "two", headers=as_ann)
    assert refused.status_code == 403
    assert {each["field"] for each in refused.get_json()["errors"]} == {"specs.ssd", "specs.hdd"}
    # Nor is there room for a larger disk now.
    assert api.patch(f"/v1/vm/{uuid}", json={"specs": {"ssd": 6}}, headers=as_ann).status_code == 403
    api.delete(f"/v1/vm/{uuid}/snapshot/one", headers=as_ann)
    used = api.get("/v1/user/ann", headers=as_ann).get_json()["used"]
    assert (used["ssd"], used["hdd"]) == (4, 2)
    assert take(api, uuid, "two", headers=as_ann).status_code == 202
    world.forget(uuid)
    assert not store.list(keys.charges("ann")).entries


def test_a_disk_that_a_snapshot_is_of_stays(api: FlaskClient, vm: str) -> None:
    take(api, vm)
    refused = api.delete(f"/v1/vm/{vm}/disk/hdd")
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:disk-has-snapshots")
    assert "before" in refused.get_json()["detail"]
    api.delete(f"/v1/vm/{vm}/snapshot/before")
    assert api.delete(f"/v1/vm/{vm}/disk/hdd").status_code == 202


# --- roll-backs -------------------------------------------------------------------------------------------------------


def roll_back(api: FlaskClient, uuid: str, snapshot: str = "before") -> Any:
    return api.post(f"/v1/vm/{uuid}/snapshot/{snapshot}/rollback")


def stopped(api: FlaskClient, world: World, uuid: str) -> None:
    """It has a snapshot and is off, as its owner wants it to be."""
    take(api, uuid)
    api.post(f"/v1/vm/{uuid}/stop")
    say(world, uuid, actual=Actual.STOPPED)


def test_a_vm_that_is_off_is_rolled_back_as_often_as_asked(api: FlaskClient, world: World, vm: str) -> None:
    stopped(api, world, vm)
    asked = roll_back(api, vm)
    assert asked.status_code == 202, asked.text
    (snapshot,) = asked.get_json()["snapshots"]
    wish = {"number": 1, "snapshot": snapshot["id"], "name": "before", "pending": True}
    assert asked.get_json()["rollback"] == wish
    # While that is yet to be done, to ask again is the same wish.
    assert roll_back(api, vm).get_json()["rollback"] == wish
    assert world.request_of(vm).generation == asked.get_json()["generation"]
    kept = api.delete(f"/v1/vm/{vm}/snapshot/before")
    assert (kept.status_code, kept.get_json()["type"]) == (409, "urn:ucloud:problem:rollback-pending")
    say(world, vm, actual=Actual.STOPPED, rolled_back=1)
    assert api.get(f"/v1/vm/{vm}").get_json()["rollback"]["pending"] is False
    assert roll_back(api, vm).get_json()["rollback"]["number"] == 2
    say(world, vm, actual=Actual.STOPPED, rolled_back=2)
    assert api.delete(f"/v1/vm/{vm}/snapshot/before").status_code == 202
    # What it was called is still told, and it is no longer waited for.
    assert api.get(f"/v1/vm/{vm}").get_json()["rollback"]["name"] == "before"


def test_a_lost_snapshot_is_in_nobodys_way(api: FlaskClient, world: World, vm: str) -> None:
    stopped(api, world, vm)
    roll_back(api, vm)
    say(world, vm, SnapshotActual.LOST, actual=Actual.STOPPED)
    assert api.get(f"/v1/vm/{vm}").get_json()["rollback"]["pending"] is True
    gone = api.delete(f"/v1/vm/{vm}/snapshot/before")
    assert gone.status_code == 202, gone.text
    assert gone.get_json()["rollback"]["pending"] is False


@pytest.mark.parametrize(
    "actual", [Actual.RUNNING, Actual.SUSPENDED, Actual.STOPPING, Actual.STARTING, Actual.KILLED, Actual.ERROR]
)
def test_a_vm_that_is_not_off_is_not_rolled_back(api: FlaskClient, world: World, vm: str, actual: Actual) -> None:
    take(api, vm)
    say(world, vm, actual=actual)
    refused = roll_back(api, vm)
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:not-allowed-now")
    assert "stop it first" in refused.get_json()["detail"]
    assert world.request_of(vm).rollback is None


def test_a_vm_that_is_about_to_start_is_not_off(api: FlaskClient, world: World, vm: str) -> None:
    stopped(api, world, vm)
    api.post(f"/v1/vm/{vm}/start")
    assert roll_back(api, vm).status_code == 409


def test_a_guest_that_powered_itself_off_stays_off(api: FlaskClient, world: World, vm: str) -> None:
    take(api, vm)
    say(world, vm, actual=Actual.STOPPED)
    assert take(api, vm, "another").get_json()["requested"] == "STOPPED"
    say(world, vm, actual=Actual.STOPPED)
    answer = roll_back(api, vm).get_json()
    assert (answer["requested"], answer["rollback"]["pending"]) == ("STOPPED", True)


@pytest.mark.parametrize("actual", [SnapshotActual.PENDING, SnapshotActual.LOST])
def test_only_to_what_is_ready(api: FlaskClient, world: World, vm: str, actual: SnapshotActual) -> None:
    take(api, vm)
    api.post(f"/v1/vm/{vm}/stop")
    say(world, vm, actual, actual=Actual.STOPPED)
    refused = roll_back(api, vm)
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:snapshot-not-ready")
    assert f"is {actual}" in refused.get_json()["detail"]


def test_a_vm_whose_host_is_unknown_is_not_rolled_back(api: FlaskClient, world: World, vm: str) -> None:
    stopped(api, world, vm)
    world.remove(keys.vm_status("h1", vm))
    assert roll_back(api, vm).status_code == 409


# --- images -----------------------------------------------------------------------------------------------------------


def test_an_image_is_asked_for_from_a_snapshot(
    api: FlaskClient, world: World, vm: str, store: Store, image: str
) -> None:
    take(api, vm)
    say(world, vm)
    # Its guests are started as the VM's is, whatever is said of the image that this came from.
    assert api.patch(f"/v1/image/{image}", json={"firmware": "UEFI"}).status_code == 202
    for number, named in enumerate(({"vm": "web", "snapshot": "before"}, {"vm": vm, "snapshot": "before"})):
        made = api.post("/v1/image", json={"name": f"i{number}", **named})
        assert made.status_code == 202, made.text
        shown = made.get_json()
        (snapshot,) = world.request_of(vm).snapshots
        source = {"vm": vm, "snapshot": snapshot.id, "vm_name": "web", "name": "before"}
        assert (shown["file"], shown["source"], shown["min_disk"]) == (None, source, 4)
        assert (shown["firmware"], shown["store"]) == ("BIOS", "default")
        entry = store.get(keys.image(shown["uuid"]))
        assert entry
        assert ImageRequest.read(entry.key, entry.value).file is None
    said = {"min_disk": 9, "firmware": "UEFI"}
    larger = api.post("/v1/image", json={"name": "i9", "vm": vm, "snapshot": "before", **said}).get_json()
    assert (larger["min_disk"], larger["firmware"]) == (9, "UEFI")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"file": "f", "vm": "web", "snapshot": "before"}, 422),
        ({"vm": "web"}, 422),
        ({"snapshot": "before"}, 422),
        ({"file": "f", "snapshot": "before"}, 422),
        ({"vm": "db", "snapshot": "before"}, 404),
        ({"vm": NOBODY, "snapshot": "before"}, 404),
        ({"vm": "web", "snapshot": "after"}, 404),
        ({"vm": "web", "snapshot": "Before"}, 422),
    ],
)
def test_an_image_has_one_source(api: FlaskClient, world: World, vm: str, body: Any, status: int) -> None:
    take(api, vm)
    say(world, vm)
    answer = api.post("/v1/image", json={"name": "i", **body})
    assert answer.status_code == status, answer.text


def test_an_image_is_made_of_what_is_ready(api: FlaskClient, world: World, vm: str) -> None:
    take(api, vm)
    say(world, vm, SnapshotActual.PENDING)
    refused = api.post("/v1/image", json={"name": "i", "vm": "web", "snapshot": "before"})
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:snapshot-not-ready")


def test_who_may_change_a_vm_may_make_an_image_of_it(api: FlaskClient, world: World, nobody: FlaskClient) -> None:
    for name in ("ann", "bob", "eve"):
        world.add_account(name)
    assert api.post("/v1/project", json={"name": "web", "owner": "ann"}).status_code == 201
    reader = {"user": "bob", "role": "reader"}
    assert api.post("/v1/project/web/member", json=reader).status_code in (200, 201, 202)
    tokens = {name: bearer(world.log_in(name)) for name in ("ann", "bob", "eve")}
    body = {"name": "w", "specs": SPECS, "image": "debian", "owner": "project:web"}
    uuid = nobody.post("/v1/vm", json=body, headers=tokens["ann"]).get_json()["uuid"]
    world.run(uuid)
    assert take(nobody, uuid, headers=tokens["bob"]).status_code == 403
    assert take(nobody, uuid, headers=tokens["eve"]).status_code == 404
    assert take(nobody, uuid, headers=tokens["ann"]).status_code == 202
    say(world, uuid)
    asked = {"name": "i", "vm": uuid, "snapshot": "before"}
    for name, status in (("bob", 403), ("eve", 404), ("ann", 202)):
        answer = nobody.post("/v1/image", json=asked, headers=tokens[name])
        assert answer.status_code == status, (name, answer.text)

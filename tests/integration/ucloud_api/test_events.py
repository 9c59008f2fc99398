"""What happened to things: who asked for what, who may read it, page by page and as it happens."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from common import keys
from common.events import event_id
from common.schemas.event import EventRecord
from common.schemas.vm import Actual
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.world import World, bearer

BODY = {"name": "web", "image": "debian", "specs": {"cpu": 1, "ram": 1, "ssd": 2}}


@pytest.fixture
def alice(api: FlaskClient, world: World) -> dict[str, str]:
    """The header of a user's session."""
    world.add_account("alice")
    return bearer(world.log_in("alice"))


def events_of(api: FlaskClient, path: str, **options: Any) -> list[dict[str, Any]]:
    answer = api.get(f"{path}/events", **options)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.get_json()["items"]
    return items


def know(api: FlaskClient, *hosts: str) -> None:
    """Return when the API knows these hosts."""
    for host in hosts:
        assert api.get(f"/v1/host/{host}", headers={"Cache-Control": "no-cache"}).status_code == 200


def tell(world: World, vm: str, reporter: str, what: str, age_s: float = 0, **fields: str) -> None:
    """Another daemon tells of an event."""
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    record = EventRecord(at=at, what=what, **fields)
    world.put(keys.event(reporter, "vm", vm, event_id(at)), record)


def test_who_asked_for_what_is_remembered(api: FlaskClient, world: World, alice: dict[str, str]) -> None:
    world.add_image()
    vm = api.post("/v1/vm", json=BODY, headers=alice).get_json()["uuid"]
    world.run(vm, Actual.RUNNING)
    assert api.post(f"/v1/vm/{vm}/stop", headers=alice).status_code == 202
    assert api.patch(f"/v1/vm/{vm}", json={"name": "web"}, headers=alice).status_code == 202  # changes nothing
    assert api.patch(f"/v1/vm/{vm}", json={"name": "www"}).status_code == 202
    events = events_of(api, f"/v1/vm/{vm}", headers=alice)
    assert [(event["by"], event["what"].split(":")[0]) for event in events] == [
        ("alice", "created"),
        ("alice", "asked to be stopped"),
        ("admin", "renamed from web to www"),
    ]
    assert {event["reporter"] for event in events} == {"-api"}


def test_images_hosts_and_users_have_theirs(api: FlaskClient, world: World, alice: dict[str, str]) -> None:
    world.add_host()
    body = {"name": "mine", "file": "mine.qcow2"}
    image = api.post("/v1/image", json=body, headers=alice).get_json()["uuid"]
    assert api.patch("/v1/host/h1", json={"state": "draining"}).status_code == 200
    assert api.post("/v1/user", json={"name": "carol"}).status_code == 201
    assert api.patch("/v1/user/carol", json={"enabled": False}).status_code == 200
    assert api.delete("/v1/user/carol").status_code == 204
    assert [each["what"] for each in events_of(api, f"/v1/image/{image}", headers=alice)] == [
        "created: mine from mine.qcow2"
    ]
    assert [each["what"] for each in events_of(api, "/v1/host/h1")] == ["state: enabled -> draining"]
    told = [each["what"] for each in events_of(api, "/v1/user/carol")]
    assert told == ["created: of the realm ucloud", "enabled: yes -> no", "deleted"]
    for path in ("/v1/host/h1/events", "/v1/user/carol/events"):
        assert api.get(path, headers=alice).status_code in (403, 404)


def test_all_reporters_in_the_order_of_time_and_secrets_for_admins(
    api: FlaskClient, world: World, alice: dict[str, str]
) -> None:
    world.add_image()
    for host in ("h1", "h2"):
        world.add_host(host)
    know(api, "h1", "h2")
    vm = api.post("/v1/vm", json=BODY, headers=alice).get_json()["uuid"]
    tell(world, vm, "h2", "third", owner="alice", admin_only="a disk of rack 7")
    tell(world, vm, "-scheduler", "first", age_s=20, owner="alice")
    tell(world, vm, "h1", "second", age_s=10, owner="alice")
    tell(world, vm, "h1", "", owner="alice", admin_only="only this")
    tell(world, vm, "h1", "of an orphan")
    seen = events_of(api, f"/v1/vm/{vm}", headers=alice)
    assert [each["what"] for each in seen][:2] == ["first", "second"]
    assert [each["what"] for each in seen][-1] == "third"
    assert {each["details"] for each in seen} == {""}
    assert {"a disk of rack 7", "only this"} <= {each["details"] for each in events_of(api, f"/v1/vm/{vm}")}
    assert "of an orphan" in [each["what"] for each in events_of(api, f"/v1/vm/{vm}")]


def test_nobody_reads_what_happened_to_others(api: FlaskClient, world: World, alice: dict[str, str]) -> None:
    world.add_image()
    vm = api.post("/v1/vm", json=BODY).get_json()["uuid"]
    public = api.get("/v1/image", headers={"Cache-Control": "no-cache"}).get_json()["items"][0]["uuid"]
    tell(world, public, "h1", "secret")
    assert api.get(f"/v1/vm/{vm}/events", headers=alice).status_code == 404
    assert api.get(f"/v1/vm/{uuid4()}/events", headers=alice).status_code == 404
    assert events_of(api, f"/v1/image/{public}", headers=alice) == []


def test_what_happened_to_a_vm_that_is_gone_can_still_be_read(
    api: FlaskClient, world: World, alice: dict[str, str]
) -> None:
    world.add_image()
    world.add_account("bob")
    vm = api.post("/v1/vm", json=BODY, headers=alice).get_json()["uuid"]
    assert api.delete(f"/v1/vm/{vm}", headers=alice).status_code == 202
    world.forget(vm)
    assert [each["what"] for each in events_of(api, f"/v1/vm/{vm}", headers=alice)][1] == "asked to be deleted"
    assert api.get(f"/v1/vm/{vm}/events", headers=bearer(world.log_in("bob"))).status_code == 404


def test_pages(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    know(api, "h1")
    vm = api.post("/v1/vm", json=BODY).get_json()["uuid"]
    for number in range(6):
        tell(world, vm, ("h1", "-scheduler")[number % 2], f"event {number}", age_s=60 - number)
    found: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"/v1/vm/{vm}/events?limit=3" + (f"&cursor={cursor}" if cursor else "")).get_json()
        assert len(page["items"]) <= 3
        found += [each["what"].split(":")[0] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [*(f"event {number}" for number in range(6)), "created"]


def test_a_stream_tells_of_each_event_once_and_resumes(served: DaemonProcess, world: World) -> None:
    client = Client.logged_in(served, world, "admin", is_admin=True)
    world.add_image()
    vm = client.post("/vm", json=BODY).json()["uuid"]
    stream = client.follow(f"/vm/{vm}/events?watch=1")
    assert stream.next().data["what"].startswith("created")
    tell(world, vm, "-scheduler", "STARTING")
    first = stream.next()
    assert first.data["what"] == "STARTING"
    stream.leave()
    tell(world, vm, "-scheduler", "RUNNING", age_s=5)  # by a clock that is behind
    again = client.follow(f"/vm/{vm}/events?watch=1", last_event_id=first.id)
    assert again.next().data["what"] == "RUNNING"
    client.patch(f"/vm/{vm}", json={"protected": True})
    assert again.next().data["what"] == "protected: no -> yes"
    again.leave()


def test_a_stream_ends_with_its_session(served: DaemonProcess, world: World) -> None:
    client = Client.logged_in(served, world, "admin", is_admin=True)
    stream = client.follow("/user/admin/events?watch=1")
    assert client.delete("/session").status_code == 204
    assert stream.ended()

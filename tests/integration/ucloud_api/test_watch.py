"""Streams of server-sent events, the program ucloud-api as it is deployed: two workers, many threads."""

import json
import os
import random
import signal
import threading
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import requests
from flask.testing import FlaskClient

from common import keys
from common.schemas.vm import Actual
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client, Event
from tests.integration.ucloud_api.world import World

DEADLINE_S = 15.0
BODY: dict[str, Any] = {"name": "web", "specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": "debian"}


@pytest.fixture
def admin(served: DaemonProcess, world: World) -> Client:
    """The program, asked by an admin; there is an image and a host."""
    world.add_image()
    world.add_host()
    return Client.logged_in(served, world, "admin", is_admin=True)


def create(client: Client, **changes: Any) -> str:
    answer = client.post("/vm", json={**BODY, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["uuid"])


def test_a_vm_is_followed_from_its_creation_to_its_end(admin: Client, world: World) -> None:
    uuid = create(admin)
    follower = admin.follow(f"/vm/{uuid}?watch=1")
    first = follower.next()
    assert (first.name, first.data["uuid"], first.data["status"]) == ("", uuid, "PENDING")
    world.place(uuid)
    assert follower.until(Actual.DEPLOYING)["hostname"] == "/v1/host/h1"
    world.report(uuid, Actual.RUNNING)
    assert follower.until(Actual.RUNNING)["addresses"] == ["2001:db8::1"]
    world.remove(keys.alive("h1"))
    assert follower.until(Actual.UNKNOWN)["reason"].startswith("host h1 is silent")
    world.forget(uuid)
    while (event := follower.next()).name != "deleted":
        pass
    assert event.data == {"uuid": uuid}
    assert follower.ended()


def test_every_worker_knows_at_once_what_one_of_them_wrote(admin: Client) -> None:
    for number in range(20):
        uuid = create(admin, name=f"v{number}")
        for _ in range(4):  # new connections, so that both workers are asked
            assert admin.get(f"/vm/{uuid}").json()["name"] == f"v{number}"
            assert f"v{number}" in [each["name"] for each in admin.get("/vm").json()["items"]]
            assert [each["uuid"] for each in admin.get(f"/vm?name=v{number}").json()["items"]] == [uuid]
        changed = admin.patch(f"/vm/{uuid}", json={"requested": "STOPPED"})
        assert changed.json()["generation"] == 2
        assert admin.get(f"/vm/{uuid}").json()["requested"] == "STOPPED"


def test_lists_of_images_and_hosts_show_what_any_worker_wrote(admin: Client, world: World) -> None:
    for number in range(10):
        name = f"i{number}"
        path = admin.post("/image", json={"name": name, "file": "f"}).headers["Location"].removeprefix("/v1")
        for _ in range(4):
            assert name in [each["name"] for each in admin.get("/image").json()["items"]]
        admin.patch(path, json={"name": f"{name}-renamed"})
        for _ in range(4):
            assert f"{name}-renamed" in [each["name"] for each in admin.get("/image").json()["items"]]
        state = ("draining", "enabled")[number % 2]
        assert admin.patch("/host/h1", json={"state": state}, headers={"Cache-Control": "no-cache"}).status_code == 200
        for _ in range(4):
            assert [each["state"] for each in admin.get("/host").json()["items"]] == [state]


def test_no_cache_shows_what_was_written_through_other_machines(admin: Client, world: World) -> None:
    fresh = {"Cache-Control": "no-cache"}
    for number in range(3):
        world.add_image(f"other-{number}")
        assert f"other-{number}" in admin.get("/image", headers=fresh).text
        uuid = create(admin, name=f"v{number}")
        world.report(uuid, Actual.PENDING, host="-", epoch=0, reason="no room")
        assert admin.get(f"/vm/{uuid}", headers=fresh).json()["reason"] == "no room"
        world.forget(uuid)
        assert admin.get(f"/vm/{uuid}", headers=fresh).status_code == 404


def test_all_vms_are_followed(admin: Client, world: World) -> None:
    first = create(admin, name="first")
    follower = admin.follow("/vm?watch=1")
    assert follower.next().data["uuid"] == first
    second = create(admin, name="second")
    assert follower.next().data["uuid"] == second
    world.run(second)
    assert follower.until(Actual.RUNNING)["uuid"] == second
    world.forget(first)
    assert follower.next() == Event("deleted", {"uuid": first}, ANY)


def test_an_image_is_followed(admin: Client, world: World) -> None:
    image = admin.post("/image", json={"name": "new", "file": "f"}).json()
    follower = admin.follow(f"/image/{image['uuid']}?watch=1")
    assert follower.next().data["status"] == "PENDING"
    world.remove(keys.image(image["uuid"]))
    assert follower.next() == Event("deleted", {"uuid": image["uuid"]}, ANY)
    assert follower.ended()


def await_memory(client: Client) -> None:
    """Wait until both workers remember what happens from now on."""

    def is_told_nothing() -> bool:
        with client.get("/vm?watch=1", stream=True) as reply:
            lines = reply.iter_lines(decode_unicode=True, chunk_size=1)
            now = next(line.removeprefix("id: ") for line in lines if line.startswith("id: "))
        for _ in range(8):
            with client.get("/vm?watch=1", headers={"Last-Event-ID": now}, stream=True) as reply:
                if next(reply.iter_lines(decode_unicode=True, chunk_size=1)).startswith("event: reset"):
                    return False
        return True

    wait_for("both workers to remember", is_told_nothing, DEADLINE_S)


def test_a_stream_goes_on_where_it_was_cut_off_at_whichever_worker(admin: Client, world: World) -> None:
    await_memory(admin)
    first, second, third = (create(admin, name=name) for name in ("first", "second", "third"))
    follower = admin.follow("/vm?watch=1")
    told = [follower.next() for _ in range(3)]
    assert [event.data["uuid"] for event in told] == [first, second, third]
    assert [bool(event.id) for event in told] == [False, False, True]
    follower.leave()
    world.run(second)
    world.forget(first)
    for _ in range(6):  # new connections, so that both workers are asked
        again = admin.follow("/vm?watch=1", told[-1].id)
        known = {event.data["uuid"]: event.data for event in told}
        while first in known or known.get(second, told[1].data)["status"] != "RUNNING":
            take_in(known, again.next())
        again.leave()


def take_in(known: dict[str, Any], event: Event) -> None:
    """What a client makes of an event."""
    match event.name:
        case "deleted":
            known.pop(event.data["uuid"], None)
        case "reset":
            known.clear()
        case _:
            known[event.data["uuid"]] = event.data


def test_what_was_told_before_the_cut_is_told_to_be_gone_after_it(admin: Client, world: World) -> None:
    await_memory(admin)
    first, second = create(admin, name="first"), create(admin, name="second")
    follower = admin.follow("/vm?watch=1")
    last_id = [follower.next(), follower.next()][-1].id
    follower.leave()
    for _ in range(4):
        again = admin.follow("/vm?watch=1", last_id)
        if again.next().name != "reset":
            break
        again.leave()
    world.forget(second)
    while again.next() != Event("deleted", {"uuid": second}, ANY):
        pass
    world.forget(first)
    while again.next() != Event("deleted", {"uuid": first}, ANY):
        pass


@pytest.mark.parametrize("last_event_id", ["1", "999999999", "x"])
def test_a_past_that_nobody_remembers_is_reset(admin: Client, last_event_id: str) -> None:
    uuid = create(admin)
    for path in ("/vm?watch=1", f"/vm/{uuid}?watch=1"):
        follower = admin.follow(path, last_event_id)
        assert (follower.next().name, follower.next().data["uuid"]) == ("reset", uuid)


def test_a_client_that_is_cut_off_all_the_time_misses_nothing(admin: Client, world: World) -> None:
    """Writes race a client that follows a random worker for a moment, again and again, and goes on from its last id."""
    uuids = [create(admin, name=f"v{number}") for number in range(8)]
    known: dict[str, Any] = {}
    last_id, is_over = "", threading.Event()
    dice = random.Random(7)  # noqa: S311

    def write() -> None:
        for number in range(150):
            uuid = uuids[number % 7]
            if number % 7 == 6:
                if world.store.get(keys.vm(uuid)):
                    world.forget(uuid)
                    uuids[6] = create(admin, name="v6")
            else:
                world.report(uuid, Actual.PENDING, host="-", epoch=0, reason=f"try {number}")
        is_over.set()

    writer = threading.Thread(target=write)
    writer.start()
    rounds_after = 0
    while rounds_after < 4:
        rounds_after += is_over.is_set()
        headers = {"Last-Event-ID": last_id} if last_id else {}
        with admin.get("/vm?watch=1", headers=headers, stream=True, timeout=(5, 2)) as reply:
            size = 0
            wanted = dice.randrange(200, 6000) if rounds_after == 0 else 1_000_000
            last_id = follow_until(reply, known, last_id, wanted) if size < wanted else last_id
    writer.join()
    there = {each["uuid"]: each for each in admin.get("/vm").json()["items"]}
    assert set(known) == set(there)
    assert {uuid: vm["reason"] for uuid, vm in known.items()} == {uuid: vm["reason"] for uuid, vm in there.items()}


def follow_until(reply: Any, known: dict[str, Any], last_id: str, most_bytes: int) -> str:
    """Take in events until so many bytes came or a second of silence; returns the id to go on from."""
    rest, taken = b"", 0
    reply.raw._fp.fp.raw._sock.settimeout(1.5)
    try:
        for chunk in reply.iter_content(chunk_size=None):
            rest += chunk
            taken += len(chunk)
            *blocks, rest = rest.split(b"\n\n")
            for block in blocks:
                fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if not line.startswith(":"))
                last_id = fields.get("id", last_id)
                if "data" not in fields:
                    continue
                take_in(known, Event(fields.get("event", ""), json.loads(fields["data"])))
            if taken > most_bytes:
                break
    except requests.RequestException:
        pass
    return last_id


def test_a_user_hears_of_its_own_alone(admin: Client, served: DaemonProcess, world: World) -> None:
    ann, bob = (Client.logged_in(served, world, name) for name in ("ann", "bob"))
    his = create(bob, name="his")
    start = admin.follow("/vm?watch=1").next().id
    follower, resumed = ann.follow("/vm?watch=1"), ann.follow("/vm?watch=1", start)
    world.run(his)
    world.forget(his)
    hers = create(ann, name="hers")
    for each in (follower, resumed, ann.follow("/vm?watch=1", start)):
        assert each.news().data["uuid"] == hers
    assert ann.get(f"/vm/{his}?watch=1").status_code == 404


def test_a_stream_ends_when_its_session_does(admin: Client, served: DaemonProcess, world: World) -> None:
    ann = Client.logged_in(served, world, "ann")
    uuid = create(ann)
    expiring = Client(ann.url, world.log_in("ann", ttl_s=2))
    followers = [ann.follow(f"/vm/{uuid}?watch=1"), expiring.follow("/vm?watch=1")]
    for follower in followers:
        assert follower.next().data["uuid"] == uuid
    assert followers[1].ended()
    assert ann.delete("/session").status_code == 204
    assert followers[0].ended()
    assert ann.get("/vm").status_code == 401


def test_clients_that_leave_free_their_threads_at_once(admin: Client) -> None:
    """48 of 64 threads may be streams: ten times as many come and go within the time of one heartbeat."""
    uuid = create(admin)
    for _ in range(5):
        followers = [admin.follow(f"/vm/{uuid}?watch=1") for _ in range(48)]
        for follower in followers:
            follower.next()
            follower.leave()
    wait_for("room for one", lambda: admin.get("/vm?watch=1", stream=True).status_code == 200, DEADLINE_S)


def test_many_who_watch_leave_room_for_others_and_don_t_keep_it_from_ending(
    admin: Client, served: DaemonProcess
) -> None:
    uuid = create(admin)
    watching = [admin.follow(f"/vm/{uuid}?watch=1") for _ in range(40)]
    for follower in watching:
        assert follower.next().data["uuid"] == uuid
    assert admin.get(f"/vm/{uuid}").status_code == 200
    assert admin.patch(f"/vm/{uuid}", json={"requested": "STOPPED"}).status_code == 202
    for follower in watching:
        assert follower.next().data["requested"] == "STOPPED"
    assert served.end() == 0
    for follower in watching:
        assert follower.ended()
    served.start()
    served.wait_healthy()


def test_streams_are_limited_so_that_threads_are_left(api: FlaskClient, world: World) -> None:
    world.add_image()
    uuid = api.post("/v1/vm", json=BODY).get_json()["uuid"]
    streams = [api.get(f"/v1/vm/{uuid}?watch=1", buffered=False) for _ in range(3)]
    assert [stream.status_code for stream in streams] == [200] * 3
    refused = api.get(f"/v1/vm/{uuid}?watch=1")
    assert refused.status_code == 503
    assert refused.get_json()["type"] == "urn:ucloud:problem:too-many-streams"
    assert int(refused.headers["Retry-After"]) > 0
    streams[0].close()
    again = api.get(f"/v1/vm/{uuid}?watch=1", buffered=False)
    assert again.status_code == 200
    for stream in (*streams[1:], again):
        stream.close()


def test_requests_of_all_workers_are_counted(admin: Client, served: DaemonProcess) -> None:
    for _ in range(10):
        assert admin.get("/vm/x").status_code == 422
    text = requests.get(f"http://[::1]:{served.port}/metrics", timeout=20).text
    line = 'ucloud_http_requests_total{method="GET",route="/v1/vm/<uuid>",status="422"} 10.0'
    assert line in text.splitlines()


def test_a_body_that_is_too_large_is_refused_on_the_wire(admin: Client) -> None:
    answer = admin.post("/vm", data=b"x" * 10_000_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_it_describes_itself(served: DaemonProcess) -> None:
    document = requests.get(f"http://[::1]:{served.port}/openapi/openapi.json", timeout=20).json()
    assert document["openapi"] == "3.1.0"
    with_uuids = ("vm", "image", "network", "security-group")
    things = (
        *(f"/v1/{kind}/{{uuid}}" for kind in with_uuids),
        "/v1/host/{name}",
        "/v1/user/{name}",
        "/v1/project/{name}",
    )
    below_a_vm = ("log", "screenshot", "console", "start", "stop", "suspend", "resume", "reboot", "migrate", "why")
    assert set(document["paths"]) == {
        *(f"/v1/{each}" for each in ("session", *with_uuids, "host", "user", "project", "file", "rebalance", "doctor")),
        "/v1/image-store",
        *things,
        *("/v1/vm/{uuid}/port", "/v1/vm/{uuid}/port/{id}"),
        *("/v1/vm/{uuid}/disk", "/v1/vm/{uuid}/disk/{serial}"),
        *("/v1/vm/{uuid}/snapshot", "/v1/vm/{uuid}/snapshot/{snapshot}", "/v1/vm/{uuid}/snapshot/{snapshot}/rollback"),
        *("/v1/project/{name}/member", "/v1/project/{name}/member/{user}"),
        *("/v1/user/{name}/ssh-key", "/v1/user/{name}/ssh-key/{key_name}"),
        *(
            "/v1/user/{name}/session",
            "/v1/user/{name}/session/{id}",
            "/v1/user/{name}/logins",
            "/v1/user/{name}/lockout",
        ),
        *("/v1/file/{owner}/{name}", "/v1/file/{owner}/{name}/upload"),
        *(f"{thing}/events" for thing in things),
        *(f"/v1/vm/{{uuid}}/{each}" for each in below_a_vm),
        *(f"/v1/host/{{name}}/{each}" for each in ("drain", "confirm-dead")),
    }
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    login = document["paths"]["/v1/session"]["post"]
    assert (login["security"], login.get("parameters")) == ([], None)
    known = set(document["components"]["schemas"])
    wanted = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert wanted <= known
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            if operation is not login:
                assert operation["responses"]["401"]["headers"]["WWW-Authenticate"]
            for status, response in operation["responses"].items():
                problem = "application/problem+json" in response.get("content", {})
                assert problem == (int(status) >= 400)
    stop = document["paths"]["/v1/vm/{uuid}/stop"]["post"]
    assert {each["name"] for each in stop["parameters"]} == {"uuid", "Idempotency-Key", "If-Match"}
    assert stop["responses"]["202"]["headers"].keys() == {"ETag"}
    assert stop["responses"]["503"]["headers"].keys() == {"Retry-After"}
    vms = document["paths"]["/v1/vm"]
    assert set(vms["post"]["responses"]["202"]["headers"]) == {"ETag", "Location"}
    assert set(vms["get"]["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "Last-Event-ID" in {each["name"] for each in vms["get"]["parameters"]}
    assert document["paths"]["/v1/vm/{uuid}/screenshot"]["get"]["responses"]["200"]["content"].keys() == {"image/png"}


def workers(served: DaemonProcess) -> set[int]:
    pid = served._process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_worker_that_dies_is_replaced(admin: Client, served: DaemonProcess) -> None:
    uuid = create(admin)
    wait_for("two workers", lambda: len(workers(served)) == 2, DEADLINE_S)
    victim = min(workers(served))
    os.kill(victim, signal.SIGKILL)
    wait_for("two workers again", lambda: len(workers(served) - {victim}) == 2, DEADLINE_S)
    for _ in range(10):
        assert admin.get(f"/vm/{uuid}").json()["uuid"] == uuid

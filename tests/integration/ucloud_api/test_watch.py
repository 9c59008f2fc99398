"""Streams of server-sent events, the program ucloud-api as it is deployed: two workers, many threads."""

import json
import os
import queue
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from common import keys
from common.schemas.vm import Actual
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World

DEADLINE_S = 15.0
BODY: dict[str, Any] = {"name": "web", "specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": "debian"}
Event = tuple[str, dict[str, Any]]


class Follower:
    """A client that watches; its events are in `events`, (None) when the stream has ended."""

    def __init__(self, url: str) -> None:
        self.events: queue.Queue[Event | None] = queue.Queue()
        self._reply = requests.get(url, stream=True, timeout=(5, 60))
        assert self._reply.status_code == 200, self._reply.text
        assert self._reply.headers["Content-Type"].startswith("text/event-stream")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        name = ""
        try:
            for line in self._reply.iter_lines(chunk_size=None, decode_unicode=True):
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.events.put((name, json.loads(line.removeprefix("data: "))))
                    name = ""
        except requests.RequestException:
            pass
        self.events.put(None)

    def next(self) -> Event:
        """The next event."""
        event = self.events.get(timeout=DEADLINE_S)
        assert event, "the stream has ended"
        return event

    def until(self, status: Actual) -> dict[str, Any]:
        """The first resource with a status."""
        while True:
            name, resource = self.next()
            assert name == ""
            if resource["status"] == status:
                return resource

    def ended(self) -> bool:
        """Whether the stream ended, after nothing but what was read."""
        return self.events.get(timeout=DEADLINE_S) is None


@pytest.fixture
def url(served: DaemonProcess, world: World) -> str:
    world.add_image()
    world.add_host()
    return f"http://[::1]:{served.port}/v1"


def create(url: str, **changes: Any) -> str:
    answer = requests.post(f"{url}/vm", json={**BODY, **changes}, timeout=10)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["uuid"])


def test_a_vm_is_followed_from_its_creation_to_its_end(url: str, world: World) -> None:
    uuid = create(url)
    follower = Follower(f"{url}/vm/{uuid}?watch=1")
    name, first = follower.next()
    assert (name, first["uuid"], first["status"]) == ("", uuid, "PENDING")
    world.place(uuid)
    assert follower.until(Actual.DEPLOYING)["hostname"] == "/v1/host/h1"
    world.report(uuid, Actual.RUNNING)
    assert follower.until(Actual.RUNNING)["addresses"] == ["2001:db8::1"]
    world.remove(keys.alive("h1"))
    assert follower.until(Actual.UNKNOWN)["reason"].startswith("host h1 is silent")
    world.forget(uuid)
    while (event := follower.next())[0] != "deleted":
        pass
    assert event == ("deleted", {"uuid": uuid})
    assert follower.ended()


def test_every_worker_knows_at_once_what_one_of_them_wrote(url: str) -> None:
    for number in range(20):
        uuid = create(url, name=f"v{number}")
        for _ in range(4):  # new connections, so that both workers are asked
            assert requests.get(f"{url}/vm/{uuid}", timeout=10).json()["name"] == f"v{number}"
        changed = requests.patch(f"{url}/vm/{uuid}", json={"requested": "STOPPED"}, timeout=10)
        assert changed.json()["generation"] == 2
        assert requests.get(f"{url}/vm/{uuid}", timeout=10).json()["requested"] == "STOPPED"


def test_all_vms_are_followed(url: str, world: World) -> None:
    first = create(url, name="first")
    follower = Follower(f"{url}/vm?watch=1")
    assert follower.next()[1]["uuid"] == first
    second = create(url, name="second")
    assert follower.next()[1]["uuid"] == second
    world.run(second)
    assert follower.until(Actual.RUNNING)["uuid"] == second
    world.forget(first)
    assert follower.next() == ("deleted", {"uuid": first})


def test_an_image_is_followed(url: str, world: World) -> None:
    image = requests.post(f"{url}/image", json={"name": "new", "file": "f"}, timeout=10).json()
    follower = Follower(f"{url}/image/{image['uuid']}?watch=1")
    assert follower.next()[1]["status"] == "PENDING"
    world.remove(keys.image(image["uuid"]))
    assert follower.next() == ("deleted", {"uuid": image["uuid"]})
    assert follower.ended()


def test_many_who_watch_leave_room_for_others_and_don_t_keep_it_from_ending(url: str, served: DaemonProcess) -> None:
    uuid = create(url)
    watching = [Follower(f"{url}/vm/{uuid}?watch=1") for _ in range(40)]
    for follower in watching:
        assert follower.next()[1]["uuid"] == uuid
    assert requests.get(f"{url}/vm/{uuid}", timeout=5).status_code == 200
    assert requests.patch(f"{url}/vm/{uuid}", json={"requested": "STOPPED"}, timeout=5).status_code == 200
    for follower in watching:
        assert follower.next()[1]["requested"] == "STOPPED"
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


def test_requests_of_all_workers_are_counted(url: str, served: DaemonProcess) -> None:
    for _ in range(10):
        assert requests.get(f"{url}/vm/x", timeout=5).status_code == 422
    text = requests.get(f"http://[::1]:{served.port}/metrics", timeout=5).text
    line = 'ucloud_http_requests_total{method="GET",route="/v1/vm/<uuid>",status="422"} 10.0'
    assert line in text.splitlines()


def test_a_body_that_is_too_large_is_refused_on_the_wire(url: str) -> None:
    answer = requests.post(
        f"{url}/vm", data=b"x" * 10_000_000, headers={"Content-Type": "application/json"}, timeout=10
    )
    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_it_describes_itself(url: str) -> None:
    document = requests.get(url.removesuffix("/v1") + "/openapi/openapi.json", timeout=5).json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/v1/vm",
        "/v1/vm/{uuid}",
        "/v1/vm/{uuid}/log",
        "/v1/host",
        "/v1/host/{name}",
        "/v1/image",
        "/v1/image/{uuid}",
    }
    known = set(document["components"]["schemas"])
    wanted = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert wanted <= known
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            for status, response in operation["responses"].items():
                problem = "application/problem+json" in response.get("content", {})
                assert problem == (int(status) >= 400)


def workers(served: DaemonProcess) -> set[int]:
    pid = served._process.pid
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def test_a_worker_that_dies_is_replaced(url: str, served: DaemonProcess) -> None:
    uuid = create(url)
    wait_for("two workers", lambda: len(workers(served)) == 2, DEADLINE_S)
    victim = min(workers(served))
    os.kill(victim, signal.SIGKILL)
    wait_for("two workers again", lambda: len(workers(served) - {victim}) == 2, DEADLINE_S)
    for _ in range(10):
        assert requests.get(f"{url}/vm/{uuid}", timeout=10).json()["uuid"] == uuid

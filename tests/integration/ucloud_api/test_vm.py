"""VMs over HTTP: created, listed, changed, deleted; refused with what is wrong."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.image import ImageActual
from common.schemas.vm import Actual, Console, Requested
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import NOBODY, World

SPECS = {"cpu": 2, "ram": "512MiB", "ssd": 10}
BODY = {"name": "web", "specs": SPECS, "image": "debian"}
DEADLINE_S = 30.0


def created(api: FlaskClient, **changes: Any) -> dict[str, Any]:
    answer = api.post("/v1/vm", json={**BODY, **changes})
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def wait_for_status(api: FlaskClient, uuid: str, status: Actual) -> dict[str, Any]:
    """The VM, once the API has heard that its status is that."""

    def look() -> dict[str, Any] | None:
        vm = dict(api.get(f"/v1/vm/{uuid}").get_json())
        return vm if vm["status"] == status else None

    return wait_for(f"{uuid} {status}", look, DEADLINE_S)


def test_a_new_vm_can_be_read_at_once_by_every_worker(api: FlaskClient, world: World) -> None:
    image = world.add_image()
    answer = api.post("/v1/vm", json=BODY)
    assert answer.status_code == 202
    vm = answer.get_json()
    assert answer.headers["Location"] == f"/v1/vm/{UUID(vm['uuid'])}"
    assert vm == {
        "uuid": vm["uuid"],
        "name": "web",
        "owner": "admin",
        "specs": {"cpu": 2, "ram": "512MiB", "ssd": 10, "hdd": 0, "firmware": "BIOS"},
        "disks": [{"serial": "root", "kind": "ssd", "size": 10}],
        "image": image,
        "image_name": vm["image_name"],
        "hostname": None,
        "requested": "RUNNING",
        "protected": False,
        "ha": True,
        "priority": 50,
        "affinity": [],
        "host_labels": {},
        "status": "PENDING",
        "reason": "waits for the scheduler",
        "generation": 1,
        "observed_generation": 0,
        "created_at": vm["created_at"],
        "changed_at": vm["created_at"],
        "reboots": 0,
        "restart_needed": False,
        "ports": [],
        "addresses": [],
        "ssh_keys": [],
        "guest_hostname": "web",
        "seed_disk": False,
        "move": None,
        "snapshots": [],
        "rollback": None,
        "events": [],
    }
    assert api.get(f"/v1/vm/{vm['uuid']}").get_json()["uuid"] == vm["uuid"]
    assert [each["uuid"] for each in api.get("/v1/vm").get_json()["items"]] == [vm["uuid"]]
    request = world.request_of(vm["uuid"])
    assert (request.specs.ram_mib, request.specs.ssd_mib, request.image) == (512, 10240, image)


def test_a_vm_without_a_name_gets_one(api: FlaskClient, world: World) -> None:
    world.add_image()
    vm = api.post("/v1/vm", json={"specs": SPECS, "image": "debian"}).get_json()
    assert vm["name"] == f"vm-{vm['uuid'][:8]}"


def test_an_image_is_meant_by_uuid_or_name_and_the_owners_own_comes_first(api: FlaskClient, world: World) -> None:
    common_one, own = world.add_image(), world.add_image(owner="ann")
    world.add_account("bob")
    assert created(api, name="a", owner="ann")["image"] == own
    assert created(api, name="a", owner="bob")["image"] == common_one
    assert created(api, name="b", owner="bob", image=own)["image"] == own


def test_names_are_taken_per_owner(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_account("ann")
    first = created(api)
    answer = api.post("/v1/vm", json=BODY)
    assert answer.status_code == 409
    assert answer.get_json()["type"] == "urn:ucloud:problem:name-taken"
    assert first["uuid"] in answer.get_json()["detail"]
    assert created(api, owner="ann")["uuid"] != first["uuid"]


def test_an_unknown_image_is_a_404_that_names_those_there_are(api: FlaskClient, world: World) -> None:
    world.add_image("bookworm")
    wait_for("the image in the cache", lambda: api.get("/v1/image?status=READY").get_json()["items"], DEADLINE_S)
    answer = api.post("/v1/vm", json={**BODY, "image": "bullseye"})
    assert answer.status_code == 404
    assert answer.get_json()["errors"][0]["field"] == "image"
    assert "bookworm" in answer.get_json()["detail"]


@pytest.mark.parametrize("actual", [each for each in ImageActual if each is not ImageActual.READY])
def test_an_image_that_is_not_ready_is_a_409_with_its_state(
    api: FlaskClient, world: World, actual: ImageActual
) -> None:
    world.add_image(actual=actual)
    answer = api.post("/v1/vm", json=BODY)
    assert answer.status_code == 409
    assert f"is {actual}" in answer.get_json()["detail"]


def test_a_root_disk_smaller_than_the_image_is_refused_with_the_minimum(api: FlaskClient, world: World) -> None:
    world.add_image(size_mib=3072)
    answer = api.post("/v1/vm", json={**BODY, "specs": {**SPECS, "ssd": 2}})
    assert answer.status_code == 422
    assert answer.get_json()["errors"] == [
        {"field": "specs.ssd", "problem": "is smaller than the image", "allowed": "at least 3 GiB"}
    ]
    assert not world.store.list(keys.VM).entries


def test_status_is_that_of_the_host_that_has_the_order(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host("h1")
    uuid = created(api)["uuid"]
    world.place(uuid, "h1", epoch=2)
    vm = wait_for_status(api, uuid, Actual.DEPLOYING)
    assert vm["hostname"] == "/v1/host/h1"
    world.report(uuid, Actual.STOPPED, "h1", epoch=1)  # an earlier life
    world.report(uuid, Actual.RUNNING, "h2", epoch=2)  # a host without an order
    world.report(uuid, Actual.STARTING, "h1", epoch=2)
    wait_for_status(api, uuid, Actual.STARTING)
    world.report(uuid, Actual.RUNNING, "h1", epoch=2)
    vm = wait_for_status(api, uuid, Actual.RUNNING)
    assert vm["addresses"] == ["2001:db8::1"]
    assert vm["observed_generation"] == vm["generation"] == 1
    world.remove(keys.alive("h1"))
    vm = wait_for_status(api, uuid, Actual.UNKNOWN)
    assert vm["reason"] == "host h1 is silent, it last said RUNNING"
    assert [each["name"] for each in api.get("/v1/vm?status=UNKNOWN").get_json()["items"]] == ["web"]


def test_a_vm_without_a_host_says_why(api: FlaskClient, world: World) -> None:
    world.add_image()
    uuid = created(api)["uuid"]
    world.report(uuid, Actual.PENDING, host="-", epoch=0, reason="no host has 64 GiB free: 2 too small")

    def has_reason() -> bool:
        return str(api.get(f"/v1/vm/{uuid}").get_json()["reason"]).startswith("no host has 64 GiB free")

    wait_for("the reason", has_reason, DEADLINE_S)


def test_another_state_is_requested_where_the_actual_one_allows_it(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    uuid = created(api)["uuid"]
    refused = api.patch(f"/v1/vm/{uuid}", json={"requested": "SUSPENDED"})
    assert refused.status_code == 409
    assert refused.get_json()["errors"][0]["allowed"] == ["start", "stop", "rename", "resize", "delete"]
    assert "is PENDING" in refused.get_json()["detail"]
    world.run(uuid)
    wait_for_status(api, uuid, Actual.RUNNING)
    suspended = api.patch(f"/v1/vm/{uuid}", json={"requested": "SUSPENDED"}).get_json()
    assert (suspended["requested"], suspended["status"], suspended["generation"]) == ("SUSPENDED", "RUNNING", 2)
    assert suspended["observed_generation"] == 1
    assert world.request_of(uuid).requested is Requested.SUSPENDED


def test_what_is_so_already_changes_nothing_what_did_not_last_is_tried_again(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    uuid = created(api)["uuid"]
    world.run(uuid)
    wait_for_status(api, uuid, Actual.RUNNING)
    assert api.patch(f"/v1/vm/{uuid}", json={"requested": "RUNNING"}).get_json()["generation"] == 1
    world.report(uuid, Actual.STOPPED, reason="powered off by the guest")
    wait_for_status(api, uuid, Actual.STOPPED)
    assert api.patch(f"/v1/vm/{uuid}", json={"requested": "RUNNING"}).get_json()["generation"] == 2


def test_deleting_asks_for_it_and_twice_is_no_error(api: FlaskClient, world: World) -> None:
    world.add_image()
    uuid = created(api)["uuid"]
    first, second = api.delete(f"/v1/vm/{uuid}"), api.delete(f"/v1/vm/{uuid}")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.get_json() == second.get_json()
    assert (first.get_json()["requested"], first.get_json()["generation"]) == ("DELETED", 2)
    revived = api.patch(f"/v1/vm/{uuid}", json={"requested": "RUNNING"})
    assert revived.status_code == 409
    assert "is being deleted" in revived.get_json()["detail"]
    world.forget(uuid)
    assert api.get(f"/v1/vm/{uuid}", headers={"Cache-Control": "no-cache"}).status_code == 404
    assert api.delete(f"/v1/vm/{uuid}").status_code == 404
    assert created(api)["uuid"] != uuid, "the name is free again"


def test_changes_by_many_at_once_are_none_of_them_lost(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    uuid = created(api)["uuid"]
    codes: list[int] = []

    def change(requested: str) -> None:
        with api.application.test_client() as client:
            client.environ_base.update(api.environ_base)
            codes.append(client.patch(f"/v1/vm/{uuid}", json={"requested": requested}).status_code)

    threads = [threading.Thread(target=change, args=(each,)) for each in ["STOPPED", "RUNNING"] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {202, 409}
    # Each counted one up, whatever it asked for: the VM is PENDING, so nothing had come about yet.
    assert world.request_of(uuid).generation == 1 + codes.count(202)


def test_lists_are_filtered_and_paged_oldest_first(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_account("ann")
    world.add_account("bob")
    names = [created(api, name=f"v{number}", owner="ann" if number % 2 else "bob")["name"] for number in range(5)]
    found: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"/v1/vm?limit=2{cursor}").get_json()
        assert len(page["items"]) <= 2
        found += [each["name"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == names
    assert [each["name"] for each in api.get("/v1/vm?owner=ann").get_json()["items"]] == ["v1", "v3"]
    assert [each["name"] for each in api.get("/v1/vm?name=v4").get_json()["items"]] == ["v4"]
    assert len(api.get("/v1/vm?status=PENDING").get_json()["items"]) == 5
    assert api.get("/v1/vm?status=RUNNING").get_json()["items"] == []


@pytest.mark.parametrize("path", [f"/v1/vm/{NOBODY}", f"/v1/image/{NOBODY}", "/v1/host/h9", f"/v1/vm/{NOBODY}/log"])
def test_what_does_not_exist_is_a_404(api: FlaskClient, path: str) -> None:
    for watch in ("", "?watch=1") if not path.endswith(("log", "h9")) else ("",):
        answer = api.get(path + watch)
        assert answer.status_code == 404
        assert answer.content_type == "application/problem+json"
        assert "there is no" in answer.get_json()["detail"]


def test_the_log_comes_from_the_host_with_its_token(api: FlaskClient, world: World) -> None:
    asked: list[tuple[str, str | None]] = []

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(200)
            text = "guest login: ü".encode()
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        world.add_image()
        world.add_host()
        uuid = created(api)["uuid"]
        nothing_yet = api.get(f"/v1/vm/{uuid}/log")
        assert nothing_yet.status_code == 409
        assert "is PENDING and has no log yet" in nothing_yet.get_json()["detail"]
        url = f"http://127.0.0.1:{server.server_port}/vm/{uuid}"
        world.place(uuid)
        world.report(uuid, Actual.RUNNING, console=Console(url=url, token="s3cret"))
        wait_for_status(api, uuid, Actual.RUNNING)
        log = api.get(f"/v1/vm/{uuid}/log?tail_bytes=100")
        assert (log.status_code, log.text, log.mimetype) == (200, "guest login: ü", "text/plain")
        assert asked == [(f"/vm/{uuid}/log?tail_bytes=100", "Bearer s3cret")]
    finally:
        server.shutdown()
        server.server_close()
    gone = api.get(f"/v1/vm/{uuid}/log")
    assert gone.status_code == 502
    assert "host h1 does not answer" in gone.get_json()["detail"]
    assert "s3cret" not in gone.text
    assert "s3cret" not in api.get(f"/v1/vm/{uuid}").text

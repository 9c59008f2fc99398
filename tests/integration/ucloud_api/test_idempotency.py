"""Idempotency-Key: however often and wherever a request is repeated, it is done once and answered the same."""

import random
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from common import keys
from common.schemas.user import Charge
from common.schemas.vm import Actual
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.cutting import CuttingProxy
from tests.integration.ucloud_api.world import World, bearer
from ucloud_api.app import create_app
from ucloud_api.worker.state import State

BODY: dict[str, Any] = {"name": "web", "specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": "debian"}
KEY = {"Idempotency-Key": "3f1c"}


def same(one: Any, other: Any) -> bool:
    """Whether two answers are the same in all that a client reads."""
    return all(getattr(one, field) == getattr(other, field) for field in ("status_code", "text")) and all(
        one.headers.get(name) == other.headers.get(name) for name in ("Location", "ETag", "Content-Type")
    )


def test_a_repetition_gets_the_same_answer_and_does_nothing(api: FlaskClient, world: World) -> None:
    world.add_image()
    first = api.post("/v1/vm", json=BODY, headers=KEY)
    assert first.status_code == 202
    uuid = first.get_json()["uuid"]
    assert first.headers["ETag"] == api.get(f"/v1/vm/{uuid}").headers["ETag"]
    api.patch(f"/v1/vm/{uuid}", json={"name": "renamed"})
    assert same(first, api.post("/v1/vm", json=BODY, headers=KEY))
    assert len(world.store.list(keys.VM).entries) == len(world.store.list(keys.CHARGE).entries) == 1
    image = {"name": "own", "file": "f"}
    made = api.post("/v1/image", json=image, headers={"Idempotency-Key": "i"})
    assert made.status_code == 202
    assert same(made, api.post("/v1/image", json=image, headers={"Idempotency-Key": "i"}))


def test_a_verb_is_done_once(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    created = api.post("/v1/vm", json=BODY)
    path = created.headers["Location"]
    world.run(created.get_json()["uuid"])
    headers = {**KEY, "If-Match": created.headers["ETag"], "Cache-Control": "no-cache"}
    first = api.post(f"{path}/reboot", headers=headers)
    assert first.get_json()["reboots"] == 1
    for _ in range(3):
        assert same(first, api.post(f"{path}/reboot", headers=headers)), "also where the state has moved on"
    assert api.get(path).get_json()["reboots"] == 1
    nothing = {"Idempotency-Key": "nothing to do"}
    api.post(f"{path}/start", headers=nothing)
    world.report(created.get_json()["uuid"], Actual.STOPPED)
    unchanged = api.post(f"{path}/start", headers=nothing)
    assert unchanged.get_json()["generation"] == 2
    assert unchanged.headers["ETag"] == first.headers["ETag"]


def test_a_key_is_for_one_request_of_one_user(api: FlaskClient, world: World) -> None:
    world.add_image()
    path = api.post("/v1/vm", json=BODY, headers=KEY).headers["Location"]
    for other in (
        api.post("/v1/vm", json={**BODY, "name": "other"}, headers=KEY),
        api.post("/v1/image", json=BODY, headers=KEY),
        api.post(f"{path}/start", headers=KEY),
    ):
        assert (other.status_code, other.get_json()["type"]) == (409, "urn:ucloud:problem:idempotency-key-reused")
        assert other.get_json()["errors"][0]["field"] == "Idempotency-Key"
    world.add_account("ann")
    hers = api.post("/v1/vm", json=BODY, headers={**KEY, **bearer(world.log_in("ann"))})
    assert (hers.status_code, hers.get_json()["owner"]) == (202, "ann")


def test_a_refusal_takes_no_key(api: FlaskClient, world: World) -> None:
    assert api.post("/v1/vm", json=BODY, headers=KEY).status_code == 404
    world.add_image()
    assert api.post("/v1/vm", json=BODY, headers=KEY).status_code == 202


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb", "ü", "\x7f"])
def test_a_key_that_is_none_is_a_422(api: FlaskClient, world: World, key: str) -> None:
    world.add_image()
    answer = api.post("/v1/vm", json=BODY, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "Idempotency-Key"
    assert answer.get_json()["errors"][0]["allowed"]
    assert not world.store.list(keys.VM).entries


def test_two_at_once_are_one(api: FlaskClient, world: World, etcd: EtcdCluster, state: State) -> None:
    world.add_image()
    other_state = State(state.settings)
    other_state.start()
    apps = (api.application, create_app(other_state))
    answers: list[Any] = []

    def ask(number: int) -> None:
        client = apps[number % 2].test_client()
        client.environ_base.update(api.environ_base)
        body = {key: value for key, value in BODY.items() if key != "name"}
        answers.append(client.post("/v1/vm", json=body, headers=KEY))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other_state.close()
    assert all(same(answers[0], answer) for answer in answers), Counter(answer.text for answer in answers)
    assert answers[0].status_code == 202
    assert len(world.store.list(keys.VM).entries) == len(world.store.list(keys.CHARGE).entries) == 1


def test_answers_share_a_lease_and_last_long_enough(api: FlaskClient, world: World, state: State) -> None:
    world.add_image()
    for number in range(5):
        api.post("/v1/vm", json={**BODY, "name": f"v{number}"}, headers={"Idempotency-Key": str(number)})
    answered = world.store.list(keys.REQUEST).entries
    assert len(answered) == 5
    (lease,) = {entry.lease for entry in answered}
    assert world.store.keep_alive(lease) >= state.settings.api.idempotency_ttl_s
    world.store.revoke(lease)
    assert api.post("/v1/vm", json={**BODY, "name": "late"}, headers={"Idempotency-Key": "late"}).status_code == 202


def test_a_hundred_tries_of_one_create_over_connections_that_are_cut(served: DaemonProcess, world: World) -> None:
    world.add_image()
    direct = Client.logged_in(served, world, "ann")
    dice = random.Random(3)  # noqa: S311
    outcomes: Counter[str] = Counter()
    bodies = set()
    with CuttingProxy(served.port, lambda: dice.randrange(50, 1900)) as proxy:
        cut = Client(f"http://[::1]:{proxy.port}/v1", direct.token)
        for _ in range(100):
            try:
                answer = cut.post("/vm", json=BODY, headers=KEY)
            except requests.RequestException as error:
                outcomes[type(error).__name__] += 1
                continue
            if answer.headers.get("Content-Length") != str(len(answer.content)):
                outcomes["cut within the headers"] += 1  # which requests takes for an answer
                continue
            assert answer.status_code == 202, answer.text
            outcomes["answered"] += 1
            bodies.add((answer.text, answer.headers["ETag"], answer.headers["Location"]))
        assert proxy.cuts > 20
    last = direct.post("/vm", json=BODY, headers=KEY)
    bodies.add((last.text, last.headers["ETag"], last.headers["Location"]))
    assert len(bodies) == 1, outcomes
    assert len(world.store.list(keys.VM).entries) == 1
    charges = [Charge.read(entry.key, entry.value).amounts for entry in world.store.list(keys.CHARGE).entries]
    assert [each.model_dump(exclude_defaults=True) for each in charges] == [
        {"vms": 1, "cpu": 1, "ram_mib": 1024, "ssd_mib": 4096}
    ]


def test_creates_while_the_way_to_etcd_is_cut_are_each_done_once(
    etcd: EtcdCluster, world: World, tmp_path: Path
) -> None:
    """The API itself gets no answers now and then, and does not know whether what it wrote was written."""
    world.add_image()
    dice = random.Random(5)  # noqa: S311
    port = free_port()
    with CuttingProxy(int(etcd.endpoints[0].rsplit(":", 1)[1]), lambda: dice.randrange(20_000, 60_000)) as proxy:
        environment = {"UCLOUD_ETCD_ENDPOINTS": f"[::1]:{proxy.port}", "UCLOUD_API_PORT": str(port)}
        daemon = DaemonProcess("ucloud_api", tmp_path / "api.log", environment)
        daemon.port = port
        try:
            daemon.wait_healthy()
            ann = Client.logged_in(daemon, world, "ann")
            for number in range(60):
                body, headers = {**BODY, "name": f"v{number}"}, {"Idempotency-Key": str(number)}
                answers = [ann.post("/vm", json=body, headers=headers) for _ in range(3)]
                while answers[-1].status_code == 503:
                    answers.append(ann.post("/vm", json=body, headers=headers))
                done = {(answer.text, answer.headers["ETag"]) for answer in answers if answer.status_code == 202}
                assert {answer.status_code for answer in answers} <= {202, 503}, answers[-1].text
                assert len(done) == 1
            assert proxy.cuts > 5
        finally:
            daemon.close()
    assert len(world.store.list(keys.VM).entries) == len(world.store.list(keys.CHARGE).entries) == 60

"""The verbs of a VM's life over HTTP: every pair of state and verb, what they write, quotas, names, protection."""

import threading
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.user import Amounts, Charge, Quota
from common.schemas.vm import ALLOWED_VERBS, Actual, Requested, Specs, Verb
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World, bearer

BODY: dict[str, Any] = {"name": "web", "specs": {"cpu": 2, "ram": 1, "ssd": 10}, "image": "debian"}
SPECS = Specs.of(cpu=2, ram_mib=1024, ssd_mib=10240)
FRESH = {"Cache-Control": "no-cache"}
REQUESTS: dict[Verb, tuple[str, str, Any]] = {
    **{verb: ("POST", f"/{verb}", None) for verb in (Verb.START, Verb.STOP, Verb.SUSPEND, Verb.RESUME, Verb.REBOOT)},
    Verb.RENAME: ("PATCH", "", {"name": "other"}),
    Verb.RESIZE: ("PATCH", "", {"specs": {"ram": 2}}),
    Verb.DELETE: ("DELETE", "", None),
}


def create(api: FlaskClient, **changes: Any) -> str:
    answer = api.post("/v1/vm", json={**BODY, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.get_json()["uuid"])


def ask(api: FlaskClient, uuid: str, verb: Verb, **options: Any) -> Any:
    method, path, body = REQUESTS[verb]
    return api.open(f"/v1/vm/{uuid}{path}", method=method, **({"json": body} if body else {}), **options)


def bring_to(api: FlaskClient, world: World, uuid: str, actual: Actual) -> None:
    """Have the world report that a VM is in a state, and the API know it."""
    if actual not in (Actual.PENDING, Actual.DELETING):
        if not world.store.get(keys.placement("h1", uuid)):
            world.place(uuid)
        world.report(uuid, actual if actual is not Actual.UNKNOWN else Actual.RUNNING)
    if actual is Actual.UNKNOWN:
        world.remove(keys.alive("h1"))
    # Fresh, as it may have been in that state before, too.
    assert api.get(f"/v1/vm/{uuid}", headers=FRESH).get_json()["status"] == actual


def test_a_verb_is_refused_by_what_is_so_now_alone(api: FlaskClient, world: World) -> None:
    """Whoever was told by another worker that it has changed need not wait until this one knows."""
    world.add_image()
    world.add_host()
    uuid = create(api)
    world.run(uuid)
    for _ in range(20):
        for verb, actual in (("suspend", Actual.SUSPENDED), ("resume", Actual.RUNNING)):
            assert api.post(f"/v1/vm/{uuid}/{verb}").status_code == 202
            world.run(uuid, actual)


def test_every_pair_of_state_and_verb(api: FlaskClient, world: World) -> None:
    world.add_image()
    tried = 0
    for actual in Actual:
        world.put(keys.alive("h1"), b'{"version":1,"name":"h1","boot_id":"1"}')
        for verb in Verb:
            uuid = create(api, name="web")
            if actual is Actual.DELETING:
                assert api.delete(f"/v1/vm/{uuid}").status_code == 202
            bring_to(api, world, uuid, actual)
            before = world.request_of(uuid)
            answer = ask(api, uuid, verb)
            if verb in ALLOWED_VERBS[actual]:
                assert answer.status_code == 202, (actual, verb, answer.text)
                assert answer.get_json()["generation"] == world.request_of(uuid).generation
            else:
                problem = answer.get_json()
                assert (answer.status_code, problem["type"]) == (409, "urn:ucloud:problem:not-allowed-now")
                assert problem["errors"][0]["allowed"] == [each.value for each in Verb if each in ALLOWED_VERBS[actual]]
                assert (actual.value in problem["detail"]) or "is being deleted" in problem["detail"]
                assert world.request_of(uuid) == before
            tried += 1
            world.forget(uuid)
            if actual is Actual.UNKNOWN:
                world.put(keys.alive("h1"), b'{"version":1,"name":"h1","boot_id":"1"}')
    assert tried == len(Actual) * len(Verb)


def test_verbs_write_what_they_mean_and_when(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    uuid = create(api)
    bring_to(api, world, uuid, Actual.RUNNING)
    assert world.request_of(uuid).changed_at is None
    stopped = api.post(f"/v1/vm/{uuid}/stop", json={"force": True}).get_json()
    request = world.request_of(uuid)
    assert (request.requested, request.force, request.generation) == (Requested.STOPPED, True, 2)
    assert stopped["changed_at"] > stopped["created_at"]
    again = api.post(f"/v1/vm/{uuid}/start")
    assert (again.get_json()["requested"], world.request_of(uuid).force) == ("RUNNING", False)
    rebooted = api.post(f"/v1/vm/{uuid}/reboot", json={}).get_json()
    assert (rebooted["reboots"], rebooted["requested"], rebooted["generation"]) == (1, "RUNNING", 4)
    assert api.post(f"/v1/vm/{uuid}/reboot", json={"force": True}).get_json()["reboots"] == 2
    assert world.request_of(uuid).force


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/start", {"force": True}, "force"),
        ("/suspend", {"x": 1}, "x"),
        ("/stop", {"force": "yes"}, "force"),
        ("/reboot", {"force": None}, "force"),
        ("/stop", [], "body"),
    ],
)
def test_a_verb_takes_no_more_than_it_says(api: FlaskClient, world: World, path: str, body: Any, field: str) -> None:
    world.add_image()
    uuid = create(api)
    answer = api.post(f"/v1/vm/{uuid}{path}", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.get_json()["errors"]] == [field]
    assert api.post(f"/v1/vm/{uuid}/stop", data="x", content_type="text/plain").status_code == 415
    assert api.post(f"/v1/vm/{uuid}/stop", data="{", content_type="application/json").status_code == 400
    assert api.post(f"/v1/vm/{uuid}/dance").status_code == 404


def test_a_name_moves_with_its_vm(api: FlaskClient, world: World) -> None:
    world.add_image()
    first, second = create(api, name="first"), create(api, name="second")
    taken = api.patch(f"/v1/vm/{first}", json={"name": "second"})
    assert (taken.status_code, taken.get_json()["type"]) == (409, "urn:ucloud:problem:name-taken")
    assert second in taken.get_json()["detail"]
    assert api.patch(f"/v1/vm/{first}", json={"name": "third"}).get_json()["name"] == "third"
    create(api, name="first")
    assert [each["name"] for each in api.get("/v1/vm").get_json()["items"]] == ["third", "second", "first"]
    assert [each["uuid"] for each in api.get("/v1/vm?name=third").get_json()["items"]] == [first]
    refused = api.patch(f"/v1/vm/{first}", json={"name": "../x"})
    assert refused.get_json()["errors"][0]["field"] == "name"


def test_a_resize_waits_for_a_restart_or_for_room_and_says_so(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    uuid = create(api)
    bring_to(api, world, uuid, Actual.RUNNING)
    resized = api.patch(f"/v1/vm/{uuid}", json={"specs": {"ram": 4, "hdd": "512MiB"}})
    assert resized.get_json()["specs"] == {"cpu": 2, "ram": 4, "ssd": 10, "hdd": "512MiB", "firmware": "BIOS"}
    world.report(uuid, Actual.PENDING, host="-", epoch=0, reason="host h1 has not another 3 GiB RAM free")

    def shown(field: str, value: object) -> None:
        wait_for(f"{field} {value}", lambda: api.get(f"/v1/vm/{uuid}").get_json()[field] == value, 30)

    shown("reason", "host h1 has not another 3 GiB RAM free")
    assert api.get(f"/v1/vm/{uuid}").get_json()["status"] == "RUNNING"
    assert api.post(f"/v1/vm/{uuid}/stop").status_code == 202, "a stop is in no resize's way"
    assert api.post(f"/v1/vm/{uuid}/start").status_code == 202
    world.remove(keys.vm_status("-", uuid))
    world.place(uuid)
    world.report(uuid, Actual.RUNNING, specs=SPECS)
    shown("restart_needed", True)
    world.report(uuid, Actual.RUNNING, specs=world.request_of(uuid).specs)
    shown("restart_needed", False)
    smaller = api.patch(f"/v1/vm/{uuid}", json={"specs": {"ssd": 9, "hdd": 0}})
    assert smaller.status_code == 422
    assert [(each["field"], each["allowed"]) for each in smaller.get_json()["errors"]] == [
        ("specs.ssd", "at least 10 GiB"),
        ("specs.hdd", "at least 512 MiB"),
    ]


def test_what_is_protected_stays(api: FlaskClient, world: World) -> None:
    world.add_image()
    uuid = create(api, protected=True)
    refused = api.delete(f"/v1/vm/{uuid}")
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:protected")
    assert api.patch(f"/v1/vm/{uuid}", json={"protected": False}).get_json()["protected"] is False
    assert api.delete(f"/v1/vm/{uuid}").get_json()["requested"] == "DELETED"


def test_a_quota_is_kept_and_refusals_tell_the_figures(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_account("ann", quota=Quota(vms=2, cpu=5, ram_mib=4096, ssd_mib=30720, hdd_mib=0))
    ann = {"headers": bearer(world.log_in("ann"))}
    uuid = api.post("/v1/vm", json=BODY, **ann).get_json()["uuid"]
    over = api.post("/v1/vm", json={**BODY, "name": "b", "specs": {"cpu": 4, "ram": 1, "ssd": 10, "hdd": 1}}, **ann)
    assert (over.status_code, over.get_json()["type"]) == (403, "urn:ucloud:problem:over-quota")
    assert {each["field"]: each["allowed"] for each in over.get_json()["errors"]} == {
        "specs.cpu": "CPU: 4 more asked for, 2 of 5 in use",
        "specs.hdd": "HDD: 1 GiB more asked for, 0 GiB of 0 GiB in use",
    }
    grown = api.patch(f"/v1/vm/{uuid}", json={"specs": {"ram": 8}}, **ann)
    assert (grown.status_code, grown.get_json()["errors"][0]["field"]) == (403, "specs.ram")
    assert api.patch(f"/v1/vm/{uuid}", json={"specs": {"ram": 4, "cpu": 1}}, **ann).status_code == 202
    charge = world.store.get(keys.charge("ann", uuid))
    assert charge
    assert Charge.read(charge.key, charge.value).amounts == Amounts(vms=1, cpu=1, ram_mib=4096, ssd_mib=10240)
    assert api.post("/v1/vm", json={**BODY, "name": "b"}, headers=bearer(world.log_in("admin"))).status_code == 202


@pytest.mark.parametrize(("kind", "field"), [("network", "networks"), ("security-group", "security_groups")])
def test_networks_and_groups_are_counted_and_given_back(api: FlaskClient, world: World, kind: str, field: str) -> None:
    world.add_account("ann", quota=Quota.model_validate({field: 2}))
    ann, path = {"headers": bearer(world.log_in("ann"))}, f"/v1/{kind}"
    before = world.store.list(keys.charges("ann")).entries
    first, second = (api.post(path, json={"name": name}, **ann) for name in ("a", "b"))
    assert (first.status_code, second.status_code) == (201, 201)
    for over in (
        api.post(path, json={"name": "c"}, **ann),
        api.post(path, json={"name": "c", "owner": "ann"}, headers=bearer(world.log_in("admin"))),
    ):
        assert (over.status_code, over.get_json()["type"]) == (403, "urn:ucloud:problem:over-quota")
        (error,) = over.get_json()["errors"]
        figures = f"{field.replace('_', ' ')}: 1 more asked for, 2 of 2 in use"
        assert (error["field"], error["allowed"]) == (field, figures)
    assert api.get("/v1/user/ann", **ann).get_json()["used"][field] == 2
    # What does not grow is not refused, also where the quota was lowered since.
    lowered = {"quota": {field: 1}}
    assert api.patch("/v1/user/ann", json=lowered, headers=bearer(world.log_in("admin"))).status_code == 200
    assert api.patch(f"{path}/{first.get_json()['uuid']}", json={"name": "d"}, **ann).status_code == 200
    for made in (first, second):
        assert api.post(path, json={"name": "c"}, **ann).status_code == 403
        assert api.delete(f"{path}/{made.get_json()['uuid']}", **ann).status_code == 204
    assert world.store.list(keys.charges("ann")).entries == before
    assert api.post(path, json={"name": "c"}, **ann).status_code == 201


def test_many_at_once_stay_within_the_quota(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_account("ann", quota=Quota(vms=5, cpu=100, ram_mib=102400, ssd_mib=1024000, hdd_mib=0))
    token = world.log_in("ann")
    codes: list[int] = []

    def add(number: int) -> None:
        with api.application.test_client() as client:
            answer = client.post("/v1/vm", json={**BODY, "name": f"v{number}"}, headers=bearer(token))
            codes.append(answer.status_code)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [202] * 5 + [403] * 7
    assert len(world.store.list(keys.charges("ann")).entries) == 5


def test_a_change_is_made_only_of_what_its_client_has_seen(api: FlaskClient, world: World) -> None:
    world.add_image()
    world.add_host()
    answer = api.post("/v1/vm", json=BODY)
    path, seen = answer.headers["Location"], answer.headers["ETag"]
    assert api.get(path).headers["ETag"] == seen
    changed = api.patch(path, json={"protected": True}, headers={"If-Match": seen})
    assert changed.status_code == 202
    now = changed.headers["ETag"]
    assert now != seen
    assert api.get(path).headers["ETag"] == now
    for stale in (seen, f"W/{now}", "x", '""', now.strip('"') + "9"):
        for refused in (
            api.patch(path, json={"protected": False}, headers={"If-Match": stale}),
            api.delete(path, headers={"If-Match": stale}),
            api.post(f"{path}/resume", headers={"If-Match": stale}),
        ):
            assert refused.status_code == 412, stale
            assert refused.get_json()["type"] == "urn:ucloud:problem:changed-meanwhile"
    assert api.patch(path, json={"protected": False}, headers={"If-Match": f"{seen}, {now}"}).status_code == 202
    assert api.delete(path, headers={"If-Match": "*"}).status_code == 202
    host = api.get("/v1/host/h1", headers=FRESH)
    assert api.patch("/v1/host/h1", json={"state": "draining"}, headers={"If-Match": '"7"'}).status_code == 412
    word = api.patch("/v1/host/h1", json={"state": "draining"}, headers={"If-Match": host.headers["ETag"]})
    assert word.status_code == 200
    stale_word = api.patch("/v1/host/h1", json={"state": "enabled"}, headers={"If-Match": host.headers["ETag"]})
    assert stale_word.status_code == 412

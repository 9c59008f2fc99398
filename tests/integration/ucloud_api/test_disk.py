"""The disks of VMs over HTTP: made, added, grown and removed, what they cost, and what is refused."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.disk import MOST_DISKS
from common.schemas.user import Amounts, Charge, Quota
from common.schemas.vm import Actual
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.world import World, bearer

VM: dict[str, Any] = {"name": "web", "specs": {"cpu": 1, "ram": 1, "ssd": 4}, "image": "debian"}
FRESH = {"Cache-Control": "no-cache"}


@pytest.fixture(autouse=True)
def image(api: FlaskClient, world: World) -> str:
    return world.add_image()


def made(api: FlaskClient, **specs: Any) -> dict[str, Any]:
    answer = api.post("/v1/vm", json={**VM, "specs": {**VM["specs"], **specs}})
    assert answer.status_code == 202, answer.text
    return dict(answer.get_json())


def charged(world: World, uuid: str, owner: str = "admin") -> Amounts:
    charge = world.store.get(keys.charge(owner, uuid))
    assert charge
    return Charge.read(charge.key, charge.value).amounts


def test_a_vm_is_made_with_several_disks(api: FlaskClient, world: World) -> None:
    vm = made(api, ssd=["10GiB", 20], hdd=["512MiB"])
    assert [(disk["kind"], disk["size"]) for disk in vm["disks"]] == [("ssd", 10), ("ssd", 20), ("hdd", "512MiB")]
    assert vm["specs"] == {"cpu": 1, "ram": 1, "ssd": 30, "hdd": "512MiB", "firmware": "BIOS"}
    assert [disk["serial"] for disk in vm["disks"]] == [
        disk.serial for disk in world.request_of(vm["uuid"]).specs.disks
    ]
    amounts = charged(world, vm["uuid"])
    assert (amounts.ssd_mib, amounts.hdd_mib) == (30720, 512)
    # It is the root disk that must hold the image.
    refused = api.post("/v1/vm", json={**VM, "name": "b", "specs": {**VM["specs"], "ssd": [1, 20]}})
    assert (refused.status_code, refused.get_json()["errors"][0]["field"]) == (422, "specs.ssd")


@pytest.mark.parametrize(
    ("specs", "field"),
    [
        ({"ssd": []}, "specs.ssd"),
        ({"ssd": [4, 0]}, "specs.ssd"),
        ({"ssd": [4, "x"]}, "specs.ssd"),
        ({"ssd": [[4]]}, "specs.ssd"),
        ({"hdd": ["1025TiB"]}, "specs.hdd"),
        ({"hdd": {}}, "specs.hdd"),
        ({"hdd": [1] * MOST_DISKS}, "specs"),
    ],
)
def test_a_list_that_is_none_makes_no_vm(api: FlaskClient, specs: dict[str, Any], field: str) -> None:
    refused = api.post("/v1/vm", json={**VM, "specs": {**VM["specs"], **specs}})
    assert refused.status_code == 422
    assert [(each["field"], bool(each["allowed"])) for each in refused.get_json()["errors"]] == [(field, True)]
    assert api.get("/v1/vm").get_json()["items"] == []


def test_a_disk_is_added_grows_and_goes_with_its_charge(api: FlaskClient, world: World) -> None:
    vm = made(api)
    path = f"/v1/vm/{vm['uuid']}/disk"
    added = api.post(path, json={"kind": "hdd", "size": 8})
    assert added.status_code == 202, added.text
    root, hdd = added.get_json()["disks"]
    assert (root, hdd["kind"], hdd["size"]) == ({"serial": "root", "kind": "ssd", "size": 4}, "hdd", 8)
    assert added.get_json()["generation"] == 2
    assert charged(world, vm["uuid"]).hdd_mib == 8192
    for _ in range(2):
        grown = api.patch(f"{path}/{hdd['serial']}", json={"size": "9GiB"})
        assert (grown.get_json()["specs"]["hdd"], grown.get_json()["generation"]) == (9, 3)
    assert charged(world, vm["uuid"]).hdd_mib == 9216
    gone = api.delete(f"{path}/{hdd['serial']}")
    assert (gone.status_code, gone.get_json()["disks"], gone.get_json()["generation"]) == (202, [root], 4)
    assert charged(world, vm["uuid"]).hdd_mib == 0
    again = api.post(path, json={"kind": "hdd", "size": 8}).get_json()["disks"][1]
    assert again["serial"] != hdd["serial"]
    assert api.delete(f"{path}/{hdd['serial']}").status_code == 404


def test_what_is_refused_changes_nothing(api: FlaskClient, world: World) -> None:
    vm = made(api, ssd=[4, 1])
    path, second = f"/v1/vm/{vm['uuid']}", vm["disks"][1]["serial"]
    before = world.request_of(vm["uuid"])
    tries = [
        (api.patch(f"{path}/disk/{second}", json={"size": "512MiB"}), 422, "invalid-fields"),
        (api.patch(f"{path}/disk/{second}", json={"size": 0}), 422, "invalid-fields"),
        (api.patch(f"{path}/disk/{second}", json={}), 422, "invalid-fields"),
        (api.patch(path, json={"specs": {"ssd": 6}}), 422, "invalid-fields"),
        (api.post(f"{path}/disk", json={"kind": "tape", "size": 1}), 422, "invalid-fields"),
        (api.post(f"{path}/disk", json={"kind": "ssd", "size": 1, "serial": "root"}), 422, "invalid-fields"),
        (api.delete(f"{path}/disk/root"), 409, "root-disk"),
        (api.delete(f"{path}/disk/no such"), 422, "invalid-fields"),
        (api.delete(f"{path}/disk/00000000"), 404, "disk-not-found"),
        (api.patch(f"{path}/disk/00000000", json={"size": 9}), 404, "disk-not-found"),
    ]
    for answer, status, kind in tries:
        assert (answer.status_code, answer.get_json()["type"]) == (status, f"urn:ucloud:problem:{kind}"), answer.text
    assert tries[0][0].get_json()["errors"] == [
        {"field": "size", "problem": "is smaller than the disk, and disks only grow", "allowed": "at least 1 GiB"}
    ]
    assert world.request_of(vm["uuid"]) == before


def test_there_is_a_most_disks(api: FlaskClient, world: World) -> None:
    vm = made(api, hdd=[1] * (MOST_DISKS - 2))
    path = f"/v1/vm/{vm['uuid']}/disk"
    assert len(api.post(path, json={"kind": "ssd", "size": 1}).get_json()["disks"]) == MOST_DISKS
    refused = api.post(path, json={"kind": "ssd", "size": 1})
    assert (refused.status_code, refused.get_json()["type"]) == (409, "urn:ucloud:problem:too-many-disks")
    assert len(world.request_of(vm["uuid"]).specs.disks) == MOST_DISKS


def test_a_quota_holds_for_a_disk_more_and_a_larger_one(api: FlaskClient, world: World) -> None:
    world.add_account("ann", quota=Quota(vms=1, cpu=1, ram_mib=1024, ssd_mib=6144, hdd_mib=1024))
    ann = {"headers": bearer(world.log_in("ann"))}
    vm = api.post("/v1/vm", json=VM, **ann).get_json()
    path = f"/v1/vm/{vm['uuid']}/disk"
    for over in (
        api.post(path, json={"kind": "hdd", "size": 2}, **ann),
        api.patch(f"{path}/root", json={"size": 7}, **ann),
    ):
        assert (over.status_code, over.get_json()["type"]) == (403, "urn:ucloud:problem:over-quota")
    serial = api.post(path, json={"kind": "ssd", "size": 2}, **ann).get_json()["disks"][1]["serial"]
    assert charged(world, vm["uuid"], "ann").ssd_mib == 6144
    assert api.patch(f"{path}/root", json={"size": 5}, **ann).status_code == 403
    assert api.delete(f"{path}/{serial}", **ann).status_code == 202
    assert api.patch(f"{path}/root", json={"size": 5}, **ann).status_code == 202


def test_disks_change_where_a_resize_may(api: FlaskClient, world: World) -> None:
    world.add_host()
    vm = made(api, hdd=1)
    path = f"/v1/vm/{vm['uuid']}/disk"
    world.place(vm["uuid"])
    for actual, status in ((Actual.MIGRATING, 409), (Actual.DELETING, 409), (Actual.STOPPED, 202)):
        world.report(vm["uuid"], actual)
        answers = [
            api.post(path, json={"kind": "ssd", "size": 1}, headers=FRESH),
            api.patch(f"{path}/root", json={"size": 5}, headers=FRESH),
            api.delete(f"{path}/hdd", headers=FRESH),
        ]
        assert {each.status_code for each in answers} == {status}, (actual, answers[0].text)


def test_the_same_request_twice_is_one_disk(api: FlaskClient, world: World) -> None:
    vm = made(api)
    again = {"headers": {"Idempotency-Key": "a-disk-more"}}
    first, second = (api.post(f"/v1/vm/{vm['uuid']}/disk", json={"kind": "ssd", "size": 1}, **again) for _ in range(2))
    assert first.get_json()["disks"] == second.get_json()["disks"]
    assert len(world.request_of(vm["uuid"]).specs.disks) == 2


def test_of_many_who_add_disks_at_once_each_gets_its_own(served: DaemonProcess, world: World) -> None:
    admin = Client(f"http://[::1]:{served.port}/v1", world.log_in("admin"))
    uuid = admin.post("/vm", json=VM).json()["uuid"]

    def add(_: int) -> int:
        return int(admin.post(f"/vm/{uuid}/disk", json={"kind": "ssd", "size": 1}).status_code)

    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(add, range(10)))
    assert statuses.count(202) == MOST_DISKS - 1
    specs = world.request_of(uuid).specs
    assert len({disk.serial for disk in specs.disks}) == MOST_DISKS
    assert charged(world, uuid).ssd_mib == specs.ssd_mib == 4096 + (MOST_DISKS - 1) * 1024

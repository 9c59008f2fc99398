"""What a host tells of itself, and what the doctor makes of it: on a real libvirtd and a store of files."""

import requests

from common import keys
from common.schemas.event import EventRecord
from common.schemas.host import Alive, HostStatus, StoreCapacity
from common.schemas.inventory import Inventory, InventoryDoor
from common.schemas.vm import Actual, Requested
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.rig import BLANK, IMAGE, Rig
from ucloud_api.doctor.examination import look

_TIMEOUT_S = 20


def door_of(rig: Rig) -> InventoryDoor:
    key = keys.inventory(rig.host.name)
    entry = wait_for("where the inventory is", lambda: rig.store.get(key), _TIMEOUT_S)
    return InventoryDoor.read(key, entry.value)


def ask(door: InventoryDoor, token: str, **parameters: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(door.url, params=parameters, headers=headers, timeout=_TIMEOUT_S)


def test_guests_disks_and_images_are_told_to_who_has_the_token(rig: Rig) -> None:
    door, vm = door_of(rig), rig.new_vm()
    rig.order(vm, Requested.STOPPED, 1, BLANK)
    rig.wait_status(vm, Actual.STOPPED, 1)
    told = Inventory.model_validate_json(ask(door, door.token, disks="1").content)
    assert vm in told.guests
    assert vm in (told.disks or ())
    assert {IMAGE, BLANK} <= (told.templates or set())
    assert Inventory.model_validate_json(ask(door, door.token).content).disks is None
    assert ask(door, "sesame").status_code == 401
    status = rig.status(vm)
    assert status
    assert status.console
    assert ask(door, status.console.token).status_code == 401
    rig.delete(vm, 2)


def test_what_the_host_sees_of_a_vm_is_told_in_the_transaction_of_the_status(rig: Rig) -> None:
    vm = rig.new_vm()
    rig.order(vm, Requested.STOPPED, 1, BLANK)
    rig.wait_status(vm, Actual.STOPPED, 1)
    status = rig.status(vm)
    assert status
    entries = rig.store.list(keys.events(rig.host.name, "vm", vm)).entries
    events = [EventRecord.read(entry.key, entry.value) for entry in entries]
    assert [(event.at, event.what) for event in events] == [(event.at, event.what) for event in status.events]
    assert {event.owner for event in events} == {"admin"}
    assert all(entry.lease for entry in entries)
    rig.delete(vm, 2)


def test_the_doctor_sees_what_is_left_on_a_host(rig: Rig) -> None:
    name, door = rig.host.name, door_of(rig)
    store_id = rig.images.capacity().ssd.store_id
    status = HostStatus(name=name, cpu=1, ram_mib=1024, ssd=StoreCapacity(store_id=store_id, total_mib=1000))
    rig.put(keys.host_status(name), status.to_json())
    rig.put(keys.alive(name), Alive(name=name, boot_id="1").to_json())
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 1)
    assert door.url

    def found() -> set[tuple[str, str]]:
        return {(each.code, each.thing.rpartition("/")[2]) for each in look(rig.store)}

    assert ("orphan-disk", vm) in found()  # as nobody requests it
    assert ("orphan-guest", vm) not in found()
    assert not {"host-unreachable", "clock-skew"} & {code for code, _ in found()}
    rig.withdraw(vm)
    assert ("orphan-guest", vm) in found()
    rig.order(vm, Requested.RUNNING, 2, BLANK)
    rig.delete(vm, 3)
    assert not {each for each in found() if each[1] == vm}

"""Looking into things: what happened to them, why they are as they are, what is wrong with the cloud."""

import json
from datetime import UTC, datetime

from common import keys
from common.events import event_id
from common.schemas.event import EventRecord
from common.schemas.vm import Actual
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import NOBODY, World
from tests.integration.ucloud_cli.conftest import Program

CREATE = ("vm", "create", "web", "--image", "debian", "--cpu", "1", "--ram", "1", "--ssd", "2", "--no-wait")


def made(ucloud: Program, world: World) -> str:
    world.add_image()
    uuid: str = json.loads(ucloud(*CREATE, "-o", "json").out)["uuid"]
    return uuid


def tell(world: World, vm: str, what: str) -> None:
    """The scheduler tells of something."""
    now = datetime.now(UTC)
    record = EventRecord(at=now, what=what, owner="admin", admin_only="of 3 hosts")
    world.put(keys.event(keys.SCHEDULER_REPORTER, "vm", vm, event_id(now)), record)


def test_events_of_a_vm_and_of_one_that_is_gone(ucloud: Program, world: World) -> None:
    vm = made(ucloud, world)
    tell(world, vm, "placed on h1\x1b[31m")
    said = ucloud("vm", "events", "web", "-o", "wide").out.splitlines()
    assert said[0].split() == ["AT", "WHAT", "BY", "REPORTER", "DETAILS"]
    assert "created: web" in said[1]
    assert "placed on h1?[31m" in said[2]
    assert "of 3 hosts" in said[2]
    world.forget(vm)
    assert [each["by"] for each in json.loads(ucloud("vm", "events", vm, "-o", "json").out)] == ["admin", ""]
    assert ucloud("vm", "events", NOBODY).status != 0
    assert ucloud("vm", "events", "web").status != 0


def test_events_are_followed(ucloud: Program, world: World) -> None:
    vm = made(ucloud, world)
    process = ucloud.start("vm", "events", "web", "--follow", "-o", "json")
    assert process.stdout
    try:
        assert json.loads(process.stdout.readline())["what"].startswith("created")
        tell(world, vm, "placed on h1")
        assert json.loads(process.stdout.readline())["what"] == "placed on h1"
    finally:
        process.kill()
        process.communicate()


def test_why_is_told_in_words_and_as_data(ucloud: Program, world: World) -> None:
    vm = made(ucloud, world)
    world.add_host()
    world.run(vm, Actual.RUNNING)
    wait_for("RUNNING", lambda: "web is RUNNING" in ucloud("vm", "why", "web").out, 20)
    assert "h1 (ALIVE) says RUNNING" in ucloud("vm", "why", "web").out
    assert json.loads(ucloud("vm", "why", "web", "-o", "json").out)["placements"][0]["host"] == "h1"


def test_the_doctor_says_what_is_wrong_and_mends_it(ucloud: Program, world: World) -> None:
    name = keys.name("alice", "vm", "ghost")
    world.put(name, NOBODY.encode())
    said = ucloud("doctor")
    assert said.status == 1  # nobody is elected in this cloud
    assert "nobody-elected" in said.out
    assert '"ghost"' in said.out
    assert "ucloud doctor --fix" in said.out
    assert world.store.get(name)
    mended = json.loads(ucloud("doctor", "--fix", "--code", "name-without-thing", "-o", "json").out)
    assert [each["thing"] for each in mended if each["mended"]] == [name]
    assert world.store.get(name) is None
    assert ucloud("doctor", "--code", "x").status == 2

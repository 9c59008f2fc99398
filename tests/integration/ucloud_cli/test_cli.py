"""The program `ucloud` against a real API: what it prints, how it waits, what it says when something is wrong."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from common import keys
from common.schemas.image import ImageActual
from common.schemas.vm import Actual
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import free_port
from tests.integration.ucloud_api.world import NOBODY, World
from tests.integration.ucloud_cli.conftest import Run, Said, run_program

SPECS = ("--cpu", "1", "--ram", "512MiB", "--ssd", "4")
CREATE = ("vm", "create", "--image", "debian", *SPECS)
DEADLINE_S = 20.0


def only_vm(world: World) -> str:
    """The uuid of the VM, once there is one."""
    entries = wait_for("a VM", lambda: world.store.list(keys.VM).entries, DEADLINE_S)
    return keys.last_part(entries[0].key)


def meanwhile(act: Callable[[], Any]) -> threading.Thread:
    """Do something while the program waits; a failure fails the test (pytest sees to that)."""
    thread = threading.Thread(target=act)
    thread.start()
    return thread


def one_line(said: Said) -> str:
    """The only line on stderr; stdout is empty."""
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_a_vm_from_creation_to_deletion(ucloud: Run, world: World) -> None:
    world.add_image()
    world.add_host()
    thread = meanwhile(lambda: world.run(only_vm(world)))
    said = ucloud(*CREATE, "--name", "web", "--wait", "-o", "json")
    thread.join()
    vm = json.loads(said.out)
    assert (said.status, vm["name"], vm["status"]) == (0, "web", "RUNNING")
    assert said.err.splitlines()[-1].startswith("web: ")

    listed = ucloud("vm", "list").out.splitlines()
    assert len(listed) == 2
    assert listed[0].split()[:4] == ["NAME", "UUID", "OWNER", "STATUS"]
    assert listed[1].split() == [
        "web",
        vm["uuid"],
        "admin",
        "RUNNING",
        "h1",
        "1",
        "512MiB",
        "4GiB",
        "debian",
        "2001:db8::1",
    ]
    assert "\x1b" not in "".join(listed)
    for name in ("web", vm["uuid"]):
        assert json.loads(ucloud("vm", "show", name, "-o", "json").out) == vm
    assert yaml.safe_load(ucloud("-o", "yaml", "vm", "show", "web").out)["uuid"] == vm["uuid"]
    assert "2001:db8::1" in ucloud("vm", "show", "web").out
    assert json.loads(ucloud("host", "list", "-o", "json").out)[0]["ordered"]["ram"] == "512MiB"

    def forget() -> None:
        wait_for("the request", lambda: world.request_of(vm["uuid"]).requested == "DELETED", DEADLINE_S)
        world.forget(vm["uuid"])

    thread = meanwhile(forget)
    said = ucloud("vm", "delete", "web", "--wait")
    thread.join()
    assert (said.status, said.out) == (0, "web is deleted\n")
    said = ucloud("vm", "show", "web")
    assert said.status == 4
    assert 'there is no VM "web"' in one_line(said)


def test_states_are_requested_by_verbs(ucloud: Run, world: World) -> None:
    world.add_image()
    world.add_host()
    assert ucloud(*CREATE, "--name", "web", "--stopped").status == 0
    uuid = only_vm(world)
    assert world.request_of(uuid).requested == "STOPPED"
    world.run(uuid)
    wait_for("it RUNNING", lambda: "RUNNING" in ucloud("vm", "list").out, DEADLINE_S)
    for verb, requested in (("suspend", "SUSPENDED"), ("resume", "RUNNING"), ("stop", "STOPPED"), ("start", "RUNNING")):
        assert ucloud("vm", verb, "web").status == 0
        assert world.request_of(uuid).requested == requested
    world.report(uuid, Actual.STOPPED)
    wait_for("it STOPPED", lambda: "STOPPED" in ucloud("vm", "list").out, DEADLINE_S)
    said = ucloud("vm", "suspend", "web")
    assert said.status == 1
    assert one_line(said) == 'ucloud: the VM "web" is STOPPED; allowed now: RUNNING, STOPPED, DELETED'


def test_waiting_ends_with_the_reason_when_it_fails(ucloud: Run, world: World) -> None:
    world.add_image()
    world.add_host()

    def fail() -> None:
        uuid = only_vm(world)
        world.place(uuid)
        world.report(uuid, Actual.ERROR, reason="the store of this host has no such image")

    thread = meanwhile(fail)
    said = ucloud(*CREATE, "--name", "web", "--wait")
    thread.join()
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines()[-1] == "ucloud: web: ERROR: the store of this host has no such image"


def test_waiting_ends_with_the_reason_after_its_time(ucloud: Run, world: World) -> None:
    world.add_image()

    def explain() -> None:
        world.report(only_vm(world), Actual.PENDING, host="-", epoch=0, reason="no host has 1 GiB free: 3 too small")

    thread = meanwhile(explain)
    said = ucloud(*CREATE, "--name", "web", "--wait", "--timeout", "3")
    thread.join()
    assert said.status == 1
    assert said.err.splitlines()[-1] == (
        "ucloud: web: not done after 3 s, it is PENDING: no host has 1 GiB free: 3 too small"
    )


def test_images_nested_and_flat(ucloud: Run, world: World) -> None:
    def reject() -> None:
        entries = wait_for("an image", lambda: world.store.list(keys.IMAGE).entries, DEADLINE_S)
        world.set_image(keys.last_part(entries[0].key), ImageActual.REJECTED, "it has a backing file")

    thread = meanwhile(reject)
    said = ucloud("image-create", "--name", "xyz", "--file", "x.qcow2", "--wait")
    thread.join()
    assert said.status == 1
    assert said.err.splitlines()[-1] == "ucloud: xyz: REJECTED: it has a backing file"
    assert "xyz" in ucloud("image-list").out
    assert ucloud("image-delete", "xyz").status == 0
    world.add_image()
    assert ucloud("vm-create", "--name", "web", "--image", "debian", *SPECS).status == 0
    said = ucloud("image", "delete", "debian")
    assert said.status == 1
    assert only_vm(world) in one_line(said)
    assert ucloud("vm-delete", "web").status == 0
    assert "DELETING" in ucloud("vm-list").out
    assert ucloud("host-list").out.split()[:2] == ["NAME", "STATE"]


def test_a_name_of_several_owners_is_ambiguous(ucloud: Run, world: World) -> None:
    world.add_image()
    for owner in ("ann", "bob"):
        assert ucloud(*CREATE, "--name", "web", "--owner", owner).status == 0
    said = ucloud("vm", "delete", "web")
    assert said.status == 1
    line = one_line(said)
    for vm in json.loads(ucloud("vm", "list", "-o", "json").out):
        assert f"{vm['uuid']} of {vm['owner']}" in line
    assert {entry.value.count(b"DELETED") for entry in world.store.list(keys.VM).entries} == {0}


def test_hosts_are_set(ucloud: Run, world: World) -> None:
    world.add_host()
    assert "draining" in ucloud("host", "set", "h1", "--state", "draining").out
    assert ucloud("host", "set", "h1", "--overcommit-cpu", "2").status == 0
    assert "cpu 2.0, ram 1.0, disk 1.0" in ucloud("host", "show", "h1").out
    assert json.loads(ucloud("host", "show", "h1", "-o", "json").out)["overcommit"]["cpu"] == 2.0
    assert ucloud("host", "set", "h1").status == 2
    assert ucloud("host", "set", "h9", "--state", "enabled").status == 4


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (
            ("vm", "create", "--name", "W", "--image", "debian", *SPECS),
            2,
            "--name is not of the allowed form (allowed:",
        ),
        ((*CREATE, "--cpu", "0"), 2, "--cpu is too small (allowed: Processors: an integer from 1 to 512)"),
        ((*CREATE, "--ram", "1MiB"), 2, "--ram is too small"),
        ((*CREATE, "--ssd", "1"), 2, "--ssd is smaller than the image (allowed: at least 2 GiB)"),
        ((*CREATE, "--image", "no"), 4, 'there is no image "no"'),
        (("vm", "show", NOBODY), 4, "there is no VM"),
        (("vm", "log", "Nobody"), 4, 'there is no VM "Nobody" (ucloud vm list shows them)'),
        (("image", "delete", "none"), 4, 'there is no image "none"'),
        (("host", "show", "h9"), 4, 'there is no host "h9"'),
        (("vm", "list", "--status", "on"), 2, "(allowed: PENDING, DEPLOYING,"),
        (("--url", "nowhere", "vm", "list"), 2, "is no URL of an API"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    ucloud: Run, world: World, arguments: tuple[str, ...], status: int, words: str
) -> None:
    world.add_image()
    said = ucloud(*arguments)
    assert said.status == status, said
    assert words in one_line(said)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("vm",),
        ("vm", "fly"),
        (*CREATE[:4], "--cpu", "x"),
        (*CREATE, "--ram", "1GB"),
        ("vm", "create"),
        ("vm", "show"),
    ],
)
def test_what_is_typed_wrong_is_a_usage_error(ucloud: Run, arguments: tuple[str, ...]) -> None:
    assert ucloud(*arguments).status == 2


def test_an_api_that_is_away_is_said_in_one_line() -> None:
    said = run_program(f"http://[::1]:{free_port()}", "vm", "list")
    assert said.status == 1
    assert "can't be reached; is ucloud-api running?" in one_line(said)


def test_etcd_away_is_said_in_one_line(ucloud: Run, world: World, etcd: EtcdCluster) -> None:
    world.add_image()
    etcd.pause(0)
    try:
        said = ucloud(*CREATE)
    finally:
        etcd.resume(0)
    assert said.status == 1
    assert "etcd does not answer; try again in" in one_line(said)

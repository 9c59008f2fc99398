"""The program `ucloud` against a real API: what it prints, how it waits, what it says when something is wrong."""

import json
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
import yaml

from common import keys
from common.schemas.host import HostRequest
from common.schemas.image import ImageActual
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import NOBODY, World
from tests.integration.ucloud_cli.conftest import CREATE, DEADLINE_S, SPECS, Program, Run, meanwhile, only_vm


def test_a_vm_from_creation_to_deletion(ucloud: Run, world: World) -> None:
    world.add_image()
    world.add_host()
    thread = meanwhile(lambda: world.run(only_vm(world)))
    said = ucloud(*CREATE, "web", "-o", "json")
    thread.join()
    vm = json.loads(said.out)
    assert (said.status, vm["name"], vm["status"]) == (0, "web", "RUNNING")
    assert said.err.splitlines()[-1].startswith("web: ")

    listed = ucloud("vm", "list").out.splitlines()
    assert len(listed) == 2
    assert listed[0].split()[:4] == ["NAME", "OWNER", "STATUS", "HOST"]
    assert listed[1].split() == ["web", "admin", "RUNNING", "h1", "1", "512MiB", "4GiB", "debian", "2001:db8::1"]
    assert vm["uuid"] in ucloud("vm", "list", "-o", "wide").out
    assert ucloud("vm", "ls", "--columns", "uuid,name", "--no-header").out.split() == [vm["uuid"], "web"]
    assert "\x1b" not in "".join(listed)
    for name in ("web", vm["uuid"], "admin/web"):
        assert json.loads(ucloud("vm", "show", name, "-o", "json").out) == vm
    assert yaml.safe_load(ucloud("-o", "yaml", "vm", "show", "web").out)["uuid"] == vm["uuid"]
    assert "2001:db8::1" in ucloud("vm", "show", "web").out
    assert json.loads(ucloud("host", "list", "-o", "json").out)[0]["ordered"]["ram"] == "512MiB"

    def forget() -> None:
        wait_for("the request", lambda: world.request_of(vm["uuid"]).requested == "DELETED", DEADLINE_S)
        world.forget(vm["uuid"])

    thread = meanwhile(forget)
    said = ucloud("vm", "delete", "web")
    thread.join()
    assert (said.status, said.out) == (0, "web is deleted\n")
    said = ucloud("vm", "show", "web")
    assert said.status == 4
    assert 'there is no VM "web"' in said.one_line()


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
    said = ucloud(*CREATE, "--name", "web", "--timeout", "3")
    thread.join()
    assert said.status == 1
    assert said.err.splitlines()[-1] == (
        "ucloud: web: not done after 3 s, it is PENDING: no host has 1 GiB free: 3 too small; what was asked for stands"
    )


def test_images_nested_and_flat(ucloud: Run, world: World) -> None:
    def reject() -> None:
        entries = wait_for("an image", lambda: world.store.list(keys.IMAGE).entries, DEADLINE_S)
        world.set_image(keys.last_part(entries[0].key), ImageActual.REJECTED, "it has a backing file")

    thread = meanwhile(reject)
    said = ucloud("image-create", "--name", "xyz", "--file", "x.qcow2")
    thread.join()
    assert said.status == 1
    assert said.err.splitlines()[-1] == "ucloud: xyz: REJECTED: it has a backing file"
    assert "xyz" in ucloud("image-list").out
    assert ucloud("image-delete", "xyz", "--no-wait").status == 0
    world.add_image()
    assert ucloud("vm-create", "--name", "web", "--image", "debian", *SPECS, "--no-wait").status == 0
    said = ucloud("image", "delete", "debian")
    assert said.status == 5
    assert only_vm(world) in said.one_line()
    assert ucloud("vm-delete", "web", "--no-wait").status == 0
    assert "DELETING" in ucloud("vm-list").out
    assert ucloud("host-list").out.split()[:2] == ["NAME", "STATE"]


def test_a_name_of_several_owners_is_ambiguous(ucloud: Run, world: World) -> None:
    world.add_image()
    for owner in ("ann", "bob"):
        world.add_account(owner)
        assert ucloud(*CREATE, "--name", "web", "--owner", owner, "--no-wait").status == 0
    said = ucloud("vm", "delete", "web")
    assert said.status == 5
    assert said.one_line().endswith('"web" is the name of 2 VMs, say which: ann/web, bob/web')
    assert not [entry for entry in world.store.list(keys.VM).entries if b"DELETED" in entry.value]
    assert json.loads(ucloud("vm", "delete", "bob/web", "--no-wait", "-o", "json").out)["owner"] == "bob"


def test_the_death_of_a_host_is_confirmed(ucloud: Run, world: World) -> None:
    world.add_host()
    wait_for("the host", lambda: "ALIVE" in ucloud("host", "list").out, DEADLINE_S)
    refused = ucloud("host", "confirm-dead", "h1", "--yes")
    assert (refused.status, refused.one_line()) == (5, "ucloud: h1 is ALIVE: there is nothing to confirm")
    world.remove(keys.alive("h1"))
    silent = Verdict(
        host="h1",
        sentence=Sentence.SILENT,
        since=datetime.now(UTC),
        waits_for="manual",
        answers={"storage": "no: in use"},
    )
    world.put(keys.verdict("h1"), silent)
    wait_for("its silence", lambda: "storage: no: in use" in ucloud("host", "show", "h1").out, DEADLINE_S)
    assert ucloud("host", "confirm-dead", "h1").status == 1  # nobody answers the question
    assert world.store.get(keys.host("h1")) is None
    assert "SILENT" in ucloud("host", "confirm-dead", "h1", "--yes").out
    entry = world.store.get(keys.host("h1"))
    assert entry
    word = HostRequest.read(entry.key, entry.value).confirmed_dead
    assert word
    assert word.since == silent.since


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
            "the name is not of the allowed form (allowed:",
        ),
        ((*CREATE, "--cpu", "0"), 2, "--cpu is too small (allowed: Processors: an integer from 1 to 512)"),
        ((*CREATE, "--ram", "1MiB"), 2, "--ram is too small"),
        ((*CREATE[:-1], "1"), 2, "--ssd is smaller than the image (allowed: at least 2 GiB)"),
        ((*CREATE, "--image", "no"), 4, 'there is no image "no"'),
        (("vm", "show", NOBODY), 4, "there is no VM"),
        (("vm", "log", "Nobody"), 4, 'there is no VM "Nobody" (ucloud vm list shows them)'),
        (("image", "delete", "debain"), 4, 'there is no image "debain"; did you mean debian? (ucloud image list'),
        (("host", "show", "h9"), 4, 'there is no host "h9"; there is h1 (ucloud host list shows them)'),
        (("host", "show", "../vm"), 4, 'there is no host "../vm"'),
        (("--url", "nowhere", "vm", "list"), 2, "is no URL of an API"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    ucloud: Run, world: World, arguments: tuple[str, ...], status: int, words: str
) -> None:
    world.add_image()
    world.add_host()
    wait_for("the host", lambda: "h1" in ucloud("host", "list").out, DEADLINE_S)
    said = ucloud(*arguments)
    assert said.status == status, said
    assert words in said.one_line()


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
        ("vm", "list", "--status", "on"),
    ],
)
def test_what_is_typed_wrong_is_a_usage_error(ucloud: Run, arguments: tuple[str, ...]) -> None:
    assert ucloud(*arguments).status == 2


def test_an_api_that_is_away_is_said_in_one_line(tmp_path: Path) -> None:
    said = Program(tmp_path, UCLOUD_URL=f"http://[::1]:{free_port()}")("vm", "list")
    assert said.status == 6
    assert "can't be reached; is ucloud-api running?" in said.one_line()


def test_etcd_away_is_said_and_waited_for_but_not_for_ever(
    ucloud: Run, world: World, etcd: EtcdCluster, api_url: str
) -> None:
    world.add_image()
    assert ucloud("vm", "list").status == 0
    etcd.pause(0)
    try:
        said = ucloud(*CREATE)
    finally:
        etcd.resume(0)
        wait_for("the API to be well again", lambda: requests.get(f"{api_url}/healthz", timeout=9).ok, DEADLINE_S)
    assert said.status == 6
    *tries, last = said.err.splitlines()
    assert tries
    assert all("trying again in 5 s" in line for line in tries)
    assert "etcd does not answer" in last
    assert last.endswith("try again in 5 s")


def test_who_does_not_want_to_wait_any_longer_need_not(ucloud: Program, world: World) -> None:
    world.add_image()
    process = ucloud.start(*CREATE, "web")
    assert process.stderr
    assert process.stderr.readline().startswith("web: PENDING")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("ucloud: web: no longer waited for, it is PENDING")
    assert world.request_of(only_vm(world)).requested == "RUNNING"


def test_names_are_completed_for_who_asks(as_user: Callable[[str], Program], world: World) -> None:
    world.add_image()
    assert as_user("admin")("image", "set", "debian", "--public").status == 0
    for owner in ("ann", "bob"):
        world.add_account(owner)
        for name in (f"{owner}-1", "web"):
            said = as_user("admin")(*CREATE, "--name", name, "--owner", owner, "--no-wait")
            assert said.status == 0, said

    def completed(user: str, *words: str) -> list[str]:
        program = as_user(user)
        program.environment |= {
            "_UCLOUD_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["ucloud", *words]),
            "COMP_CWORD": str(len(words)),
        }
        return program().out.splitlines()

    def shows(words: tuple[str, ...], names: list[str]) -> None:
        # A completion that the API does not answer within a second stays silent: on a busy machine, now and then.
        wait_for(f"{names} after {words}", lambda: completed(*words) == names, DEADLINE_S)

    shows(("ann", "vm", "stop", "a"), ["plain,ann-1"])
    shows(("admin", "vm-delete", "bob"), ["plain,bob-1", "plain,bob/web"])
    shows(("admin", "vm", "list", "--owner", "b"), ["plain,bob"])
    assert completed("ann", "vm", "stop", "b") == [""]

"""Answers that are lost on the way: what was asked for is done, and done once."""

import json

import pytest

from common import keys
from common.schemas.vm import Actual
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import CREATE, Program, only_vm
from tests.integration.ucloud_cli.cutter import Cutter


def test_a_create_whose_answers_are_lost_makes_one_vm(ucloud: Program, world: World, api_url: str) -> None:
    world.add_image()
    with Cutter(api_url, "POST", times=3) as cutter:
        said = ucloud(*CREATE, "--name", "web", "--no-wait", "-o", "json", "--url", cutter.url)
        assert cutter.cut == 3
    assert said.status == 0, said
    (entry,) = world.store.list(keys.VM).entries
    assert json.loads(said.out)["uuid"] == keys.last_part(entry.key)
    assert len(world.store.list(keys.CHARGE).entries) == 1


def test_a_reboot_whose_answers_are_lost_is_one_reboot(ucloud: Program, world: World, api_url: str) -> None:
    world.add_image()
    world.add_host()
    assert ucloud(*CREATE, "web", "--no-wait").status == 0
    world.run(only_vm(world), Actual.RUNNING)
    with Cutter(api_url, "POST", times=2) as cutter:
        said = ucloud("vm", "reboot", "web", "--no-wait", "--url", cutter.url)
        assert cutter.cut == 2
    assert said.status == 0, said
    assert world.request_of(only_vm(world)).reboots == 1


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_whatever_answer_is_lost_it_is_asked_for_again(
    ucloud: Program, world: World, api_url: str, method: str
) -> None:
    world.add_image()
    assert ucloud(*CREATE, "web", "--no-wait").status == 0
    arguments = {"GET": ["show", "web"], "PATCH": ["rename", "web", "shop"], "DELETE": ["delete", "web"]}[method]
    waiting = [] if method == "GET" else ["--no-wait"]
    with Cutter(api_url, method, times=2) as cutter:
        said = ucloud("vm", *arguments, *waiting, "--url", cutter.url)
        assert cutter.cut == 2
    assert said.status == 0, said
    assert world.request_of(only_vm(world)).generation == (1 if method == "GET" else 2)


def test_a_user_whose_deletion_was_answered_to_nobody_is_deleted(ucloud: Program, api_url: str) -> None:
    assert ucloud("user", "create", "ann").status == 0
    with Cutter(api_url, "DELETE", times=1) as cutter:
        said = ucloud("user", "delete", "ann", "--url", cutter.url)
        assert cutter.cut == 1
    assert (said.status, said.out) == (0, "ann is deleted\n")

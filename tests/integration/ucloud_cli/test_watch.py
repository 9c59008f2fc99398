"""`vm watch`: what changes is told as it happens, over streams that break and are resumed."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.schemas.vm import Actual
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import CREATE, DEADLINE_S, Program, only_vm
from tests.integration.ucloud_cli.terminal import Terminal


class Lines:
    """What a process prints, line by line, as it does."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.lines: list[str] = []
        self._process = process
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait(self, what: str, is_it: Callable[[str], bool]) -> str:
        """The first line that is the one that is waited for."""
        return wait_for(what, lambda: next((line for line in self.lines if is_it(line)), None), DEADLINE_S)


@contextmanager
def watching(ucloud: Program, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", Lines]]:
    process = ucloud.start("vm", "watch", *arguments)
    try:
        yield process, Lines(process)
    finally:
        process.kill()
        process.wait()


def test_changes_are_told_in_lines_where_there_is_no_terminal(ucloud: Program, world: World) -> None:
    world.add_image()
    world.add_host()
    with watching(ucloud, "--columns", "NAME,STATUS") as (process, told):
        assert ucloud(*CREATE, "web", "--no-wait").status == 0
        told.wait("PENDING", lambda line: line.split()[1:] == ["web", "PENDING"])
        world.run(only_vm(world))
        told.wait("RUNNING", lambda line: line.split()[1:] == ["web", "RUNNING"])
        world.forget(only_vm(world))
        told.wait("deleted", lambda line: line.endswith("web is deleted"))
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0


def test_one_vm_is_followed_until_it_is_gone(ucloud: Program, world: World) -> None:
    world.add_image()
    world.add_host()
    assert ucloud(*CREATE, "web", "--no-wait").status == 0
    uuid = only_vm(world)
    with watching(ucloud, "web", "-o", "json") as (process, told):
        told.wait("PENDING", lambda line: json.loads(line)["status"] == "PENDING")
        world.run(uuid, Actual.RUNNING)
        told.wait("RUNNING", lambda line: json.loads(line)["status"] == "RUNNING")
        world.forget(uuid)
        assert process.wait(DEADLINE_S) == 0
        told.wait("deleted", lambda line: json.loads(line) == {"uuid": uuid, "name": "web", "deleted": True})


def test_a_terminal_shows_a_table_that_lives(ucloud: Program, world: World) -> None:
    world.add_image()
    world.add_host()
    assert ucloud(*CREATE, "web", "--no-wait").status == 0
    with Terminal(ucloud, "vm", "watch") as terminal:
        terminal.wait_shown(b"PENDING")
        world.run(only_vm(world))
        terminal.wait_shown(b"RUNNING")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(DEADLINE_S) == 0

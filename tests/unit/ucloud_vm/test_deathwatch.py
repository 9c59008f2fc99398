"""A process that dies is told of, with real processes that listen as QEMU does for its display."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcloud.waiting import wait_for
from ucloud_vm.deathwatch import Deathwatch
from ucloud_vm.run_directory import RunDirectory

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
_LISTEN = """
import signal, socket, sys, pathlib
# Waited for: a handler would not be run if the signal came just before the process slept.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
path = pathlib.Path(sys.argv[1])
path.unlink(missing_ok=True)
with socket.socket(socket.AF_UNIX) as display:
    display.bind(str(path))
    display.listen(8)
    print("listening", flush=True)
    signal.sigwait({signal.SIGTERM})
"""


class World:
    """A watched folder of sockets, and who was told to be dead."""

    def __init__(self, folder: Path) -> None:
        self.run = RunDirectory(folder)
        self.run.make(VM, (0, 0))
        self.watch = Deathwatch(self.run)
        self.told: list[str] = []
        self.watch.subscribe(self.told.append)

    def start(self) -> "subprocess.Popen[bytes]":
        guest = subprocess.Popen([sys.executable, "-c", _LISTEN, str(self.run.vnc_socket(VM))], stdout=subprocess.PIPE)
        assert guest.stdout is not None
        assert guest.stdout.readline() == b"listening\n"
        return guest


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory() as folder:
        made, stop = World(Path(folder)), threading.Event()
        thread = threading.Thread(target=made.watch.run, args=(stop,))
        thread.start()
        yield made
        stop.set()
        made.watch.close()
        thread.join(5)
        assert not thread.is_alive()


def test_a_death_is_told_once_though_nobody_has_reaped_the_process(world: World) -> None:
    with world.start() as guest:
        for _ in range(3):
            world.watch.watch(VM)
        assert not world.watch.is_dead(VM)
        guest.kill()
        wait_for("word of its death", lambda: world.told, 30)
        assert Path(f"/proc/{guest.pid}").exists(), "a zombie: nobody has waited for it"
        assert world.watch.is_dead(VM)
        world.watch.watch(VM)
    assert world.told == [VM]


def test_the_next_guest_is_not_taken_for_the_dead_one(world: World) -> None:
    with world.start() as guest:
        world.watch.watch(VM)
        guest.kill()
    wait_for("word of its death", lambda: world.told, 30)
    with world.start() as guest:
        assert not world.watch.is_dead(VM)
        world.watch.watch(VM)
        guest.kill()
        wait_for("word of its death", lambda: len(world.told) == 2, 30)
    assert world.watch.is_dead(VM)
    world.watch.forget(VM)
    assert not world.watch.is_dead(VM)


def test_what_is_no_longer_watched_is_not_told(world: World) -> None:
    with world.start() as guest:
        world.watch.watch(VM)
        world.watch.forget(VM)
        guest.kill()
    assert not world.watch.is_dead(VM)
    assert world.told == []


def test_a_guest_that_ends_in_order_has_not_died(world: World) -> None:
    with world.start() as guest:
        world.watch.watch(VM)
        guest.terminate()
        wait_for("word of its end", lambda: world.told, 30)
        assert not world.watch.is_dead(VM)


def test_a_vm_without_a_display_is_not_watched(world: World) -> None:
    world.watch.watch(VM)
    assert not world.watch.is_dead(VM)

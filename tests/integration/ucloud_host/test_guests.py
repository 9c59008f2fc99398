"""Ending guests: real processes that hold the locks which libvirt has a guest hold."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from common.guests import HaMarks
from devcloud import processes
from devcloud.waiting import wait_for
from ucloud_host.guests import Guests

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
OTHER = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a11"
_LOCK = """
import fcntl, os, signal, sys
if sys.argv[1]:
    file = open(sys.argv[1], "w")
    fcntl.lockf(file, fcntl.LOCK_EX, 1)
print("holding", flush=True)
signal.pause()
"""


class World:
    """A directory of libvirt's, with processes."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.pids, run = directory / "qemu", directory / "vm"
        run.mkdir()
        self.marks = HaMarks(run)
        self.guests = Guests(self.pids, self.marks)
        self._stack = stack

    def start(self, name: str = "") -> "subprocess.Popen[bytes]":
        """A process, which holds the lock of a file if that is named."""
        self.pids.mkdir(exist_ok=True)
        path = str(self.pids / name) if name else ""
        process = subprocess.Popen([sys.executable, "-c", _LOCK, path], stdout=subprocess.PIPE)
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        assert process.stdout is not None
        assert process.stdout.readline() == b"holding\n"
        return process


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(tmp_path, stack)


def test_ha_guests_end_and_are_told_until_they_have(world: World) -> None:
    assert world.guests.end_ha() == [], "no guest was ever started here"
    guest, other = world.start(f"ucloud-{VM}.pid"), world.start(f"ucloud-{OTHER}.pid")
    assert sorted(world.guests.end_ha()) == [VM, OTHER]
    wait_for("their end", lambda: world.guests.end_ha() == [], 20)
    assert not processes.is_alive(guest.pid)
    assert not processes.is_alive(other.pid)


def test_others_live_on(world: World) -> None:
    world.marks.set(VM, ha=False)
    alive = [world.start(f"ucloud-{VM}.pid"), world.start("strangers.pid"), world.start(f"ucloud-{OTHER}.xml")]
    assert world.guests.end_ha() == []
    assert all(process.poll() is None for process in alive)
    world.marks.set(VM, ha=True)
    assert world.guests.end_ha() == [VM]


def test_a_process_that_got_the_id_of_a_guest_is_none(world: World) -> None:
    innocent = world.start()
    world.pids.joinpath(f"ucloud-{VM}.pid").write_text(str(innocent.pid))
    assert world.guests.end_ha() == []
    assert innocent.poll() is None


def test_a_frozen_guest_ends_as_well(world: World) -> None:
    guest = world.start(f"ucloud-{VM}.pid")
    processes.send([guest.pid], signal.SIGSTOP)
    assert world.guests.end_ha() == [VM]
    wait_for("its end", lambda: world.guests.end_ha() == [], 20)

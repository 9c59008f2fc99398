"""Each verb of a VM's life, as its guest and the hypervisor see it: two guests live through all of them."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devcloud import processes
from devcloud.cloud import Cloud
from devcloud.errors import DevcloudError
from devcloud.people import USER
from devcloud.programs import SCRIPTS
from devcloud.waiting import wait_for
from tests.system import world

BOOT_S = 120
SHUTDOWN = "UCGUEST shutdown"


@dataclass
class Guest:
    """A VM of the user's, seen from all sides."""

    cloud: Cloud
    name: str
    uuid: str

    def ucloud(self, verb: str, *arguments: str) -> str:
        """What `ucloud vm VERB <name> ARGUMENTS` prints to its owner."""
        return _ucloud(self.cloud, "vm", verb, self.name, *arguments)

    def show(self) -> dict[str, Any]:
        """The resource."""
        shown: dict[str, Any] = json.loads(self.ucloud("show", "-o", "json"))
        return shown

    @property
    def log(self) -> str:
        """All that the guest wrote to its serial console."""
        return self.ucloud("log")

    @property
    def boots(self) -> list[str]:
        """The ids of its boots."""
        return world.boot_ids(self.log)

    def wait_boot(self, number: int) -> None:
        """Wait until it asks for a login in its boot `number`."""

        def is_up() -> bool:
            log = self.log
            return len(world.boot_ids(log)) == number and "login:" in log.rpartition("boot-id")[2]

        wait_for(f"boot {number} of {self.name}", is_up, BOOT_S, interval_s=0.5)

    def virsh(self, command: str, *arguments: str) -> str:
        """What `virsh COMMAND <its domain> ARGUMENTS` prints on its host."""
        host = self.show()["hostname"].rpartition("/")[2]
        return world.virsh(self.cloud, host, command, self.uuid, *arguments)

    def answer(self, command: str, until: str) -> str:
        """What its shell answers to a command, up to `until`."""
        self._type("\nroot\n", until="# ")  # what is typed ahead of a prompt, a login drops
        return self._type(f"{command}\n", until)

    def _type(self, text: str, until: str) -> str:
        command = [str(SCRIPTS / "ucloud"), "vm", "console", self.name, "--until", until, "--timeout", "30"]
        done = subprocess.run(
            command, input=text, env=self.cloud.env(user=USER), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def uptime_s(self) -> float:
        """The guest's own clock, since its boot."""
        # The quotes keep apart what is typed, which the guest's terminal repeats, and what is answered.
        said = self.answer("echo $(cut -d' ' -f1 /proc/uptime) s''ince boot", until="since boot")
        return float(re.findall(r"([0-9.]+) since boot", said)[-1])


def _ucloud(cloud: Cloud, *arguments: str) -> str:
    done = subprocess.run(
        [SCRIPTS / "ucloud", *arguments],
        env=cloud.env(user=USER),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode:
        raise DevcloudError(f"{done.returncode}: {done.stderr}")
    return done.stdout


@pytest.fixture(scope="module")
def guests(cloud: Cloud, guest_image: str) -> Iterator[tuple[Guest, Guest]]:
    """Two guests of the user's that have booted once."""
    made = []
    for name in ("lively", "calm"):
        specs = ("--image", guest_image, "--cpu", "1", "--ram", "96MiB", "--ssd", "1")
        created = json.loads(_ucloud(cloud, "vm", "create", name, *specs, "-o", "json"))
        made.append(Guest(cloud, name, created["uuid"]))
    for guest in made:
        guest.wait_boot(1)
    lively, calm = made
    yield lively, calm
    for guest in made:
        if guest.uuid in _ucloud(cloud, "vm", "list", "-o", "json"):
            _ucloud(cloud, "vm", "delete", guest.uuid)


@pytest.fixture
def guest(guests: tuple[Guest, Guest]) -> Guest:
    """The guest that is stopped, rebooted and resized; RUNNING before and after each test."""
    return guests[0]


@pytest.fixture
def calm(guests: tuple[Guest, Guest]) -> Guest:
    """The guest that is never stopped: what is done to it, it must not notice."""
    return guests[1]


def test_a_suspended_guest_stands_still_in_memory_and_a_resumed_one_goes_on(calm: Guest) -> None:
    (pid,) = world.qemu_pids(calm.cloud, calm.uuid)
    before, started = calm.uptime_s(), time.monotonic()
    calm.ucloud("suspend")
    assert calm.show()["status"] == "SUSPENDED"
    assert calm.virsh("domstate") == "paused"
    assert world.qemu_pids(calm.cloud, calm.uuid) == {pid}
    stood = time.monotonic()
    threading.Event().wait(8)
    stood = time.monotonic() - stood
    calm.ucloud("resume")
    assert calm.virsh("domstate") == "running"
    passed = calm.uptime_s() - before
    assert passed < time.monotonic() - started - stood + 1, "its clock stood"
    assert len(calm.boots) == 1


def test_a_new_name_changes_nothing_else(calm: Guest) -> None:
    (pid,) = world.qemu_pids(calm.cloud, calm.uuid)
    calm.ucloud("rename", "quiet")
    shown = json.loads(_ucloud(calm.cloud, "vm", "show", "quiet", "-o", "json"))
    assert (shown["uuid"], shown["status"]) == (calm.uuid, "RUNNING")
    with pytest.raises(DevcloudError, match=r"^4: "):
        calm.ucloud("show")
    calm.name = "quiet"
    assert world.qemu_pids(calm.cloud, calm.uuid) == {pid}


def test_what_is_protected_is_not_deleted(calm: Guest) -> None:
    (pid,) = world.qemu_pids(calm.cloud, calm.uuid)
    calm.ucloud("protect")
    with pytest.raises(DevcloudError, match=r"^5: .*protect"):
        calm.ucloud("delete")
    assert calm.show()["protected"]
    assert world.qemu_pids(calm.cloud, calm.uuid) == {pid}
    calm.ucloud("unprotect")
    assert not calm.show()["protected"]


def test_the_display_is_pictured(calm: Guest, tmp_path: Path) -> None:
    picture = tmp_path / "calm.png"
    calm.ucloud("screenshot", "--file", str(picture))
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 640
    assert height >= 400
    data, at = b"", 8
    while at < len(content):
        length, kind = struct.unpack(">I4s", content[at : at + 8])
        data += content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    assert len(set(zlib.decompress(data))) > 1, "something is written on the screen"


def test_the_console_is_a_terminal_of_the_guest(calm: Guest) -> None:
    command = [str(SCRIPTS / "ucloud"), "vm", "console", calm.name]
    ours, theirs = pty.openpty()
    console = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=calm.cloud.env(user=USER), start_new_session=True
    )
    os.close(theirs)
    heard = b""

    def hears(what: bytes) -> bool:
        nonlocal heard
        while world.can_be_read(ours):
            heard += os.read(ours, 65536)
        return what in heard

    try:
        wait_for("the console", lambda: hears(b"ctrl-]"), 15)
        os.write(ours, b"\n")
        # It asks for a login, or has the shell of an earlier test still.
        wait_for("an answer", lambda: hears(b"login:") or hears(b"# "), 15)
        os.write(ours, b"root\n" if b"login:" in heard else b"\n")
        wait_for("a prompt", lambda: hears(b"# "), 30)
        os.write(ours, b"echo six times seven is $((6 * 7))\n")
        wait_for("its answer", lambda: hears(b"seven is 42"), 30)
        os.write(ours, b"\x1d")
        assert console.wait(15) == 0
    finally:
        console.kill()
        console.wait()
        os.close(ours)


def test_a_stopped_guest_has_shut_down_and_a_started_one_boots_from_the_same_disk(guest: Guest) -> None:
    boots, shutdowns = len(guest.boots), guest.log.count(SHUTDOWN)
    guest.ucloud("stop")
    assert guest.show()["status"] == "STOPPED"
    assert guest.log.count(SHUTDOWN) == shutdowns + 1
    assert world.qemu_pids(guest.cloud, guest.uuid) == set()
    guest.ucloud("start")
    assert guest.virsh("domstate") == "running"
    guest.wait_boot(boots + 1)
    assert len(set(guest.boots)) == boots + 1
    assert world.reports(guest.log, "boot-count")[-1] == str(boots + 1), "kept on its disk"


def test_a_stop_by_force_cuts_the_power(guest: Guest) -> None:
    boots, shutdowns = len(guest.boots), guest.log.count(SHUTDOWN)
    guest.ucloud("stop", "--force")
    assert world.qemu_pids(guest.cloud, guest.uuid) == set()
    assert guest.log.count(SHUTDOWN) == shutdowns
    guest.ucloud("start")
    guest.wait_boot(boots + 1)


@pytest.mark.parametrize("force", [False, True])
def test_a_reboot_boots_once_more_and_asks_the_guest_unless_forced(guest: Guest, force: bool) -> None:
    boots, shutdowns, reboots = len(guest.boots), guest.log.count(SHUTDOWN), guest.show()["reboots"]
    guest.ucloud("reboot", *(["--force"] if force else []))
    guest.wait_boot(boots + 1)
    assert guest.log.count(SHUTDOWN) == shutdowns + (0 if force else 1)
    assert guest.virsh("domstate") == "running"
    assert guest.show()["reboots"] == reboots + 1


def test_a_resize_is_what_the_guest_has_after_its_next_start(guest: Guest) -> None:
    boots = len(guest.boots)
    guest.ucloud("resize", "--cpu", "2", "--ram", "160MiB", "--ssd", "2")
    assert guest.show()["restart_needed"]
    assert "vda=1024MiB" in world.reports(guest.log, "disks")[-1]
    guest.ucloud("reboot")
    guest.wait_boot(boots + 1)
    assert not guest.show()["restart_needed"]
    cpus, memory_kib = re.findall(r"cpus (\d+) memory (\d+)kB", world.reports(guest.log, "kernel")[-1])[0]
    assert cpus == "2"
    assert 120 * 1024 < int(memory_kib) <= 160 * 1024
    assert world.reports(guest.log, "disks")[-1] == "vda=2048MiB"
    root_mib = int(world.reports(guest.log, "root")[-1].removesuffix("MiB"))
    assert 1500 < root_mib < 2048, "its file system fills the disk"
    info = guest.virsh("dominfo")
    assert re.search(r"CPU\(s\): +2\n", info)
    assert re.search(r"Max memory: +163840 KiB", info)


def test_a_guest_that_dies_is_started_again_and_its_owner_can_read_why(guest: Guest) -> None:
    boots = len(guest.boots)
    (pid,) = world.qemu_pids(guest.cloud, guest.uuid)
    os.kill(pid, signal.SIGKILL)
    guest.wait_boot(boots + 1)
    assert guest.show()["status"] == "RUNNING"
    assert "died" in guest.ucloud("events")


def test_a_guest_that_powers_itself_off_stays_off(guest: Guest) -> None:
    boots = len(guest.boots)
    guest.answer("poweroff", until=SHUTDOWN)
    wait_for("STOPPED", lambda: guest.show()["status"] == "STOPPED", 60)
    assert world.qemu_pids(guest.cloud, guest.uuid) == set()
    assert len(guest.boots) == boots
    guest.ucloud("start")
    guest.wait_boot(boots + 1)


def test_nothing_is_left_of_a_guest_that_is_deleted(guest: Guest) -> None:
    (pid,) = world.qemu_pids(guest.cloud, guest.uuid)
    guest.ucloud("delete")
    assert not processes.is_alive(pid)
    assert all(guest.uuid not in uuids for uuids in world.domains(guest.cloud).values())
    assert not any(guest.uuid in str(path) for path in world.vm_files(guest.cloud))
    assert not any(guest.uuid in key for key in world.vm_keys(guest.cloud))


def test_another_user_neither_sees_nor_touches_it(calm: Guest, ucloud: Callable[..., str]) -> None:
    listed = json.loads(ucloud("vm", "list", "-o", "json"))
    assert calm.uuid in {vm["uuid"] for vm in listed}, "an admin sees all"
    specs = ("--image", "guest", "--cpu", "1", "--ram", "96MiB", "--ssd", "1", "--stopped")
    created = json.loads(ucloud("vm", "create", "hers", *specs, "-o", "json"))
    try:
        assert "hers" not in _ucloud(calm.cloud, "vm", "list")
        for verb in ("show", "start", "delete", "log"):
            with pytest.raises(DevcloudError, match=r"^4: "):
                _ucloud(calm.cloud, "vm", verb, created["uuid"])
    finally:
        ucloud("vm", "delete", "hers")

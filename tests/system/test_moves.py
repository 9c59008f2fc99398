"""Guests move between hosts and don't notice: a host is drained, its daemons are started anew, daemons die meanwhile.

`UCLOUD_MOVING_GUESTS` says how many guests there are, `UCLOUD_MOVE_ROUNDS` in how many moves a daemon is killed.
"""

import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from common import keys
from common.schemas.vm import Placement, Role
from common.store import EtcdOptions, Store
from devcloud.cloud import Cloud
from devcloud.programs import SCRIPTS
from devcloud.waiting import wait_for
from tests.system import world

GUESTS = int(os.environ.get("UCLOUD_MOVING_GUESTS", "3"))
ROUNDS = int(os.environ.get("UCLOUD_MOVE_ROUNDS", "2"))
BOOT_S = 180
MOVE_S = 180
OTHERS = ("h2", "h3")
UPGRADED = ("ucloud-host-guard", "ucloud-vm", "ucloud-host", "ucloud-host-alive")


@dataclass
class Guest:
    """A VM of the admin's whose guest has booted. `boot_id` is that of its only boot."""

    cloud: Cloud
    ucloud: Callable[..., str]
    name: str
    uuid: str
    boot_id: str = ""

    def show(self) -> dict[str, Any]:
        """The resource."""
        shown: dict[str, Any] = json.loads(self.ucloud("vm", "show", self.name, "-o", "json"))
        return shown

    @property
    def host(self) -> str:
        """The name of the host that it is on."""
        return str(self.show()["hostname"]).rpartition("/")[2]

    def wait_boot(self) -> None:
        """Wait until it asks for a login."""

        def is_up() -> bool:
            return "login:" in self.ucloud("vm", "log", self.name).rpartition("boot-id")[2]

        wait_for(f"{self.name} to boot", is_up, BOOT_S, interval_s=0.5)

    def ask_boot_id(self) -> str:
        """What the guest itself says of its boot now."""
        self._type("\nroot\n", until="# ")
        # The quotes keep apart what is typed, which the guest's terminal repeats, and what is answered.
        said = self._type("echo boot is $(cat /proc/sys/kernel/random/boot_id) n''ow\n", until=" now")
        (boot_id,) = set(re.findall(r"boot is ([0-9a-f-]{36}) now", said))
        return str(boot_id)

    def _type(self, text: str, until: str) -> str:
        command = [str(SCRIPTS / "ucloud"), "vm", "console", self.name, "--until", until, "--timeout", "60"]
        done = subprocess.run(
            command, input=text, env=self.cloud.env(), capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def is_at_rest(self) -> bool:
        """Whether it runs, and there is one order for it and one QEMU."""
        shown = self.show()
        placed = orders(self.cloud, self.uuid)
        is_settled = len(placed) == 1 and all(order.role is Role.RUN and not order.leaving for order in placed.values())
        return is_settled and shown["status"] == "RUNNING" and len(world.qemu_pids(self.cloud, self.uuid)) == 1


def orders(cloud: Cloud, vm_uuid: str) -> dict[str, Placement]:
    """The placements of a VM, by host."""
    store = Store(EtcdOptions(cloud.etcd_endpoints))
    try:
        entries = store.list(keys.PLACEMENT).entries
        found = [entry for entry in entries if keys.last_part(entry.key) == vm_uuid]
        return {keys.host_and_vm(entry.key)[0]: Placement.read(entry.key, entry.value) for entry in found}
    finally:
        store.close()


@pytest.fixture(scope="module")
def guests(cloud: Cloud, ucloud: Callable[..., str], guest_image: str) -> Iterator[list[Guest]]:
    """Guests that have booted on h1. They don't end when their host is cut off, as busy as this machine may be."""
    for other in OTHERS:
        ucloud("host", "set", other, "--state", "disabled")
    made = []
    try:
        for number in range(GUESTS):
            name = f"mover{number}"
            specs = ("--image", guest_image, "--cpu", "1", "--ram", "96MiB", "--ssd", "1", "--no-ha")
            created = json.loads(ucloud("vm", "create", name, *specs, "--no-wait", "-o", "json"))
            made.append(Guest(cloud, ucloud, name, created["uuid"]))
        for guest in made:
            guest.wait_boot()
            guest.boot_id = guest.ask_boot_id()
            assert guest.host == "h1"
        for other in OTHERS:
            ucloud("host", "undrain", other)
        yield made
    finally:
        for host in ("h1", *OTHERS):
            ucloud("host", "undrain", host)
        for guest in made:
            ucloud("vm", "delete", guest.name)


@pytest.mark.timeout(900)
def test_a_drained_host_becomes_empty_and_no_guest_notices(
    cloud: Cloud, ucloud: Callable[..., str], guests: list[Guest]
) -> None:
    ucloud("host", "drain", "h1", "--timeout", str(MOVE_S * GUESTS), timeout_s=MOVE_S * GUESTS + 60)
    shown = json.loads(ucloud("host", "show", "h1", "-o", "json"))
    assert (shown["state"], shown["vms"]) == ("draining", 0)
    uuids = {guest.uuid for guest in guests}
    assert uuids.isdisjoint(world.domains(cloud)["h1"])
    for guest in guests:
        wait_for(f"{guest.name} at rest", guest.is_at_rest, MOVE_S, interval_s=0.5)
        assert guest.host in OTHERS
        assert guest.ask_boot_id() == guest.boot_id
    assert {guest.host for guest in guests} == set(OTHERS), "they spread"
    ucloud("host", "undrain", "h1")


@pytest.mark.timeout(300)
def test_a_guest_runs_on_while_all_daemons_of_its_host_are_replaced(cloud: Cloud, guests: list[Guest]) -> None:
    guest = guests[0]
    (pid,) = world.qemu_pids(cloud, guest.uuid)
    host = guest.host
    daemons = [f"{daemon}@{host}" for daemon in UPGRADED]
    for daemon in daemons:
        cloud.services.stop(daemon)
    for daemon in reversed(daemons):
        cloud.services.start(daemon)
    wait_for(f"{guest.name} at rest", guest.is_at_rest, 60, interval_s=0.5)
    assert world.qemu_pids(cloud, guest.uuid) == {pid}
    assert guest.ask_boot_id() == guest.boot_id


def _is_taken(guest: Guest) -> bool:
    return any(order.role is Role.INCOMING for order in orders(guest.cloud, guest.uuid).values())


def _is_told(guest: Guest) -> bool:
    """Whether the old host was told to send it, or has."""
    placed = orders(guest.cloud, guest.uuid).values()
    return any(order.leaving and order.leaving.uri for order in placed) or not _is_taken(guest)


STEPS: tuple[Callable[[Guest], bool], ...] = (_is_told, _is_taken)
DAEMONS = ("ucloud-vm@{source}", "ucloud-vm@{target}", "libvirtd@{target}", "ucloud-scheduler", "libvirtd@{source}")


@pytest.mark.timeout(900)
def test_whichever_daemon_dies_a_guest_ends_up_on_one_host_and_never_reboots(
    cloud: Cloud, ucloud: Callable[..., str], guests: list[Guest]
) -> None:
    guest = guests[0]
    for daemon, has_come_to in itertools.islice(itertools.product(DAEMONS, STEPS), ROUNDS):
        source = guest.host
        target = next(host for host in ("h1", *OTHERS) if host != source)
        programs = [
            program
            for program in cloud.programs()
            if program.rstrip("0123456789") == daemon or program == daemon.format(source=source, target=target)
        ]
        ucloud("vm", "migrate", guest.name, "--to", target, "--no-wait")
        wait_for("that step", lambda: has_come_to(guest), MOVE_S)  # noqa: B023
        killed = {program: cloud.kill(program) for program in programs}
        assert killed
        for program, pid in killed.items():
            cloud.wait_restarted(program, pid, timeout_s=90)
        wait_for(f"{guest.name} at rest after {daemon} died", guest.is_at_rest, MOVE_S, interval_s=0.5)
        assert guest.ask_boot_id() == guest.boot_id

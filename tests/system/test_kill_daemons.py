"""`kill -9` of every daemon in turn: a VM that is being created gets created, and one that runs runs on."""

import json
from collections.abc import Callable, Iterator

import pytest

from devcloud.cloud import Cloud
from devcloud.waiting import wait_for
from tests.system import world

BOOT_S = 120
KINDS = (
    "ucloud-api",
    "ucloud-scheduler",
    "ucloud-image",
    "ucloud-image-sftp",
    "ucloud-otp",
    "ucloud-host",
    "ucloud-host-alive",
    "ucloud-vm",
    "libvirtd",
    "etcd",
)
SPECS = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1")


def _programs(cloud: Cloud, kind: str) -> list[str]:
    """All programs of a kind: "libvirtd@h1", "libvirtd@h2" ...; of etcd the leader alone."""
    if kind == "etcd":
        return [cloud.etcd_leader()]
    return [program for program in cloud.programs() if program.rstrip("0123456789").removesuffix("@h") == kind]


def _kill(cloud: Cloud, kind: str) -> dict[str, int]:
    return {program: cloud.kill(program) for program in _programs(cloud, kind)}


def _wait_restarted(cloud: Cloud, killed: dict[str, int]) -> None:
    for program, pid in killed.items():
        cloud.wait_restarted(program, pid)


def _boot_ids(ucloud: Callable[..., str], name: str) -> list[str]:
    vm = json.loads(ucloud("vm", "show", name, "-o", "json"))
    return world.boot_ids(ucloud("vm", "log", name)) if vm["status"] == "RUNNING" else []


@pytest.fixture(scope="module")
def running(ucloud: Callable[..., str], guest_image: str) -> Iterator[str]:
    """The name of a VM whose guest has booted."""
    name = "steady"
    ucloud("vm", "create", "--name", name, "--image", guest_image, *SPECS, "--wait")
    wait_for("the guest's boot id", lambda: _boot_ids(ucloud, name), BOOT_S)
    yield name
    ucloud("vm", "delete", name, "--wait")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_a_creation_completes_and_a_running_guest_runs_on(
    cloud: Cloud, ucloud: Callable[..., str], guest_image: str, running: str, kind: str
) -> None:
    steady = json.loads(ucloud("vm", "show", running, "-o", "json"))
    (steady_pid,) = world.qemu_pids(cloud, steady["uuid"])
    steady_boots = _boot_ids(ucloud, running)

    name = f"born-{kind}"
    born = json.loads(
        ucloud("vm", "create", "--name", name, "--image", guest_image, *SPECS, "--no-wait", "-o", "json")
    )["uuid"]
    _wait_restarted(cloud, _kill(cloud, kind))
    (boot_id,) = wait_for(f"{name} to boot", lambda: _boot_ids(ucloud, name), BOOT_S)
    (born_pid,) = world.qemu_pids(cloud, born)

    # Both run now: once more.
    _wait_restarted(cloud, _kill(cloud, kind))
    for vm in (name, running):
        wait_for(f"{vm} RUNNING", lambda vm=vm: _status(ucloud, vm) == "RUNNING", 30)  # type: ignore[misc]
    assert world.qemu_pids(cloud, born) == {born_pid}
    assert _boot_ids(ucloud, name) == [boot_id]
    assert world.qemu_pids(cloud, steady["uuid"]) == {steady_pid}
    assert _boot_ids(ucloud, running) == steady_boots
    assert len(world.placements(cloud)[born]) == 1

    # And while it is being deleted.
    ucloud("vm", "delete", name, "--no-wait")
    _wait_restarted(cloud, _kill(cloud, kind))
    wait_for(f"nothing of {name} in etcd", lambda: not any(born in key for key in world.vm_keys(cloud)), 60)
    assert not any(born in str(path) for path in world.vm_files(cloud))
    assert all(born not in uuids for uuids in world.domains(cloud).values())


def _status(ucloud: Callable[..., str], name: str) -> str:
    return str(json.loads(ucloud("vm", "show", name, "-o", "json"))["status"])

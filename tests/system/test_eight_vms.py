"""Eight VMs over three hosts: all of them really boot, and when they are deleted nothing of them is left anywhere."""

import json
from collections.abc import Callable

import pytest

from devcloud.cloud import Cloud
from devcloud.waiting import wait_for
from tests.system import world

VMS = 8
BOOT_S = 240  # eight guests at once share two processors, without KVM
GONE_S = 60


@pytest.mark.timeout(500)
def test_eight_guests_boot_and_vanish(cloud: Cloud, ucloud: Callable[..., str], guest_image: str) -> None:
    names = [f"eight-{number}" for number in range(VMS)]
    for name in names:
        specs = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1", "--hdd", "0")
        ucloud("vm", "create", "--name", name, "--image", guest_image, *specs, "--no-wait")
    for name in names:
        wait_for(f"{name} to ask for a login", lambda name=name: "login:" in _log(ucloud, name), BOOT_S)  # type: ignore[misc]
    vms = {vm["name"]: vm for vm in json.loads(ucloud("vm", "list", "-o", "json")) if vm["name"] in names}
    assert {vm["status"] for vm in vms.values()} == {"RUNNING"}
    assert {vm["hostname"] for vm in vms.values()} == {"/v1/host/h1", "/v1/host/h2", "/v1/host/h3"}, "spread over all"
    uuids = {vm["uuid"] for vm in vms.values()}
    assert {uuid for found in world.domains(cloud).values() for uuid in found} == uuids
    assert all(len(world.qemu_pids(cloud, uuid)) == 1 for uuid in uuids)
    assert all(len(hosts) == 1 for hosts in world.placements(cloud).values())

    for name in names:
        ucloud("vm", "delete", name, "--no-wait")
    wait_for("no key of a VM in etcd", lambda: not world.vm_keys(cloud), GONE_S)
    assert world.domains(cloud) == {host.name: [] for host in cloud.hosts}
    wait_for("the end of their processes", lambda: not world.qemu_pids(cloud), GONE_S)
    assert world.vm_files(cloud) == []


def _log(ucloud: Callable[..., str], name: str) -> str:
    vm = json.loads(ucloud("vm", "show", name, "-o", "json"))
    return ucloud("vm", "log", name) if vm["status"] == "RUNNING" else ""

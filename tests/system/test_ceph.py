"""A cloud whose hosts share a Ceph: images and disks are in it and nowhere else, and go with what they are for."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcloud import first_vm, processes
from devcloud.ceph import CLIENT
from devcloud.cloud import Cloud, Shape
from devcloud.waiting import wait_for
from tests.integration.slapd import Slapd
from tests.system import world
from tests.system.ceph import in_pools, noted, rbd
from tests.system.conftest import running_cloud
from tests.system.ldap_user import LdapUser
from tests.system.test_moves import Guest


@pytest.fixture(scope="module")
def cloud(slapd: Slapd) -> Iterator[Cloud]:
    """Two hosts with one Ceph, more users in LDAP."""
    with running_cloud("ceph", Shape(hosts=2, ceph=True, alive_ttl_s=10, ldap=slapd.settings())) as cloud:
        yield cloud


def test_a_user_of_ldap_has_a_vm_in_ceph_that_leaves_nothing(cloud: Cloud, slapd: Slapd, tmp_path: Path) -> None:
    def ucloud(*arguments: str) -> str:
        return first_vm.ucloud(cloud, *arguments)

    ann = LdapUser(cloud, slapd, "ann", tmp_path)
    assert (in_pools(cloud), noted(cloud)) == (set(), set())
    image = ann.import_guest("xyz")
    (template,) = in_pools(cloud)
    assert template.startswith(f"ssd/template-{image}-")
    assert noted(cloud) == {f"template.{image}"}

    sizes = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1", "--hdd", "1")
    vm = json.loads(ann.ucloud("vm", "create", "--name", "web", "--image", "xyz", *sizes, "-o", "json"))
    assert (vm["status"], vm["owner"]) == ("RUNNING", "ann")
    guest = Guest(cloud, ucloud, vm["uuid"], vm["uuid"])
    root, hdd = f"ssd/vm-{guest.uuid}-root", f"hdd/vm-{guest.uuid}-hdd"
    assert in_pools(cloud) == {template, root, hdd}
    assert rbd(cloud, "children", "--all", f"{template}@template").split() == [root]
    parent = json.loads(rbd(cloud, "info", root, "--format", "json"))["parent"]
    assert f"{parent['pool']}/{parent['image']}@{parent['snapshot']}" == f"{template}@template"
    guest.wait_boot()

    # QEMU has the key, and nobody sees it.
    key = rbd_key(cloud)
    for pid in world.qemu_pids(cloud, guest.uuid):
        assert f"rbd:{root}" in command_line(pid) or root.partition("/")[2] in command_line(pid)
        assert key not in command_line(pid)
        assert key not in Path(f"/proc/{pid}/environ").read_text(errors="replace")
    host = guest.host
    assert key not in world.virsh(cloud, host, "dumpxml", "--security-info", f"ucloud-{guest.uuid}")
    for log in (*cloud.services.log_directory.iterdir(), *cloud.data.glob("h*/libvirt/**/*.log")):
        assert key not in log.read_text(errors="replace"), log

    # It moves while it runs, and its disks stay where they are.
    boot_id = guest.ask_boot_id()
    other = next(each.name for each in cloud.hosts if each.name != host)
    ucloud("vm", "migrate", guest.uuid, "--to", other)
    assert guest.host == other
    assert guest.ask_boot_id() == boot_id
    assert in_pools(cloud) == {template, root, hdd}

    # It grows while it runs.
    ann.ucloud("vm", "resize", "web", "--ssd", "2")
    wait_for("a larger disk", lambda: json.loads(rbd(cloud, "info", root, "--format", "json"))["size"] == 2 << 30, 60)

    ann.ucloud("vm", "delete", "web")
    wait_for("its disks to go", lambda: in_pools(cloud) == {template}, 60)
    ann.ucloud("image", "delete", "xyz")
    ann.remove_file("xyz.qcow2")
    wait_for("the image to go", lambda: (in_pools(cloud), noted(cloud)) == (set(), set()), 60)


def test_a_host_that_stands_still_loses_its_disks_and_its_vm_runs_elsewhere(cloud: Cloud) -> None:
    """In a directory, whoever holds the lock of a disk keeps it; in a Ceph it is taken from a guest that hangs."""

    def ucloud(*arguments: str) -> str:
        return first_vm.ucloud(cloud, *arguments)

    image = first_vm.import_image(cloud)
    ucloud("vm", "create", "--name", "moved", "--image", image, "--cpu", "1", "--ram", "96MiB", "--ssd", "1")
    guest = Guest(cloud, ucloud, "moved", json.loads(ucloud("vm", "show", "moved", "-o", "json"))["uuid"])
    guest.wait_boot()
    frozen, qemu = guest.host, world.qemu_pids(cloud, guest.uuid)
    pids = cloud.network.host_pids(frozen)
    assert qemu <= pids
    processes.send(pids, signal.SIGSTOP)
    try:
        wait_for("another host for it", lambda: guest.host != frozen, 120, interval_s=0.5)
        wait_for("a guest there", lambda: guest.show()["status"] == "RUNNING", 120, interval_s=0.5)
        shown = json.loads(ucloud("host", "show", frozen, "-o", "json"))
        assert shown["status"] == "DEAD", shown
        assert all(map(processes.is_alive, qemu)), "it has not ended, it has only lost its disk"
    finally:
        processes.send(pids, signal.SIGCONT)
    processes.wait_until_gone(qemu, 30)
    guest.wait_boot()
    assert guest.host != frozen
    assert len(world.qemu_pids(cloud, guest.uuid)) == 1
    cloud.wait_ready()
    ucloud("vm", "delete", "moved")
    ucloud("image", "delete", image)
    wait_for("nothing left", lambda: in_pools(cloud) == set(), 60)


def rbd_key(cloud: Cloud) -> str:
    """The key of the hosts' client."""
    text = cloud.ceph.keyring(CLIENT).read_text()
    return next(line.split(" = ")[1] for line in text.splitlines() if line.startswith("key"))


def command_line(pid: int) -> str:
    """The arguments of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")

"""A Ceph that is away for a minute, or full: what was asked for waits with its reason, and is done once it can be.

Most of this is waiting, so it runs beside other tests (tests/conftest.py).
"""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.people import ADMIN
from devcloud.waiting import wait_for
from tests.system.ceph import ceph, in_pools, noted, rbd
from tests.system.conftest import running_cloud
from tests.system.test_moves import Guest

OUTAGE_S = 60
SIZES = ("--cpu", "1", "--ram", "96MiB", "--ssd", "1")
DAEMONS = ("ceph-mon", "ceph-osd")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """A host with a Ceph."""
    with running_cloud("outage", Shape(ceph=True, alive_ttl_s=10)) as cloud:
        yield cloud


class Tenant:
    """The admin, who asks for things and looks what became of them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def ucloud(self, *arguments: str) -> str:
        return first_vm.ucloud(self.cloud, *arguments)

    def show(self, kind: str, name: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.ucloud(kind, "show", name, "-o", "json"))
        return shown

    def uuid(self, kind: str, name: str) -> str:
        return str(self.show(kind, name)["uuid"])

    def ask_for_image(self, name: str, file: str) -> None:
        self.ucloud("image", "create", "--name", name, "--file", file, "--no-wait")

    def ask_for_vm(self, name: str) -> None:
        self.ucloud("vm", "create", "--name", name, "--image", first_vm.IMAGE, *SIZES, "--no-wait")

    def wait_reason(self, kind: str, name: str, word: str) -> None:
        """Wait until the user is told why it waits."""
        wait_for(f"why {name} waits", lambda: word in str(self.show(kind, name)["reason"]), OUTAGE_S, interval_s=0.5)

    def wait_status(self, kind: str, name: str, status: str) -> None:
        wait_for(f"{name} {status}", lambda: self.show(kind, name)["status"] == status, 120, interval_s=0.5)

    def delete(self, kind: str, *names: str) -> None:
        for name in names:
            self.ucloud(kind, "delete", name)


@pytest.fixture(scope="module")
def tenant(cloud: Cloud) -> Iterator[Tenant]:
    """Has an image, a VM that runs and one that is off, and files for two more images."""
    made = Tenant(cloud)
    first_vm.import_image(cloud)
    made.ucloud("vm", "create", "--name", "steady", "--image", first_vm.IMAGE, *SIZES)
    made.ucloud("vm", "create", "--name", "idle", "--image", first_vm.IMAGE, *SIZES, "--stopped")
    folder = cloud.upload_directory(ADMIN)
    shutil.copyfile(first_vm.build_image(), folder / "small.qcow2")
    for command in (["qemu-img", "create", "-f", "qcow2", "big.qcow2", "1G"],
                    ["qemu-io", "-c", "write -P 7 0 600M", "big.qcow2"]):  # fmt: skip
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    yield made
    made.delete("vm", "steady", "idle")
    made.delete("image", first_vm.IMAGE)
    wait_for("nothing left", lambda: (in_pools(cloud), noted(cloud)) == (set(), set()), 60)


@pytest.fixture
def steady(tenant: Tenant) -> Iterator[None]:
    """The guest of the VM that runs never notices more than that its disk is slow."""
    guest = Guest(tenant.cloud, tenant.ucloud, "steady", tenant.show("vm", "steady")["uuid"])
    guest.wait_boot()
    boot_id = guest.ask_boot_id()
    yield
    assert guest.ask_boot_id() == boot_id


def _freeze(cloud: Cloud) -> None:
    cloud.pause("ceph-osd")


def _thaw(cloud: Cloud) -> None:
    cloud.resume("ceph-osd")
    try:
        rbd(cloud, "ls", "ssd")
    except subprocess.TimeoutExpired:
        # An OSD that stood still for a minute seldom answers nobody ever again: its admin starts it anew.
        cloud.services.crash("ceph-osd")
        cloud.services.start("ceph-osd")


def _kill(cloud: Cloud) -> None:
    for daemon in DAEMONS:
        cloud.services.crash(daemon)


def _start(cloud: Cloud) -> None:
    for daemon in DAEMONS:
        if cloud.services.states()[daemon][0] == "STOPPED":
            cloud.services.start(daemon)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    ("begin", "end"), [pytest.param(_freeze, _thaw, id="frozen OSD"), pytest.param(_kill, _start, id="killed daemons")]
)
def test_what_is_asked_for_in_an_outage_waits_with_its_reason_and_is_done_afterwards(
    tenant: Tenant, begin: Callable[[Cloud], None], end: Callable[[Cloud], None]
) -> None:
    cloud, before = tenant.cloud, in_pools(tenant.cloud)
    wanted = {("image", "begun"): "READY", ("image", "asked"): "READY",
              ("vm", "late"): "RUNNING", ("vm", "idle"): "RUNNING"}  # fmt: skip
    tenant.ask_for_image("begun", "big.qcow2")
    begun = tenant.uuid("image", "begun")
    wait_for("a draft", lambda: any(each.startswith(f"draft.{begun}.") for each in noted(cloud)), 60, interval_s=0.01)
    began_s = time.monotonic()
    try:
        begin(cloud)
        tenant.ask_for_vm("late")
        tenant.ucloud("vm", "start", "idle", "--no-wait")
        tenant.ask_for_image("asked", "small.qcow2")
        for kind, name in wanted:
            tenant.wait_reason(kind, name, "does not answer")
        # What can't be done for a while must also be given up by nobody.
        threading.Event().wait(began_s + OUTAGE_S - time.monotonic())
        assert not {tenant.show(kind, name)["status"] for kind, name in wanted} & {"READY", "RUNNING", "REJECTED"}
    finally:
        end(cloud)
    for (kind, name), status in wanted.items():
        tenant.wait_status(kind, name, status)
    asked, late = tenant.uuid("image", "asked"), tenant.uuid("vm", "late")
    templates = {f"template.{image}" for image in (begun, asked, tenant.uuid("image", first_vm.IMAGE))}
    wait_for("no draft", lambda: noted(cloud) == templates, 60)
    made = in_pools(cloud) - before
    assert len(made) == 3
    assert all(any(part in image for image in made) for part in (f"template-{begun}-", f"template-{asked}-", late))

    tenant.ucloud("vm", "stop", "idle", "--force")
    tenant.delete("vm", "late")
    tenant.delete("image", "begun", "asked")
    wait_for("what there was", lambda: in_pools(cloud) == before, 60)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("steady")
def test_what_a_full_pool_has_no_room_for_waits_until_there_is_some(tenant: Tenant) -> None:
    cloud, before = tenant.cloud, in_pools(tenant.cloud)
    ceph(cloud, "osd", "pool", "set-quota", "ssd", "max_bytes", str(1024 * 1024))
    try:
        wait_for("a full pool", lambda: _is_full(cloud), 60)
        tenant.ask_for_vm("late")
        tenant.ask_for_image("asked", "small.qcow2")
        for kind, name in (("vm", "late"), ("image", "asked")):
            tenant.wait_reason(kind, name, "the pool ssd of the Ceph cluster is full")
    finally:
        ceph(cloud, "osd", "pool", "set-quota", "ssd", "max_bytes", "0")
    tenant.wait_status("vm", "late", "RUNNING")
    tenant.wait_status("image", "asked", "READY")
    assert not any(each.startswith(("draft.", "vm.")) for each in noted(cloud))
    assert len(in_pools(cloud) - before) == 2
    tenant.delete("vm", "late")
    tenant.delete("image", "asked")
    wait_for("what there was", lambda: in_pools(cloud) == before, 60)


def _is_full(cloud: Cloud) -> bool:
    pools = json.loads(ceph(cloud, "osd", "dump", "--format", "json"))["pools"]
    return any("full" in each["flags_names"].split(",") for each in pools if each["pool_name"] == "ssd")

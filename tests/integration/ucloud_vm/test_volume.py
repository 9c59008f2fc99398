"""Many VMs at once on libvirt's test driver, by settings alone: what a harness does that needs volume, not guests."""

import subprocess
from collections.abc import Iterator

import pytest

from common.schemas.vm import Actual, Requested, Specs
from tests.integration.ucloud_vm.rig import BLANK, Rig

SPECS = Specs.of(cpu=1, ram_mib=64, ssd_mib=16)


@pytest.fixture
def test_driver(rig: Rig) -> Iterator[Rig]:
    """The host with ucloud-vm on the test driver, whose guests outlive it by another connection."""
    keeper = ["virsh", "--quiet", "--connect", rig.test_uri, "event", "--event", "lifecycle", "--loop"]
    with subprocess.Popen(keeper, stdout=subprocess.DEVNULL) as process:
        rig.restart("ucloud-vm", UCLOUD_VM_LIBVIRT_URI=rig.test_uri)
        yield rig
        process.terminate()


def test_many_vms_live_through_everything_at_once(test_driver: Rig) -> None:
    rig, vms = test_driver, [test_driver.new_vm() for _ in range(40)]
    wishes = [
        (Requested.RUNNING, Actual.RUNNING, 0),
        (Requested.SUSPENDED, Actual.SUSPENDED, 0),
        (Requested.RUNNING, Actual.RUNNING, 0),
        (Requested.RUNNING, Actual.RUNNING, 1),
        (Requested.STOPPED, Actual.STOPPED, 1),
        (Requested.RUNNING, Actual.RUNNING, 1),
    ]
    for generation, (requested, actual, reboots) in enumerate(wishes, start=1):
        for vm in vms:
            rig.order(vm, requested, generation, BLANK, specs=SPECS, reboots=reboots)
        rig.restart("ucloud-vm", UCLOUD_VM_LIBVIRT_URI=rig.test_uri)
        for vm in vms:
            status = rig.wait_status(vm, actual, generation)
            assert (status.reboots, status.reason) == (reboots, "")
    running = rig.virsh("list", "--uuid", "--state-running", uri=rig.test_uri).split()
    assert set(vms) <= set(running)

    rig.virsh("destroy", f"ucloud-{vms[0]}", uri=rig.test_uri)
    killed = rig.wait_event(vms[0], "KILLED: its power was cut on its host")
    rig.wait_event(vms[0], "RUNNING", after=killed.at)

    for vm in vms:
        rig.order(vm, Requested.DELETED, 9, BLANK)
    for vm in vms:
        rig.wait_status(vm, Actual.DELETED, 9)
    for vm in vms:
        assert rig.files(vm) == []
        rig.withdraw(vm)
    assert not set(vms) & set(rig.virsh("list", "--all", "--uuid", uri=rig.test_uri).split())

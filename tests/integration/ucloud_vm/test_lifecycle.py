"""A VM's life on a host, with a real etcd, libvirtd and guest; each test boots as few guests as it can."""

import requests

from common.schemas.vm import Actual, Requested
from tests.integration.ucloud_vm.rig import Rig


def test_a_vm_is_created_runs_stops_starts_and_vanishes(rig: Rig) -> None:
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1)
    status = rig.wait_status(vm, Actual.RUNNING, 1)
    assert (status.epoch, status.reason) == (1, "")
    assert [event.what for event in status.events] == ["DEPLOYING", "STARTING", "RUNNING"]
    assert len(rig.wait_booted(vm)) == 1
    assert len(rig.qemu_pids(vm)) == 1

    assert status.console is not None
    headers = {"Authorization": f"Bearer {status.console.token}"}
    answer = requests.get(status.console.url, headers=headers, timeout=5)
    assert answer.status_code == 200
    assert "login:" in answer.text
    assert requests.get(status.console.url, timeout=5).status_code == 401

    rig.order(vm, Requested.STOPPED, 2)
    status = rig.wait_status(vm, Actual.STOPPED, 2)
    assert status.reason == ""
    assert not any("power is cut" in event.what for event in status.events), "the guest shut down by itself"
    assert rig.qemu_pids(vm) == set()
    assert len(rig.files(vm)) > 0

    rig.order(vm, Requested.DELETED, 3)
    rig.wait_status(vm, Actual.DELETED, 3)
    assert rig.files(vm) == []
    assert rig.domains() == []
    rig.withdraw(vm)
    rig.wait_gone("status", lambda: rig.status(vm))

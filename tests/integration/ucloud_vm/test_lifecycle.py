"""A VM's life on a host, with a real etcd, libvirtd and guest; each test boots as few guests as it can."""

import os
import signal
from pathlib import Path

import requests

from common.schemas.vm import Actual, Requested, Specs
from devcloud import processes
from tests.integration.ucloud_vm.rig import BLANK, Rig


def test_a_vm_is_created_runs_stops_and_vanishes(rig: Rig) -> None:
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
    assert rig.files(vm) != []
    rig.delete(vm, 3)


def test_a_guest_outlives_its_keepers_and_is_told_from_a_dead_one(rig: Rig) -> None:
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1)
    boots = rig.wait_booted(vm)
    (pid,) = rig.qemu_pids(vm)
    before = rig.status(vm)
    assert before is not None

    for program in ("ucloud-vm", "libvirtd"):
        rig.restart(program)
        rig.wait_gone("trouble", lambda: not rig.is_well())
        assert rig.qemu_pids(vm) == {pid}
        assert rig.boot_ids(vm) == boots
        assert rig.status(vm) == before

    rig.order(vm, Requested.SUSPENDED, 2)
    rig.wait_status(vm, Actual.SUSPENDED, 2)
    assert "paused" in rig.virsh("domstate", f"ucloud-{vm}")
    rig.order(vm, Requested.RUNNING, 3)
    rig.wait_status(vm, Actual.RUNNING, 3)
    assert rig.qemu_pids(vm) == {pid}

    rig.type(vm, "root", "poweroff")
    rig.wait_status(vm, Actual.STOPPED, 3, "powered off by the guest")
    rig.restart("ucloud-vm")
    rig.restart("libvirtd")
    rig.wait_gone("trouble", lambda: not rig.is_well())
    rig.wait_status(vm, Actual.STOPPED, 3, "powered off by the guest")
    assert rig.qemu_pids(vm) == set()

    rig.order(vm, Requested.RUNNING, 4)
    rig.wait_status(vm, Actual.RUNNING, 4)
    (pid,) = rig.qemu_pids(vm)
    processes.send([pid], signal.SIGKILL)
    rig.wait_gone("old process", lambda: pid in rig.qemu_pids(vm))
    killed = rig.wait_event(vm, "KILLED: the process that runs the guest died")
    rig.wait_status(vm, Actual.RUNNING, 4)
    (new_pid,) = rig.qemu_pids(vm)
    assert new_pid != pid
    rig.wait_event(vm, "RUNNING", after=killed.at)
    rig.delete(vm, 5)


def test_a_guest_that_does_not_answer_loses_its_power(rig: Rig) -> None:
    rig.restart("ucloud-vm", UCLOUD_VM_STOP_TIMEOUT_S="2")
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 1)
    rig.order(vm, Requested.STOPPED, 2, BLANK)
    rig.wait_status(vm, Actual.STOPPED, 2)
    rig.wait_event(vm, "STOPPING: the guest did not shut down within 2 s, its power is cut")
    rig.delete(vm, 3)


def test_a_vm_may_be_made_without_being_started(rig: Rig) -> None:
    vm = rig.new_vm()
    rig.order(vm, Requested.STOPPED, 1, BLANK, specs=Specs(cpu=1, ram_mib=64, ssd_mib=256, hdd_mib=32))
    rig.wait_status(vm, Actual.STOPPED, 1)
    assert rig.domains() == [vm]
    assert rig.qemu_pids(vm) == set()
    # New specs hold from the next start.
    rig.order(vm, Requested.RUNNING, 2, BLANK, specs=Specs(cpu=2, ram_mib=64, ssd_mib=256, hdd_mib=32))
    rig.wait_status(vm, Actual.RUNNING, 2)
    assert rig.virsh("vcpucount", f"ucloud-{vm}", "--live").strip() == "2"
    assert str(32 * 1024 * 1024) in rig.virsh("domblkinfo", f"ucloud-{vm}", "vdb")
    rig.delete(vm, 3)


def test_a_vm_without_its_image_says_so(rig: Rig) -> None:
    vm = rig.new_vm()
    missing = "00000000-0000-4000-8000-0000000000ff"
    rig.order(vm, Requested.RUNNING, 1, missing)
    status = rig.wait_status(vm, Actual.ERROR, 1)
    assert status.reason == f"image {missing} is not in the store of this host"
    rig.order(vm, Requested.RUNNING, 2, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 2)
    rig.delete(vm, 3)


def test_consoles_are_for_root_alone_and_the_log_can_be_cut(rig: Rig) -> None:
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 1)
    folder = rig.host.run / "vm" / vm
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["serial.sock", "vnc.sock"]
    assert rig.serial_log(vm).stat().st_mode & 0o077 == 0
    (pid,) = rig.qemu_pids(vm)
    assert rig.listening(pid) == []
    # Compared as files: QEMU's mounts are its own, so the name that the kernel tells may be another.
    log = rig.serial_log(vm).stat()
    descriptors = [path for path in Path(f"/proc/{pid}/fd").iterdir() if os.path.samestat(path.stat(), log)]
    assert descriptors
    for descriptor in descriptors:
        flags = Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text().split("flags:")[1].split()[0]
        assert int(flags, 8) & os.O_APPEND
    rig.delete(vm, 2)

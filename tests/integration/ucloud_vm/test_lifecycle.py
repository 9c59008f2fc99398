"""A VM's life on a host, with a real etcd, libvirtd and guest; each test boots as few guests as it can."""

import os
import signal
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
import websocket

from common.schemas.vm import Actual, Requested, Specs
from common.storage.qcow2 import read_header
from devcloud import processes
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.rig import BLANK, Rig
from ucloud_vm.planning.stopping import FORCED

MIB = 1024 * 1024


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
    answer = requests.get(f"{status.console.url}/log", headers=headers, timeout=20)
    assert answer.status_code == 200
    assert "login:" in answer.text
    assert requests.get(f"{status.console.url}/log", timeout=20).status_code == 401

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
    killed_at = datetime.now(UTC)
    processes.send([pid], signal.SIGKILL)
    rig.wait_gone("old process", lambda: pid in rig.qemu_pids(vm))
    killed = rig.wait_event(vm, "KILLED: the process that runs the guest died")
    assert killed.at - killed_at < timedelta(seconds=1)
    assert rig.figure("ucloud_vm_killed_total") == 1
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
    rig.order(vm, Requested.STOPPED, 1, BLANK, specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=256, hdd_mib=32))
    rig.wait_status(vm, Actual.STOPPED, 1)
    assert rig.domains() == [vm]
    assert rig.qemu_pids(vm) == set()
    # New specs hold from the next start.
    rig.order(vm, Requested.RUNNING, 2, BLANK, specs=Specs.of(cpu=2, ram_mib=64, ssd_mib=256, hdd_mib=32))
    rig.wait_status(vm, Actual.RUNNING, 2)
    assert rig.virsh("vcpucount", f"ucloud-{vm}", "--live").strip() == "2"
    assert str(32 * 1024 * 1024) in rig.virsh("domblkinfo", f"ucloud-{vm}", "vdb")
    rig.delete(vm, 3)


def test_a_vm_that_is_off_is_resized_at_once_and_gets_its_second_disk(rig: Rig) -> None:
    vm = rig.new_vm()
    rig.order(vm, Requested.STOPPED, 1, BLANK, specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=64))
    rig.wait_status(vm, Actual.STOPPED, 1)
    larger = Specs.of(cpu=1, ram_mib=96, ssd_mib=128, hdd_mib=32)
    rig.order(vm, Requested.STOPPED, 2, BLANK, specs=larger)
    rig.wait_status(vm, Actual.STOPPED, 2)
    disks = rig.store_directory / "vms" / vm
    wait_for("a larger disk", lambda: read_header(disks / "root.qcow2").virtual_size_bytes == 128 * MIB, 20)
    wait_for("a second disk", (rig.host.data / "hdd/vms" / vm / "hdd.qcow2").exists, 20)
    assert rig.wait_status(vm, Actual.STOPPED, 2).specs is None
    rig.order(vm, Requested.RUNNING, 3, BLANK, specs=larger)
    assert rig.wait_status(vm, Actual.RUNNING, 3).specs == larger
    assert str(32 * MIB) in rig.virsh("domblkinfo", f"ucloud-{vm}", "vdb")

    # There is no room for this; it is told, and is in nobody's way.
    huge = Specs.of(cpu=1, ram_mib=96, ssd_mib=2**29, hdd_mib=32)
    rig.order(vm, Requested.RUNNING, 4, BLANK, specs=huge)
    rig.wait_status(vm, Actual.RUNNING, 4, "has not that much room")
    rig.order(vm, Requested.SUSPENDED, 5, BLANK, specs=huge)
    rig.wait_status(vm, Actual.SUSPENDED, 5, "has not that much room")
    rig.order(vm, Requested.STOPPED, 6, BLANK, specs=huge, force=True)
    rig.wait_status(vm, Actual.STOPPED, 6, "has not that much room")
    rig.order(vm, Requested.RUNNING, 7, BLANK, specs=huge)
    status = rig.wait_status(vm, Actual.RUNNING, 7, "has not that much room")
    assert status.specs == larger
    rig.delete(vm, 8)


def test_reboots_are_done_once_however_often_the_daemon_dies(rig: Rig) -> None:
    """The guest has no system, so its power is cut when its time is over."""
    rig.restart("ucloud-vm", UCLOUD_VM_STOP_TIMEOUT_S="1")
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 1)
    for generation, delay_s in enumerate((0.0, 0.1, 1.0, 1.3, 2.5), start=2):
        pids = rig.qemu_pids(vm)
        before = rig.wait_status(vm, Actual.RUNNING, generation - 1)
        rig.order(vm, Requested.RUNNING, generation, BLANK, reboots=generation - 1)
        rig.pass_time(delay_s)
        rig.restart("ucloud-vm", UCLOUD_VM_STOP_TIMEOUT_S="1")
        status = rig.wait_status(vm, Actual.RUNNING, generation)
        assert status.reboots == generation - 1
        assert rig.qemu_pids(vm).isdisjoint(pids)
        news = [event.what for event in status.events if event.at > before.events[-1].at]
        assert news.count("STARTING") == 1
        assert not any(what.startswith(("KILLED", "STOPPED")) for what in news)
    rig.delete(vm, 9)


def test_a_guest_is_used_resized_and_rebooted(rig: Rig) -> None:
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1)
    rig.wait_status(vm, Actual.RUNNING, 1)
    (first_boot,) = rig.wait_booted(vm)
    url, headers = rig.consoles(vm)

    console = rig.console(vm)
    type_and_expect(console, "root", "#")
    type_and_expect(console, "echo tty$((6 * 7))", "tty42")
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        rig.console(vm)
    assert refused.value.status_code == 409
    look_at_display(url, headers)

    # A larger disk is seen by the guest that runs.
    larger = Specs.of(cpu=1, ram_mib=96, ssd_mib=320)
    rig.order(vm, Requested.RUNNING, 2, specs=larger)
    wait_for("a larger disk", lambda: rig.wait_status(vm, Actual.RUNNING, 2).specs == larger, 20)
    type_and_expect(console, "cat /sys/block/vda/size", str(320 * MIB // 512))

    # So is a second one. The rest is there after a reboot, for which the guest shuts down by itself.
    largest = Specs.of(cpu=2, ram_mib=128, ssd_mib=320, hdd_mib=16)
    rig.order(vm, Requested.RUNNING, 3, specs=largest)
    wait_for("a disk", lambda: rig.wait_status(vm, Actual.RUNNING, 3).specs == Specs.of(1, 96, 320, 16), 20)
    type_and_expect(console, "until cat /sys/block/vdb/size; do sleep 0.2; done", str(16 * MIB // 512))
    rig.order(vm, Requested.RUNNING, 4, specs=largest, reboots=1)
    assert "the guest has ended" in read_to_the_end(console)
    status = rig.wait_status(vm, Actual.RUNNING, 4)
    assert (status.reboots, status.specs, status.reason) == (1, largest, "")
    assert not any("power is cut" in event.what for event in status.events)
    boots = rig.wait_booted(vm, 2)
    assert boots[0] == first_boot
    assert len(set(boots)) == 2
    console = rig.console(vm)
    type_and_expect(console, "root", "#")
    sees = f"{16 * MIB // 512}\r\n2\r\n0."
    type_and_expect(console, "cat /sys/block/vdb/size; grep -c processor /proc/cpuinfo; echo $?.", sees)
    console.close()
    log = requests.get(f"{url}/log?tail_bytes={MIB}", headers=headers, timeout=20).text
    assert "tty42" in log, "the log is whole while somebody uses the console"

    # By force there is no waiting.
    (pid,) = rig.qemu_pids(vm)
    asked_at = datetime.now(UTC)
    rig.order(vm, Requested.RUNNING, 5, specs=largest, reboots=2, force=True)
    status = rig.wait_status(vm, Actual.RUNNING, 5)
    assert status.reboots == 2
    assert rig.qemu_pids(vm).isdisjoint({pid})
    rig.order(vm, Requested.STOPPED, 6, specs=largest, reboots=2, force=True)
    status = rig.wait_status(vm, Actual.STOPPED, 6)
    assert status.since - asked_at < timedelta(seconds=10)
    assert [event.what for event in status.events].count(f"STOPPING: {FORCED}") == 2
    assert requests.get(f"{url}/screenshot", headers=headers, timeout=20).status_code == 409
    assert rig.figure('ucloud_vm_vms{actual="STOPPED"}') == 1
    assert rig.figure('ucloud_vm_request_to_fact_seconds_count{requested="RUNNING"}') == 5
    assert rig.figure('ucloud_vm_libvirt_call_seconds_count{call="start"}') == 3
    rig.delete(vm, 7)


def look_at_display(url: str, headers: dict[str, str]) -> None:
    """The display's picture is a PNG of a sane size."""
    picture = requests.get(f"{url}/screenshot", headers=headers, timeout=20)
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/png")
    width, height = struct.unpack(">II", picture.content[16:24])
    assert picture.content.startswith(b"\x89PNG")
    assert (320 <= width <= 4096, 200 <= height <= 4096, len(picture.content) < MIB) == (True, True, True)


def read_to_the_end(console: websocket.WebSocket) -> str:
    """Read until the session is closed; returns why."""
    while True:
        opcode, said = console.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return bytes(said[2:]).decode()


def type_and_expect(console: websocket.WebSocket, line: str, answer: str) -> None:
    """Type a line at a console, and wait for an answer."""
    console.send_binary(line.encode() + b"\r")
    said = ""
    while answer not in said:
        said += bytes(console.recv()).decode(errors="replace")  # type: ignore[arg-type]


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

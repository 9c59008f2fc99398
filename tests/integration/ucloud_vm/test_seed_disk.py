"""Guests without a network are told of themselves by a disk, which they have wherever they are started or go."""

import stat
import subprocess
from pathlib import Path

from common.schemas.vm import Actual, MoveState, Requested
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.pair import Pair, Vm, boot, type_line, wait_beat, wait_move
from tests.integration.ucloud_vm.rig import BLANK, Rig

READ = "cat /run/cidata/*-data"
"""The guest mounts it there, and tells that it has: see tests/guest, init.d/metadata."""
FORGET = "echo 1 > /proc/sys/kernel/printk; umount /run/cidata; echo 3 > /proc/sys/vm/drop_caches; echo for''gotten"
"""Its kernel says that it drops caches, by default in the midst of the answer that is waited for."""


def seed_disk(rig: Rig, vm: Vm) -> Path:
    return rig.host.run / "vm" / vm.uuid / "seed.img"


def is_open(rig: Rig, vm: Vm) -> bool:
    """Whether the process of a guest has its seed disk open, and can only read it."""
    (pid,) = rig.qemu_pids(vm.uuid)
    wanted = seed_disk(rig, vm).stat()
    for number in Path(f"/proc/{pid}/fd").iterdir():
        found = number.stat()
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            flags = Path(f"/proc/{pid}/fdinfo/{number.name}").read_text().split("flags:")[1].split()[0]
            return int(flags, 8) & 3 == 0
    return False


def user_data(rig: Rig, vm: Vm) -> str:
    command = ["mtype", "-i", str(seed_disk(rig, vm)), "::user-data"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def set_state(vm: Vm, requested: Requested, actual: Actual) -> None:
    vm.requested = requested
    vm.generation += 1
    vm.place(actual)


def test_a_guest_reads_it_at_home_and_where_it_moves_to(pair: Pair) -> None:
    source, target = pair.one, pair.two
    vm = Vm(source.new_vm(), source, seed_disk=True, user_data="UCSEED is here\n")
    boot(vm)
    assert stat.S_IMODE(seed_disk(source, vm).stat().st_mode) == 0o600
    assert is_open(source, vm)
    boot_id, count = wait_beat(vm)
    log = source.serial_log(vm.uuid)
    wait_for("the guest to find its disk", lambda: "UCGUEST metadata /dev/vdb" in log.read_text(errors="replace"), 90)
    type_line(vm, READ, "UCSEED is here", tries=3)
    assert f"instance-id: {vm.uuid}" in log.read_text(errors="replace")
    type_line(vm, FORGET, "forgotten", tries=3)
    type_line(vm, "echo x > /dev/vdb || echo un''writable", "unwritable", tries=3)

    pair.finish(vm, pair.send(pair.begin(vm)))
    assert not seed_disk(source, vm).exists()
    assert is_open(target, vm)
    assert wait_beat(vm, count)[0] == boot_id
    type_line(vm, f"mount -o ro /dev/vdb /run/cidata; {READ}", "UCSEED is here", tries=3)
    pair.remove(vm)


def test_it_is_made_anew_by_each_start_and_goes_with_the_vm(pair: Pair) -> None:
    """Its guest has no system."""
    vm, rig = Vm(pair.one.new_vm(), pair.one, image=BLANK, seed_disk=True, user_data="first"), pair.one
    vm.place(Actual.RUNNING)
    assert is_open(rig, vm)
    rig.restart("ucloud-vm")
    rig.wait_status(vm.uuid, Actual.RUNNING, vm.generation)
    assert is_open(rig, vm)
    set_state(vm, Requested.STOPPED, Actual.STOPPED)
    # As after a reboot of the host: what is in memory is gone.
    seed_disk(rig, vm).unlink()
    vm.user_data = "second"
    set_state(vm, Requested.RUNNING, Actual.RUNNING)
    assert (is_open(rig, vm), user_data(rig, vm)) == (True, "second")

    # Wherever it goes it has its own, while it runs and while it is off.
    pair.finish(vm, pair.send(pair.begin(vm)))
    assert not seed_disk(rig, vm).exists()
    assert is_open(pair.two, vm)
    set_state(vm, Requested.STOPPED, Actual.STOPPED)
    pair.finish(vm, pair.send(pair.begin(vm, live=False)))
    assert not seed_disk(pair.two, vm).exists()
    set_state(vm, Requested.RUNNING, Actual.RUNNING)
    assert is_open(rig, vm)
    pair.remove(vm)


def test_it_is_not_copied_with_the_disks_and_none_is_left_by_a_move_that_is_given_up(pair: Pair) -> None:
    source, target = pair.one, pair.two
    vm = Vm(source.new_vm(), source, image=BLANK, seed_disk=True, user_data="first")
    vm.place(Actual.RUNNING)
    target.restart("ucloud-vm", UCLOUD_STORAGE_SSD_DIRECTORY=str(target.host.data / "own"))
    try:
        move = pair.begin(vm, copies_disks=True)
        wait_move(target, vm.uuid, MoveState.READY)
        assert user_data(target, vm) == "first"
        pair.back_out(move)
        assert not seed_disk(target, vm).parent.exists()
        assert is_open(source, vm)
        pair.finish(vm, pair.send(pair.begin(vm, copies_disks=True)))
        assert is_open(target, vm)
        pair.remove(vm)
    finally:
        target.restart("ucloud-vm")

"""VMs with several disks, which come, grow and go while their guests run, with a real libvirtd and QEMU.

One guest boots, and sees all of it; the others have no system, and let go of nothing.
"""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.schemas.disk import DiskKind, DiskSpec
from common.schemas.vm import Actual, Requested, Specs
from common.store import Delete, present
from devcloud.waiting import wait_for
from tests.integration.common.storage.disks import qemu_io
from tests.integration.ucloud_vm.pair import Pair, Vm, boot, put, type_line
from tests.integration.ucloud_vm.rig import BLANK, Rig
from ucloud_vm.planning.disks import KEEPS

SECOND, THIRD = "5eedf00d", "0ddba115"
SMALL = Specs.of(cpu=1, ram_mib=96, ssd_mib=256)
# What it says is not what was typed.
_SEE = (
    'see() { until [ "$(for d in /sys/block/vd*; do echo $(cat $d/serial):$(($(cat $d/size) / 2048)); done |'
    " sort | tr '\\n' ' ')\" = \"$1 \" ]; do sleep 0.2; done; echo 'it' sees $1; }"
)
_DEVICE = "dev() { for d in /sys/block/vd*; do [ $(cat $d/serial) = $1 ] && echo /dev/${d##*/}; done; }"


def a_disk(serial: str, size_mib: int, kind: DiskKind = DiskKind.SSD) -> DiskSpec:
    return DiskSpec(kind=kind, size_mib=size_mib, serial=serial)


def with_disks(*disks: DiskSpec) -> Specs:
    return Specs(cpu=SMALL.cpu, ram_mib=SMALL.ram_mib, disks=(SMALL.disks[0], *disks))


def file_of(rig: Rig, vm: str, serial: str, kind: DiskKind = DiskKind.SSD) -> Path:
    directory = rig.store_directory if kind is DiskKind.SSD else rig.host.data / "hdd"
    return directory / "vms" / vm / f"{serial}.qcow2"


def ask_for(vm: Vm, *disks: DiskSpec) -> None:
    """Have it ordered with these disks beside its root disk."""
    vm.specs, vm.generation = with_disks(*disks), vm.generation + 1
    put(vm.host, vm.order())


def wait_specs(vm: Vm, actual: Actual = Actual.RUNNING) -> None:
    """Wait until it is said to have the disks that it is to have."""

    def look() -> bool:
        status = vm.host.status(vm.uuid)
        is_answer = status is not None and (status.actual, status.generation) == (actual, vm.generation)
        return is_answer and status is not None and status.specs == vm.specs and status.reason == ""

    wait_for(f"{vm.specs.disks} in {vm.host.status(vm.uuid)}", look, 60)


def wait_seen(vm: Vm) -> None:
    """Wait until the guest sees the disks that it is to have, and no others."""
    seen = " ".join(sorted(f"{disk.serial}:{disk.size_mib}" for disk in vm.specs.disks))
    type_line(vm, f"see '{seen}'", f"it sees {seen}")


def test_a_guest_gets_a_disk_sees_it_grow_and_lets_go_of_it_whenever_the_daemon_dies(rig: Rig) -> None:
    vm = Vm(rig.new_vm(), rig, specs=with_disks(a_disk(SECOND, 16)))

    def ask_and_die(*disks: DiskSpec, after_s: float) -> None:
        ask_for(vm, *disks)
        rig.pass_time(after_s)
        rig.restart("ucloud-vm")
        wait_specs(vm)
        wait_seen(vm)

    boot(vm)
    type_line(vm, f"{_SEE}; echo 'defined' see", "defined see")
    type_line(vm, f"{_DEVICE}; echo 'defined' dev", "defined dev")
    wait_seen(vm)
    (pid,) = rig.qemu_pids(vm.uuid)

    second, third = a_disk(SECOND, 16), a_disk(THIRD, 8, DiskKind.HDD)
    ask_and_die(second, third, after_s=0.05)
    file = file_of(rig, vm.uuid, THIRD, DiskKind.HDD)
    assert file.exists()
    type_line(vm, f"echo 'kept' data > $(dev {THIRD}); sync; echo 'it' is written", "it is written")
    third = third.model_copy(update={"size_mib": 24})
    ask_and_die(second, third, after_s=0.1)
    type_line(vm, f"head -c 9 $(dev {THIRD})", "kept data")

    ask_and_die(second, after_s=0.15)
    rig.wait_gone("file of the disk", file.exists)
    assert file_of(rig, vm.uuid, SECOND).exists()
    assert rig.qemu_pids(vm.uuid) == {pid}, "it runs as it ran"
    rig.delete(vm.uuid, vm.generation + 1)


def test_a_disk_stays_as_long_as_a_guest_keeps_it(rig: Rig) -> None:
    vm = Vm(rig.new_vm(), rig, image=BLANK, specs=SMALL)
    vm.place(Actual.RUNNING)
    ask_for(vm, a_disk(SECOND, 8))
    wait_specs(vm)
    ask_for(vm)
    rig.wait_status(vm.uuid, Actual.RUNNING, vm.generation, KEEPS)
    rig.restart("ucloud-vm")
    status = rig.wait_status(vm.uuid, Actual.RUNNING, vm.generation, KEEPS)
    assert status.specs == with_disks(a_disk(SECOND, 8)), "that is what it has"
    assert file_of(rig, vm.uuid, SECOND).exists()
    vm.requested, vm.generation = Requested.STOPPED, vm.generation + 1
    vm.place(Actual.STOPPED)
    rig.wait_gone("file of the disk", file_of(rig, vm.uuid, SECOND).exists)
    assert SECOND not in rig.virsh("dumpxml", vm.domain)
    rig.delete(vm.uuid, vm.generation + 1)


def test_disks_of_a_vm_that_is_off_come_and_go_and_none_is_lost_silently(rig: Rig) -> None:
    vm = Vm(rig.new_vm(), rig, image=BLANK, specs=SMALL, requested=Requested.STOPPED)
    vm.place(Actual.STOPPED)
    ask_for(vm, a_disk(SECOND, 8), a_disk(THIRD, 8))
    for serial in (SECOND, THIRD):
        wait_for("the disk", file_of(rig, vm.uuid, serial).exists, 30)
        wait_for("it is defined", lambda: serial in rig.virsh("dumpxml", vm.domain), 30)  # noqa: B023
    ask_for(vm, a_disk(THIRD, 16))
    rig.wait_gone("file of the disk", file_of(rig, vm.uuid, SECOND).exists)
    vm.requested, vm.generation = Requested.RUNNING, vm.generation + 1
    vm.place(Actual.RUNNING)
    wait_specs(vm)

    # One that was added while it ran, and is lost when it is off, is not made anew.
    ask_for(vm, a_disk(THIRD, 16), a_disk("0000face", 8))
    wait_specs(vm)
    vm.requested, vm.generation = Requested.STOPPED, vm.generation + 1
    vm.place(Actual.STOPPED)
    file_of(rig, vm.uuid, "0000face").unlink()
    vm.requested, vm.generation = Requested.RUNNING, vm.generation + 1
    put(rig, vm.order())
    rig.wait_status(vm.uuid, Actual.ERROR, vm.generation, "its disk 0000face is gone from this host's store")
    assert not file_of(rig, vm.uuid, "0000face").exists()
    # Its owner can do without it.
    ask_for(vm, a_disk(THIRD, 16))
    rig.wait_status(vm.uuid, Actual.RUNNING, vm.generation)
    rig.delete(vm.uuid, vm.generation + 1)


def test_a_guest_that_an_earlier_version_started_goes_on_and_gets_a_disk(rig: Rig, tmp_path: Path) -> None:
    """Its disks have no serials, and nothing says which there are."""
    vm = Vm(rig.new_vm(), rig, image=BLANK, specs=Specs.of(cpu=1, ram_mib=96, ssd_mib=256, hdd_mib=8))
    vm.place(Actual.RUNNING)
    rig.kill("ucloud-vm")
    old = re.sub(
        r"<serial>(root|hdd)</serial>| disks=.root:[^'\"]*.", "", rig.virsh("dumpxml", "--inactive", vm.domain)
    )
    assert "root:" not in old
    (tmp_path / "old.xml").write_text(old)
    for command in (("destroy", vm.domain), ("define", str(tmp_path / "old.xml")), ("start", vm.domain)):
        rig.virsh(*command)
    (pid,) = rig.qemu_pids(vm.uuid)
    rig.start("ucloud-vm")
    wait_specs(vm)
    for hdd_mib in (8, 16):
        ask_for(vm, a_disk("hdd", hdd_mib, DiskKind.HDD), a_disk(SECOND, 8))
        wait_specs(vm)
    assert rig.qemu_pids(vm.uuid) == {pid}
    rig.delete(vm.uuid, vm.generation + 1)


# --- moves ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(host_rig: Rig, second_rig: Rig) -> Iterator[Pair]:
    """Two hosts that share a store for SSDs, on an etcd that is empty at first."""
    store = host_rig.store
    for entry in store.list("/").entries:
        store.commit([present(entry.key)], [Delete(entry.key)])
    for rig in (host_rig, second_rig):
        rig.start("ucloud-vm")
    yield Pair(host_rig, second_rig)
    for rig in (host_rig, second_rig):
        rig.kill("ucloud-vm")


def test_a_guest_moves_with_three_disks_in_a_store_that_is_shared_and_with_their_contents(pair: Pair) -> None:
    second, third = a_disk(SECOND, 8), a_disk(THIRD, 8)
    vm = Vm(pair.one.new_vm(), pair.one, image=BLANK, specs=with_disks(second), requested=Requested.STOPPED)
    vm.place(Actual.STOPPED)
    for number, serial in enumerate(("root", SECOND), start=1):
        qemu_io(file_of(pair.one, vm.uuid, serial), f"write -P {number} 0 64k")
    vm.requested, vm.generation = Requested.RUNNING, vm.generation + 1
    vm.place(Actual.RUNNING)
    ask_for(vm, second, third)
    wait_specs(vm)
    pair.finish(vm, pair.send(pair.begin(vm)))
    wait_specs(vm)

    # To a host with a store of its own, with another disk that is an HDD there as here.
    ask_for(vm, second, third, a_disk("0000face", 8, DiskKind.HDD))
    wait_specs(vm)
    own = pair.one.host.data / "own"
    pair.one.restart("ucloud-vm", UCLOUD_STORAGE_SSD_DIRECTORY=str(own))
    try:
        pair.finish(vm, pair.send(pair.begin(vm, copies_disks=True)))
        wait_specs(vm)
        folder = own / "vms" / vm.uuid
        assert {path.name for path in folder.iterdir()} == {f"{name}.qcow2" for name in ("root", SECOND, THIRD)}
        assert file_of(pair.one, vm.uuid, "0000face", DiskKind.HDD).exists()
        assert not (pair.one.store_directory / "vms" / vm.uuid).exists()
        for number, name in enumerate(("root", SECOND), start=1):
            read = [
                "qemu-io",
                "-U",
                "-r",
                "-f",
                "qcow2",
                "-c",
                f"read -P {number} 0 64k",
                str(folder / f"{name}.qcow2"),
            ]
            said = subprocess.run(read, check=True, capture_output=True, text=True).stdout
            assert "Pattern verification failed" not in said
        # It has what it had before, also from its next start, and still lets a disk be plugged in.
        ask_for(vm, second, third, a_disk("0000face", 8, DiskKind.HDD), a_disk("0000beef", 8))
        wait_specs(vm)
        kept = pair.one.virsh("dumpxml", "--inactive", vm.domain)
        assert all(serial in kept for serial in (SECOND, THIRD, "0000face", "0000beef"))
        vm.requested, vm.generation = Requested.DELETED, vm.generation + 1
        vm.place(Actual.DELETED)
        vm.host.withdraw(vm.uuid)
        vm.host.wait_gone("status", lambda: vm.host.status(vm.uuid))
        assert not folder.exists()
    finally:
        pair.one.restart("ucloud-vm")

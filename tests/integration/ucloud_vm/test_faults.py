"""What goes wrong around VMs: orders that vanish or can't be read, strangers' domains, stores and libvirtd away."""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common import keys
from common.schemas.vm import Actual, Requested
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.rig import BLANK, Rig
from ucloud_vm.planning.report import NOT_ORDERED


def _run(rig: Rig) -> tuple[str, int]:
    """A VM that runs, and the process that runs it."""
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 1)
    (pid,) = rig.qemu_pids(vm)
    return vm, pid


def test_a_vm_that_nobody_ordered_is_ended_after_a_time_of_grace_and_its_disk_stays(rig: Rig) -> None:
    vm, pid = _run(rig)
    rig.withdraw(vm)
    status = rig.wait_status(vm, Actual.STOPPING, 1, NOT_ORDERED)
    assert rig.qemu_pids(vm) == {pid}
    rig.order(vm, Requested.RUNNING, 2, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 2)
    assert rig.qemu_pids(vm) == {pid}

    rig.withdraw(vm)
    rig.wait_status(vm, Actual.STOPPING, 2, NOT_ORDERED)
    rig.kill("ucloud-vm")
    # The time of grace is over meanwhile.
    old = status.model_copy(update={"generation": 2, "since": datetime.now(UTC) - timedelta(seconds=61)})
    rig.put(keys.vm_status(rig.host.name, vm), old.to_json())
    rig.start("ucloud-vm")
    rig.wait_gone("status", lambda: rig.status(vm))
    assert rig.qemu_pids(vm) == set()
    assert rig.domains() == []
    assert [path.name for path in rig.files(vm)] == [vm, "root.qcow2"]

    rig.order(vm, Requested.RUNNING, 3, BLANK, epoch=2)
    rig.wait_status(vm, Actual.RUNNING, 3)
    rig.delete(vm, 4)


def test_an_orphan_without_a_status_is_found(rig: Rig) -> None:
    vm, pid = _run(rig)
    rig.kill("ucloud-vm")
    rig.withdraw(vm)
    rig.remove(keys.vm_status(rig.host.name, vm))
    rig.start("ucloud-vm")
    status = rig.wait_status(vm, Actual.STOPPING, 0, NOT_ORDERED)
    assert status.epoch == 1
    assert rig.qemu_pids(vm) == {pid}
    rig.delete(vm, 2)


def test_a_vm_whose_order_can_not_be_read_is_left_alone(rig: Rig) -> None:
    vm, pid = _run(rig)
    before = rig.status(vm)
    rig.put(keys.placement(rig.host.name, vm), b'{"version": 1, "epoch": "?"}')
    rig.restart("ucloud-vm")
    # Others are served meanwhile.
    other, _ = _run(rig)
    rig.delete(other, 2)
    assert rig.qemu_pids(vm) == {pid}
    assert rig.status(vm) == before
    rig.delete(vm, 2)


def test_domains_of_others_are_not_touched(rig: Rig) -> None:
    """Not even one that has the name and the uuid of a VM that is ordered here."""
    vm = rig.new_vm()
    xml = rig.host.data / "stranger.xml"
    xml.write_text(
        f"<domain type='qemu'><name>ucloud-{vm}</name><uuid>{vm}</uuid><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>",
        encoding="ascii",
    )
    rig.virsh("create", str(xml))
    (pid,) = rig.qemu_pids(vm)
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_status(vm, Actual.ERROR, 1, "not ucloud's")
    rig.order(vm, Requested.DELETED, 2, BLANK)
    rig.pass_time(1)
    # Nothing is answered that can't be done.
    rig.wait_status(vm, Actual.ERROR, 1, "not ucloud's")
    assert rig.qemu_pids(vm) == {pid}
    rig.withdraw(vm)
    rig.virsh("destroy", f"ucloud-{vm}")


def test_a_store_that_is_away_is_not_an_empty_one(rig: Rig) -> None:
    vm, pid = _run(rig)
    away = rig.store_directory.with_name("away")
    rig.store_directory.rename(away)
    rig.order(vm, Requested.RUNNING, 2, BLANK)
    rig.wait_status(vm, Actual.RUNNING, 2)
    assert rig.qemu_pids(vm) == {pid}
    # It can be stopped, but not started or deleted.
    rig.virsh("destroy", f"ucloud-{vm}")
    rig.wait_status(vm, Actual.RUNNING, 2, "is it mounted?")
    rig.order(vm, Requested.DELETED, 3, BLANK)
    rig.pass_time(1)
    rig.wait_status(vm, Actual.RUNNING, 2, "is it mounted?")
    away.rename(rig.store_directory)
    rig.wait_status(vm, Actual.DELETED, 3)
    rig.delete(vm, 4)


def test_libvirtd_may_come_later(rig: Rig) -> None:
    rig.kill("ucloud-vm")
    rig.kill("libvirtd")
    rig.begin("ucloud-vm")
    vm = rig.new_vm()
    rig.order(vm, Requested.RUNNING, 1, BLANK)
    rig.wait_health("not connected to")
    assert rig.status(vm) is None
    rig.start("libvirtd")
    rig.wait_status(vm, Actual.RUNNING, 1, timeout_s=20)
    rig.delete(vm, 2)


def test_a_second_ucloud_vm_of_one_host_gives_up(rig: Rig) -> None:
    code, said = rig.try_start()
    assert code == 1
    assert "another ucloud-vm" in said
    assert "Traceback" not in said


def test_killed_at_any_point_it_completes_what_was_begun(rig: Rig) -> None:
    for delay_s in (0.0, 0.03, 0.1, 0.3):
        vm = rig.new_vm()
        rig.order(vm, Requested.RUNNING, 1, BLANK)
        rig.pass_time(delay_s)
        rig.restart("ucloud-vm")
        rig.wait_status(vm, Actual.RUNNING, 1)
        assert len(rig.qemu_pids(vm)) == 1
        rig.order(vm, Requested.DELETED, 2, BLANK)
        rig.pass_time(delay_s)
        rig.restart("ucloud-vm")
        rig.delete(vm, 3)


def test_libvirtd_killed_at_any_point_is_no_harm(rig: Rig) -> None:
    for delay_s in (0.05, 0.1, 0.2):
        vm = rig.new_vm()
        rig.order(vm, Requested.RUNNING, 1, BLANK)
        rig.pass_time(delay_s)
        rig.restart("libvirtd")
        rig.wait_status(vm, Actual.RUNNING, 1)
        assert len(rig.qemu_pids(vm)) == 1
        rig.order(vm, Requested.DELETED, 2, BLANK)
        rig.pass_time(delay_s)
        rig.restart("libvirtd")
        rig.delete(vm, 3)


def test_it_ends_cleanly_and_leaves_guests_running(rig: Rig) -> None:
    vm, pid = _run(rig)
    assert rig.kill("ucloud-vm", signal.SIGTERM) == 0
    assert rig.qemu_pids(vm) == {pid}
    log = rig.log_file("ucloud-vm").read_text()
    assert "Traceback" not in log
    assert "ucloud-vm ended" in log
    rig.start("ucloud-vm")
    rig.delete(vm, 2)


def test_a_start_that_libvirtd_s_death_leaves_behind_is_begun_anew(rig: Rig) -> None:
    vm = _interrupt_a_start(rig)
    rig.start("libvirtd")
    rig.wait_status(vm, Actual.RUNNING, 1)
    assert len(rig.qemu_pids(vm)) == 1
    rig.delete(vm, 2)


def _interrupt_a_start(rig: Rig) -> str:
    """Kill libvirtd between the beginning of a VM's start and the moment at which it knows QEMU's process."""
    for _ in range(10):
        vm = rig.new_vm()
        status_file = rig.host.run / f"libvirt/qemu/ucloud-{vm}.xml"
        rig.order(vm, Requested.RUNNING, 1, BLANK)
        wait_for("the beginning of the start", lambda file=status_file: _names_no_process(file), 20, interval_s=0)  # type: ignore[misc]
        rig.kill("libvirtd")
        if _names_no_process(status_file):
            return vm
        rig.start("libvirtd")
        rig.delete(vm, 2)
    raise AssertionError("libvirtd was always faster")


def _names_no_process(status_file: Path) -> bool:
    try:
        return " pid='0'" in status_file.read_text()
    except FileNotFoundError:
        return False

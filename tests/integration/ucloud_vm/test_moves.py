"""VMs move between two hosts with real libvirtds, whatever dies meanwhile: they end up on exactly one of them.

One guest boots, and moves on from test to test; its boot id says that it has never been started anew.
"""

import subprocess
from collections.abc import Iterator

import pytest

from common.schemas.vm import Actual, MoveState, Requested
from common.store import Delete, present
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.pair import (
    MOVE_S,
    Move,
    Pair,
    Vm,
    beats,
    boot,
    put,
    throttle,
    type_line,
    wait_beat,
    wait_move,
    wait_under_way,
)
from tests.integration.ucloud_vm.rig import BLANK, Rig

SLOW_MIB_S, FAST_MIB_S = 1, 4096


@pytest.fixture(scope="module")
def rigs(host_rig: Rig, second_rig: Rig) -> Iterator[tuple[Rig, Rig]]:
    """Both hosts, on an etcd that is empty at first."""
    store = host_rig.store
    for entry in store.list("/").entries:
        store.commit([present(entry.key)], [Delete(entry.key)])
    yield host_rig, second_rig
    for rig in (host_rig, second_rig):
        if rig.runs("ucloud-vm"):
            rig.kill("ucloud-vm")


@pytest.fixture
def pair(rigs: tuple[Rig, Rig]) -> Pair:
    """Both hosts with libvirtd and ucloud-vm."""
    for rig in rigs:
        for program in ("libvirtd", "ucloud-vm"):
            if not rig.runs(program):
                rig.begin(program)
    wait_well(*rigs)
    return Pair(*rigs)


@pytest.fixture(scope="module")
def booted() -> list[Vm]:
    """The guest that goes from test to test, once there is one."""
    return []


@pytest.fixture
def guest(pair: Pair, booted: list[Vm]) -> Iterator[Vm]:
    """A guest that has booted; it is left as the test leaves it, for the next one."""
    if not booted:
        vm = Vm(pair.one.new_vm(), pair.one)
        boot(vm)
        booted.append(vm)
    vm = booted.pop()
    vm.place(Actual.RUNNING)
    before = wait_beat(vm)
    yield vm
    after = wait_beat(vm, before[1])
    assert after[0] == before[0], "the guest was started anew"
    assert len(pair.one.qemu_pids(vm.uuid) | pair.two.qemu_pids(vm.uuid)) == 1
    booted.append(vm)


def wait_well(*rigs: Rig) -> None:
    for rig in rigs:
        wait_for(f"ucloud-vm well on {rig.host.name}", rig.is_well, 60)


def begin_slowly(pair: Pair, vm: Vm) -> Move:
    """A move that takes long, in its midst."""
    throttle(vm.host, vm, SLOW_MIB_S)
    move = pair.send(pair.begin(vm))
    wait_under_way(move)
    return move


def test_a_guest_moves_while_it_runs(pair: Pair, guest: Vm) -> None:
    boot_id, count = wait_beat(guest)
    source, target = guest.host, pair.other(guest.host)
    pair.finish(guest, pair.send(pair.begin(guest)))
    assert target.wait_status(guest.uuid, Actual.RUNNING, guest.generation).move is None
    assert wait_beat(guest, count)[0] == boot_id
    # Nothing of it is left there but the disk that they share.
    assert {path.name for path in source.files(guest.uuid)} == {guest.uuid, "root.qcow2"}


def test_a_guest_that_never_stops_writing_takes_its_disk_along(pair: Pair, guest: Vm) -> None:
    """To a host with a store of its own, and back."""
    boot_id, count = wait_beat(guest)
    source, target = guest.host, pair.other(guest.host)
    shared, own = source.store_directory / "vms" / guest.uuid, target.host.data / "own"
    writer = "while :; do dd if=/dev/urandom of=/run/x bs=64k count=160 2> /dev/null; done &"
    type_line(guest, f"{writer} echo 'it' writes", "it writes")
    target.restart("ucloud-vm", UCLOUD_STORAGE_SSD_DIRECTORY=str(own))
    try:
        pair.finish(guest, pair.send(pair.begin(guest, copies_disks=True)))
        count = wait_beat(guest, count)[1]
        # The disks are gone where they came from, and whole where they are.
        assert not shared.exists()
        disk = own / "vms" / guest.uuid / "root.qcow2"
        assert {path.name for path in disk.parent.iterdir()} == {"root.qcow2"}
        check = subprocess.run(["qemu-img", "info", "-U", str(disk)], capture_output=True, text=True, check=True)
        assert "backing file" not in check.stdout
        type_line(guest, "kill %2; echo 'it' is killed", "it is killed")
        pair.finish(guest, pair.send(pair.begin(guest, copies_disks=True)))
    finally:
        target.restart("ucloud-vm")
    assert shared.exists()
    assert not disk.parent.exists()
    assert wait_beat(guest, count)[0] == boot_id


def test_a_move_that_is_cancelled_leaves_the_guest_where_it_is(pair: Pair, guest: Vm) -> None:
    move = begin_slowly(pair, guest)
    assert move.order.leaving is not None
    stay = move.order.leaving.model_copy(update={"cancelled": True})
    put(move.source, move.order.model_copy(update={"leaving": stay}))
    status = wait_move(move.source, guest.uuid, MoveState.FAILED)
    assert (status.actual, status.reason) == (
        Actual.RUNNING,
        f"it could not move to {move.target.host.name}: it was cancelled",
    )
    pair.back_out(move)
    guest.host.wait_status(guest.uuid, Actual.RUNNING, guest.generation)


@pytest.mark.parametrize("end", ["source", "target"])
def test_a_libvirtd_dies_in_the_midst(pair: Pair, guest: Vm, end: str) -> None:
    move = begin_slowly(pair, guest)
    victim = move.source if end == "source" else move.target
    victim.kill("libvirtd")
    victim.start("libvirtd")
    wait_move(move.source, guest.uuid, MoveState.FAILED)
    pair.back_out(move)
    guest.host.wait_status(guest.uuid, Actual.RUNNING, guest.generation)


def test_the_daemons_die_in_the_midst_and_their_next_lives_go_on_watching(pair: Pair, guest: Vm) -> None:
    move = begin_slowly(pair, guest)
    for rig in (move.source, move.target):
        rig.kill("ucloud-vm")
    for rig in (move.source, move.target):
        rig.begin("ucloud-vm")
    wait_well(move.source, move.target)
    (pid,) = move.source.qemu_pids(guest.uuid)
    throttle(move.source, guest, FAST_MIB_S)
    pair.finish(guest, move)
    assert pid not in move.target.qemu_pids(guest.uuid)


def test_the_daemons_die_at_each_step(pair: Pair, guest: Vm) -> None:
    def die() -> None:
        for rig in (pair.one, pair.two):
            rig.kill("ucloud-vm")
            rig.begin("ucloud-vm")

    throttle(guest.host, guest, FAST_MIB_S)
    move = pair.begin(guest)
    die()
    wait_move(move.target, guest.uuid, MoveState.READY)
    die()
    move = pair.send(move)
    die()
    wait_move(move.source, guest.uuid, MoveState.DONE, MoveState.FAILED)
    die()
    status = wait_move(move.source, guest.uuid, MoveState.DONE, MoveState.FAILED)
    assert status.move is not None
    if status.move.state is MoveState.FAILED:
        # It was killed before it had begun, which its next life can't tell from a move that was broken off.
        assert beats(move.target, guest) == []
        pair.back_out(move)
    else:
        pair.hand_over(guest, move)
        die()
        pair.clear(move)
    guest.host.wait_status(guest.uuid, Actual.RUNNING, guest.generation)


def test_a_guest_that_is_suspended_arrives_suspended(pair: Pair, guest: Vm) -> None:
    throttle(guest.host, guest, FAST_MIB_S)
    guest.requested, guest.generation = Requested.SUSPENDED, guest.generation + 1
    guest.place(Actual.SUSPENDED)
    pair.finish(guest, pair.send(pair.begin(guest)))
    guest.host.wait_status(guest.uuid, Actual.SUSPENDED, guest.generation)
    guest.requested, guest.generation = Requested.RUNNING, guest.generation + 1
    guest.place(Actual.RUNNING)


def test_a_cold_move_takes_a_guest_down_and_up_and_leaves_one_off_that_was_off(pair: Pair) -> None:
    vm = Vm(pair.one.new_vm(), pair.one, image=BLANK)
    vm.place(Actual.RUNNING)
    pair.finish(vm, pair.send(pair.begin(vm, live=False)))
    pair.two.wait_status(vm.uuid, Actual.RUNNING, 1)
    vm.requested, vm.generation = Requested.STOPPED, 2
    vm.place(Actual.STOPPED)
    pair.finish(vm, pair.send(pair.begin(vm, live=False)))
    pair.one.wait_status(vm.uuid, Actual.STOPPED, 2)
    assert pair.one.qemu_pids(vm.uuid) == set()
    pair.remove(vm)


def test_a_host_that_has_not_the_disk_takes_no_guest_and_removes_no_disk(pair: Pair) -> None:
    vm = Vm(pair.one.new_vm(), pair.one, image=BLANK)
    vm.place(Actual.RUNNING)
    pair.two.restart("ucloud-vm", UCLOUD_STORAGE_SSD_DIRECTORY=str(pair.two.host.data / "own"))
    try:
        move = pair.begin(vm)
        assert "do the hosts share one?" in wait_move(pair.two, vm.uuid, MoveState.FAILED).reason
        pair.back_out(move)
    finally:
        pair.two.restart("ucloud-vm")
    # And where they do share it, it is never taken for one to copy into.
    move = pair.begin(vm, copies_disks=True)
    assert "there are disks of this VM" in wait_move(pair.two, vm.uuid, MoveState.FAILED).reason
    pair.back_out(move)
    vm.host.wait_status(vm.uuid, Actual.RUNNING, 1, timeout_s=MOVE_S)
    assert (pair.one.store_directory / "vms" / vm.uuid / "root.qcow2").exists()
    pair.remove(vm)

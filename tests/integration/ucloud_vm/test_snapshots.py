"""Snapshots of real QEMUs on disks in a directory, whoever is killed meanwhile; their guests are without a system.

What a guest itself sees of a roll-back is in tests/system/test_snapshots.py.
"""

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common import keys
from common.schemas.disk import DiskSpec
from common.schemas.snapshot import Rollback, Snapshot, SnapshotActual
from common.schemas.vm import Actual, Requested, Specs, VmRequest, VmStatus
from common.storage import FileDisk, qcow2_snapshots
from common.store import Delete, present
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.pair import Pair, Vm
from tests.integration.ucloud_vm.rig import BLANK, Rig

SPECS = Specs.of(1, 64, 64, 8)
ROUNDS = 5


def new(number: int, disks: tuple[DiskSpec, ...] = SPECS.disks) -> Snapshot:
    return Snapshot(id=str(uuid.uuid4()), name=f"s{number}", created_at=datetime.now(UTC), disks=disks)


@dataclass
class World:
    """A VM on a host: what is asked of it, and what is true of its disks."""

    rig: Rig
    vm: str
    requested: Requested = Requested.RUNNING
    snapshots: tuple[Snapshot, ...] = ()
    rollback: Rollback | None = None
    specs: Specs = SPECS
    generation: int = 0
    epoch: int = 1

    def order(self) -> None:
        """Have it known what is asked."""
        self.generation += 1
        wanted = (self.vm, self.requested, self.generation, BLANK, self.epoch, self.specs)
        self.rig.order(*wanted, force=True, snapshots=self.snapshots, rollback=self.rollback)

    def settle(self) -> VmStatus:
        """Wait until all of it is so."""
        actual = Actual(self.requested.value)

        def look() -> VmStatus | None:
            status = self.rig.status(self.vm)
            if status is None or (status.actual, status.generation) != (actual, self.generation):
                return None
            states = [each.actual for each in status.snapshots]
            is_done = self.rollback is None or status.rolled_back >= self.rollback.number
            are_ready = states == [SnapshotActual.READY] * len(self.snapshots)
            return status if is_done and are_ready and self.held() == self.wanted() else None

        return wait_for("all as requested", look, 60)

    def wanted(self) -> dict[str, set[str]]:
        return {disk.serial: {each.id for each in self.snapshots} for disk in SPECS.disks}

    def files(self) -> dict[str, Path]:
        hdd = self.rig.host.data / "hdd/vms" / self.vm / "hdd.qcow2"
        return {"root": self.rig.store_directory / "vms" / self.vm / "root.qcow2", "hdd": hdd}

    def held(self) -> dict[str, set[str]]:
        return {serial: set(qcow2_snapshots.read(path)) for serial, path in self.files().items()}

    def pattern(self, number: int) -> None:
        """Fill the beginning of both disks, whose guest is off."""
        for path in self.files().values():
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write -P {number} 0 64k", str(path)], check=True,
                           capture_output=True)  # fmt: skip

    def has_pattern(self, number: int) -> bool:
        reads = (
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"read -P {number} 0 64k", str(path)],
                           check=True, capture_output=True, text=True).stdout
            for path in self.files().values()
        )  # fmt: skip
        return not any("failed" in said for said in reads)

    def check(self) -> None:
        """That the files have neither errors nor leaks."""
        for path in self.files().values():
            subprocess.run(["qemu-img", "check", "-q", "-U", str(path)], check=True)


@pytest.fixture
def world(rig: Rig) -> Iterator[World]:
    world = World(rig, rig.new_vm())
    world.order()
    world.settle()
    yield world
    rig.delete(world.vm, world.generation + 1)


def test_all_disks_of_a_guest_that_runs_at_once_and_it_goes_on(world: World) -> None:
    rig, (pid,) = world.rig, world.rig.qemu_pids(world.vm)
    world.snapshots = (new(1),)
    world.order()
    (report,) = world.settle().snapshots
    assert report.taken_at
    assert abs(datetime.now(UTC) - report.taken_at).total_seconds() < 60
    # Its disks grow, and it is asked for another one in the same breath.
    world.specs, world.snapshots = Specs.of(1, 64, 96, 16), (*world.snapshots, new(2))
    world.order()
    status = world.settle()
    wait_for("larger disks", lambda: (seen := rig.status(world.vm)) and seen.specs == world.specs, 30)
    # A guest that is suspended has them taken and removed as well, and stays so.
    world.requested, world.snapshots = Requested.SUSPENDED, (world.snapshots[1], new(3))
    world.order()
    world.settle()
    assert "paused" in rig.virsh("domstate", f"ucloud-{world.vm}")
    world.requested, world.snapshots = Requested.RUNNING, ()
    world.order()
    world.settle()
    assert "running" in rig.virsh("domstate", f"ucloud-{world.vm}")
    assert rig.qemu_pids(world.vm) == {pid}
    assert [event.what for event in status.events if "KILLED" in event.what] == []
    world.requested = Requested.STOPPED
    world.order()
    world.settle()
    world.check()


def test_whenever_the_daemon_is_killed_snapshots_are_whole_and_the_guest_goes_on(world: World) -> None:
    rig, (pid,) = world.rig, world.rig.qemu_pids(world.vm)
    for attempt in range(ROUNDS):
        world.snapshots = (*world.snapshots, new(attempt))[-2:]
        world.order()
        rig.pass_time(0.03 + 0.06 * attempt)
        rig.restart("ucloud-vm")
        status = world.settle()
        assert status.reason == ""
        assert "running" in rig.virsh("domstate", f"ucloud-{world.vm}")
    assert rig.qemu_pids(world.vm) == {pid}
    # One that some other hand took of a disk alone, as who is killed in between leaves it, is not one.
    half = new(9)
    (node,) = (
        each["inserted"]["node-name"]
        for each in _qmp(rig, world.vm, "query-block")
        if "hdd.qcow2" in each.get("inserted", {}).get("file", "")
    )
    _qmp(rig, world.vm, "blockdev-snapshot-internal-sync", device=node, name=half.id)
    world.snapshots = (*world.snapshots, half)
    world.order()
    world.settle()
    # And a guest that was left paused is resumed.
    rig.virsh("suspend", f"ucloud-{world.vm}")
    wait_for("it to go on", lambda: "running" in rig.virsh("domstate", f"ucloud-{world.vm}"), 30)
    world.requested = Requested.STOPPED
    world.order()
    world.settle()
    world.check()


def _qmp(rig: Rig, vm: str, command: str, **arguments: str) -> list[dict[str, dict[str, str]]]:
    asked = json.dumps({"execute": command, "arguments": arguments})
    found: list[dict[str, dict[str, str]]] = json.loads(rig.virsh("qemu-monitor-command", f"ucloud-{vm}", asked))[
        "return"
    ]
    return found


def test_a_roll_back_is_done_once_whoever_is_killed_and_whatever_is_forgotten(world: World) -> None:
    rig = world.rig
    world.requested = Requested.STOPPED
    world.order()
    world.settle()
    world.pattern(1)
    world.snapshots = (new(1),)
    world.order()
    world.settle()
    for attempt in range(ROUNDS):
        world.pattern(2)
        world.rollback = Rollback(number=attempt + 1, snapshot=world.snapshots[0].id, name="s1")
        world.order()
        rig.pass_time(0.02 + 0.04 * attempt)
        rig.restart("ucloud-vm")
        world.settle()
        assert world.has_pattern(1), attempt
        world.check()
    # Its host dies with all that it knew, and its next life is told of the same wish.
    world.pattern(3)
    rig.kill("ucloud-vm")
    rig.remove(keys.vm_status(rig.host.name, world.vm))
    world.epoch, world.requested = 2, Requested.RUNNING
    world.order()
    rig.start("ucloud-vm")
    assert world.settle().rolled_back == ROUNDS
    world.requested = Requested.STOPPED
    world.order()
    world.settle()
    assert world.has_pattern(3)


def test_what_is_to_be_rolled_back_is_not_started_before(world: World) -> None:
    rig = world.rig
    world.requested = Requested.STOPPED
    world.snapshots = (new(1),)
    world.order()
    world.settle()
    world.pattern(1)
    # Somebody has the disk open, so it can't be rolled back now.
    path = world.files()["root"]
    with subprocess.Popen(["qemu-io", "-f", "qcow2", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdin
        held.stdin.write(b"length\n")
        held.stdin.flush()
        assert held.stdout
        held.stdout.readline()
        world.requested = Requested.RUNNING
        world.rollback = Rollback(number=1, snapshot=world.snapshots[0].id, name="s1")
        world.order()
        rig.wait_status(world.vm, Actual.DEPLOYING, world.generation, "lock")
        assert rig.qemu_pids(world.vm) == set()
        held.communicate(b"quit\n")
    assert world.settle().rolled_back == 1
    assert len(rig.qemu_pids(world.vm)) == 1


def test_a_snapshot_that_is_gone_is_lost_and_not_taken_anew(world: World) -> None:
    rig = world.rig
    world.requested = Requested.STOPPED
    world.snapshots = (new(1),)
    world.order()
    world.settle()
    qcow2_snapshots.remove(world.files()["hdd"], world.snapshots[0].id)
    rig.restart("ucloud-vm")

    def is_lost() -> bool:
        status = rig.status(world.vm)
        return status is not None and status.snapshots[0].actual is SnapshotActual.LOST

    wait_for("it to be missed", is_lost, 30)
    assert world.held()["hdd"] == set()
    world.snapshots = ()
    world.order()
    world.settle()


@dataclass
class Moving(Vm):
    """A VM that moves, with snapshots."""

    snapshots: tuple[Snapshot, ...] = field(default=())

    def request(self) -> VmRequest:
        """What its owner wants."""
        return super().request().model_copy(update={"snapshots": self.snapshots})


def test_a_guest_with_snapshots_moves_while_it_runs(host_rig: Rig, second_rig: Rig) -> None:
    for entry in host_rig.store.list("/").entries:
        host_rig.store.commit([present(entry.key)], [Delete(entry.key)])
    for rig in (host_rig, second_rig):
        rig.start("ucloud-vm")
    try:
        pair = Pair(host_rig, second_rig)
        vm = Moving(host_rig.new_vm(), host_rig, image=BLANK)
        vm.snapshots = (new(1, vm.request().specs.disks),)
        vm.place(Actual.RUNNING)
        _wait_ready(vm)
        taken = _held(vm)
        move = pair.send(pair.begin(vm))
        pair.finish(vm, move)
        assert vm.host is second_rig
        vm.snapshots, vm.generation = (*vm.snapshots, new(2, vm.request().specs.disks)), 2
        vm.place(Actual.RUNNING)
        _wait_ready(vm)
        assert _held(vm).items() >= taken.items()
        vm.snapshots, vm.generation = vm.snapshots[1:], 3
        vm.place(Actual.RUNNING)
        wait_for("the first to go", lambda: set(_held(vm)) == {vm.snapshots[0].id}, 30)
        # Where the disk would have to be copied, it stays.
        move = pair.begin(vm, copies_disks=True)
        told = move.order.leaving.model_copy(update={"uri": "cold"}) if move.order.leaving else None
        vm.host.put(keys.placement(vm.host.host.name, vm.uuid), vm.order(leaving=told).to_json())
        wait_for("the reason", lambda: "snapshots" in getattr(vm.host.status(vm.uuid), "reason", ""), 30)
        pair.back_out(move)
        pair.remove(vm)
    finally:
        for rig in (host_rig, second_rig):
            rig.kill("ucloud-vm")


def _held(vm: Moving) -> dict[str, datetime]:
    disk = vm.host.images.disks(vm.uuid).root
    assert isinstance(disk, FileDisk)
    return dict(disk.snapshots)


def _wait_ready(vm: Moving) -> None:
    def look() -> bool:
        status = vm.host.status(vm.uuid)
        states = [each.actual for each in status.snapshots] if status else []
        return states == [SnapshotActual.READY] * len(vm.snapshots)

    wait_for("the snapshots", look, 30)

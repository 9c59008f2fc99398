"""Never two runners of one VM, whatever befalls hosts and leaders: `python -m tests.system.never_twice --rounds 50`.

Each round a host that runs a VM is cut off from etcd (not from the disks), or some of its processes freeze, guests
among them, and go on when it was found dead, or when it can't be found so; its clock jumps by an hour; meanwhile
leaders are killed. What must hold: no disk is ever held by two processes, the stamps that guests leave on their disks
tell of no two at one time, and in the end each VM runs once.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from common import keys
from common.errors import UcloudError
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Placement
from common.store import EtcdOptions, Store
from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.errors import DeadlineExceeded
from devcloud.people import ADMIN
from devcloud.waiting import wait_for
from tests.system.faults import GUARD, Befallen, Fault, any_fault, kill_leader
from tests.system.holders import Watch, holders
from tests.system.stamps import ask_for_stamps, errors, read_stamps
from tests.system.tenant import Tenant

SPECS = {"cpu": 1, "ram": "96MiB", "ssd": 1}
WELL_S = 240.0
DEAD, HELD, UNDECIDED = "found dead", "disks are held", "undecided"
"""What becomes of a host that something befell: its VMs go elsewhere, or can't, or need not."""
_SILENT_S = 120.0
_NOT_SILENT_S = 3.0
_LEADERS = ("etcd", "scheduler", "host")


@dataclass
class Arena:
    """A cloud of three hosts with VMs whose guests leave stamps."""

    cloud: Cloud
    tenant: Tenant
    store: Store
    vms: dict[str, str] = field(default_factory=dict)
    """Their names, by uuid."""

    def uuid(self, name: str) -> str:
        """That of a VM."""
        return next(uuid for uuid, known in self.vms.items() if known == name)

    def disk(self, vm: str) -> Path:
        """The root disk of a VM."""
        return self.cloud.store_directory / "vms" / vm / "root.qcow2"

    def disks(self) -> dict[str, Path]:
        """Those of all VMs."""
        return {vm: self.disk(vm) for vm in self.vms}

    def add(self, name: str, image: str, *, ha: bool = True) -> str:
        """A VM that is being started; returns its uuid."""
        body = {"name": name, "image": image, "specs": SPECS, "requested": "STOPPED", "ha": ha}
        answer = self.tenant.ask("POST", "/v1/vm", body)
        assert answer.ok, answer.text
        vm = str(answer.json()["uuid"])
        self.vms[vm] = name
        self.tenant.wait_status(vm, "STOPPED")
        ask_for_stamps(self.disk(vm))
        self.tenant.request(vm, "start")
        return vm

    def host_of(self, vm: str) -> str | None:
        """Where a VM is placed."""
        entries = self.store.list(keys.PLACEMENT).entries
        return next((keys.host_and_vm(entry.key)[0] for entry in entries if keys.last_part(entry.key) == vm), None)

    def epoch(self, vm: str) -> int:
        """How often it was placed."""
        entries = (entry for entry in self.store.list(keys.PLACEMENT).entries if keys.last_part(entry.key) == vm)
        return max((Placement.read(entry.key, entry.value).epoch for entry in entries), default=0)

    def word_on(self, host: str) -> str | None:
        """DEAD, or HELD, as the judge says; None as long as it says neither."""
        try:
            entry = self.store.get(keys.verdict(host))
        except UcloudError:
            return None
        verdict = Verdict.read(entry.key, entry.value) if entry else None
        if verdict and verdict.sentence is Sentence.DEAD:
            return DEAD
        return HELD if verdict and verdict.answers.get("storage", "").startswith("no") else None

    def wait_well(self) -> None:
        """Wait until all hosts are alive, and each VM is at work on one of them."""
        began = {vm: self.last_stamp(vm) for vm in self.vms}
        hosts = {keys.alive(host.name) for host in self.cloud.hosts}
        wait_for(
            "all hosts alive",
            self.safely(lambda: {entry.key for entry in self.store.list(keys.ALIVE).entries} == hosts),
            WELL_S,
        )
        for vm in self.vms:
            self.tenant.wait_status(vm, "RUNNING", WELL_S)
            wait_for(f"work of {self.vms[vm]}", lambda vm=vm: self.last_stamp(vm) > began[vm] + 2, WELL_S)  # type: ignore[misc]
            assert len(holders(self.disks())[vm]) == 1

    def safely(self, look: Callable[[], bool]) -> Callable[[], bool]:
        """`look`, for which an etcd that does not answer right now is no answer."""

        def looking() -> bool:
            try:
                return look()
            except UcloudError:
                return False

        return looking

    def last_stamp(self, vm: str) -> int:
        """The number of the last stamp that a guest left; 0 if there is none."""
        stamps = read_stamps(self.disk(vm))
        return stamps[-1].number if stamps else 0

    def errors(self) -> list[str]:
        """What the disks tell of two at one time."""
        return [f"{name}: {error}" for vm, name in self.vms.items() for error in errors(read_stamps(self.disk(vm)))]


@dataclass(frozen=True)
class Outcome:
    """What came of a fault: DEAD, HELD or UNDECIDED; whether the VM was placed anew; how long until all was well."""

    verdict: str
    moved: bool
    took_s: float


def play(arena: Arena, vm: str, fault: Fault, leaders: tuple[str, ...], *, early: bool) -> Outcome:
    """A round: the fault befalls the host of a VM, leaders die, and all gets well again.

    `early`: the host's processes go on as soon as it was found dead, before its VMs run elsewhere.
    """
    host = arena.host_of(vm)
    assert host is not None
    epoch, began = arena.epoch(vm), time.monotonic()
    befallen = Befallen(arena.cloud, host, fault)
    befallen.begin()
    try:
        for leader in leaders:
            kill_leader(arena.cloud, arena.store, leader)
        verdict = _await_verdict(arena, host, fault)
        if verdict == DEAD and not early:
            wait_for("the VM elsewhere", arena.safely(lambda: arena.epoch(vm) > epoch), WELL_S)
            wait_for("its guest there", lambda: len(holders(arena.disks())[vm]) == 1, WELL_S)
    finally:
        befallen.end()
    arena.wait_well()
    return Outcome(verdict, arena.epoch(vm) > epoch, time.monotonic() - began)


def _await_verdict(arena: Arena, host: str, fault: Fault) -> str:
    """Wait until a host was found dead, or can't be because its guests hold their disks, or nobody seems to miss it.

    Guests that a guard is about to end don't hold their disks for long.
    """
    final = {DEAD, HELD} if GUARD in fault.frozen else {DEAD}

    def look() -> str | None:
        word = arena.word_on(host)
        return word if word in final else None

    try:
        return wait_for(f"word of {host}", look, _SILENT_S if fault.silences else _NOT_SILENT_S)
    except DeadlineExceeded:
        return UNDECIDED


def main() -> None:
    """Play rounds at random; exit status 1 as soon as anything ran twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--vms", type=int, default=2)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311
    print(f"seed {options.seed}, {options.rounds} rounds, {options.vms} VMs", flush=True)
    cloud = Cloud(f"twice-{os.getpid()}", Shape(hosts=3, etcd_members=3, schedulers=2, wall_clocks=True, api_port=8093))
    try:
        cloud.up()
        sys.exit(1 if _play_all(cloud, options.rounds, options.vms, chance) else 0)
    finally:
        cloud.down()


def _play_all(cloud: Cloud, rounds: int, vms: int, chance: random.Random) -> list[str]:
    store, seen = Store(EtcdOptions(cloud.etcd_endpoints)), Counter[str]()
    with Tenant(cloud.url, cloud.people.token(ADMIN)) as tenant:
        arena = Arena(cloud, tenant, store)
        image = first_vm.import_image(cloud)
        for number in range(vms):
            arena.add(f"twice-{number}", image)
        arena.wait_well()
        with Watch(arena.disks()) as watch:
            for number in range(1, rounds + 1):
                fault = any_fault(chance)
                leaders = tuple(leader for leader in _LEADERS if chance.random() < 0.3)
                outcome = play(arena, chance.choice(sorted(arena.vms)), fault, leaders, early=chance.random() < 0.5)
                seen[outcome.verdict] += 1
                print(f"{number}: {fault}; killed {', '.join(leaders) or 'nobody'}: {outcome}", flush=True)
                if found := watch.errors + arena.errors():
                    print(*found, sep="\n")
                    return found
            print(f"{dict(seen)}; {watch.looks} looks at {len(watch.held)} disks: never two runners")
    store.close()
    return []


if __name__ == "__main__":
    main()

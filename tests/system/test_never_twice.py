"""Never two runners of one VM: some rounds of never_twice.py, a host without power, an etcd without a majority."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
import requests

from common import keys
from common.store import EtcdOptions, Store
from devcloud import first_vm, power
from devcloud.cloud import Shape
from devcloud.people import ADMIN
from devcloud.waiting import wait_for
from tests.system import world
from tests.system.conftest import running_cloud
from tests.system.faults import GUARD, GUESTS, Fault
from tests.system.holders import Watch
from tests.system.never_twice import DEAD, HELD, WELL_S, Arena, play
from tests.system.tenant import Tenant


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    """A cloud of its own, where hosts are missed sooner than in that of the other tests, with two VMs at work.

    One of them, "steadfast", is not to end with its host.
    """
    with running_cloud("twice", Shape(hosts=3, etcd_members=3, schedulers=2, wall_clocks=True)) as cloud:
        image = first_vm.import_image(cloud)
        store = Store(EtcdOptions(cloud.etcd_endpoints))
        with Tenant(cloud.url, cloud.people.token(ADMIN)) as tenant:
            arena = Arena(cloud, tenant, store)
            arena.add("movable", image)
            arena.add("steadfast", image, ha=False)
            arena.wait_well()
            yield arena
        store.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "leaders", "verdict"),
    [
        (Fault(cut=True, jump_s=3600), ("etcd", "host"), DEAD),
        # It says that its guard has done its work by now, and it has not: the lock of the disk tells.
        (Fault(cut=True, frozen=frozenset({GUARD, GUESTS})), (), HELD),
    ],
    ids=str,
)
def test_a_vm_never_has_two_runners(arena: Arena, fault: Fault, leaders: tuple[str, ...], verdict: str) -> None:
    with Watch(arena.disks()) as watch:
        outcome = play(arena, arena.uuid("movable"), fault, leaders, early=False)
    assert watch.errors + arena.errors() == []
    assert watch.held == set(arena.vms), "or there was nothing to see"
    assert outcome.verdict == verdict
    assert arena.host_of(arena.uuid("movable")) is not None


@pytest.mark.timeout(600)
def test_a_wall_clock_that_jumps_ends_nothing_and_moves_nothing(arena: Arena) -> None:
    movable = arena.uuid("movable")
    host, epoch, pids = arena.host_of(movable), arena.epoch(movable), world.qemu_pids(arena.cloud)
    assert host is not None
    for ahead_s in (3600, -3600, 0):
        arena.cloud.set_wall_clock(host, ahead_s)
        last = arena.last_stamp(movable)
        wait_for("more work than a TTL takes", lambda last=last: arena.last_stamp(movable) > last + 25, WELL_S)  # type: ignore[misc]
        assert abs(_seconds_ahead(arena.cloud.health_url(f"ucloud-vm@{host}")) - ahead_s) < 30
        assert arena.store.get(keys.verdict(host)) is None
    assert (arena.epoch(movable), world.qemu_pids(arena.cloud)) == (epoch, pids)


def _seconds_ahead(url: str) -> float:
    """What the clock of a daemon is ahead of the machine's."""
    told = parsedate_to_datetime(requests.get(url, timeout=5).headers["Date"])
    return (told - datetime.now(UTC)).total_seconds()


@pytest.mark.timeout(600)
def test_guests_of_a_host_that_loses_power_go_on_elsewhere(arena: Arena) -> None:
    movable = arena.uuid("movable")
    host = arena.host_of(movable)
    assert host is not None
    with Watch(arena.disks()) as watch, power.cut(arena.cloud, host):
        last = arena.last_stamp(movable)
        wait_for("its work elsewhere", lambda: arena.last_stamp(movable) > last + 2, WELL_S)
        assert arena.host_of(movable) not in (None, host)
    arena.wait_well()
    assert watch.errors + arena.errors() == []


@pytest.mark.timeout(600)
def test_without_a_majority_of_etcd_ha_guests_end_and_come_back_and_others_run_on(arena: Arena) -> None:
    cloud, movable, steadfast = arena.cloud, arena.uuid("movable"), arena.uuid("steadfast")
    (steady,) = world.qemu_pids(cloud, steadfast)
    for member in ("etcd0", "etcd1"):
        cloud.pause(member)
    try:
        wait_for("the end of the HA guest", lambda: not world.qemu_pids(cloud, movable), WELL_S)
        assert world.qemu_pids(cloud, steadfast) == {steady}
    finally:
        for member in ("etcd0", "etcd1"):
            cloud.resume(member)
    arena.wait_well()
    assert world.qemu_pids(cloud, steadfast) == {steady}
    assert arena.errors() == []

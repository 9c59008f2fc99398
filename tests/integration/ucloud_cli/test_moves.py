"""`vm migrate`, `host drain`, `host undrain` and `rebalance` as an admin types them; a test plays the scheduler."""

import pytest

from common import keys
from common.schemas.cloud import CloudStatus, Drain, PlannedMove, Rebalance
from common.schemas.host import HostRequest, HostState
from common.schemas.vm import Actual, Cause, Leaving, Placement, Tried
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import CREATE, DEADLINE_S, Program, meanwhile, only_vm


@pytest.fixture
def vm(ucloud: Program, world: World) -> str:
    """The uuid of a VM "web" that runs on h1; there is h2, too."""
    world.add_image()
    for name in ("h1", "h2"):
        world.add_host(name)
    assert ucloud(*CREATE, "web", "--no-wait").status == 0
    uuid = only_vm(world)
    world.run(uuid)
    return uuid


def _order(world: World, uuid: str) -> Placement:
    entry = world.store.get(keys.placement("h1", uuid))
    assert entry
    return Placement.read(entry.key, entry.value)


def _wait_wish(world: World, uuid: str) -> None:
    wait_for("the wish", lambda: world.request_of(uuid).move, DEADLINE_S)


def test_a_migration_is_waited_for(ucloud: Program, world: World, vm: str) -> None:
    def schedule() -> None:
        _wait_wish(world, vm)
        order = _order(world, vm)
        leaving = Leaving(to="h2", epoch=2, live=True)
        world.put(keys.placement("h1", vm), order.model_copy(update={"leaving": leaving, "moved": 1}))
        world.put(keys.placement("h2", vm), order.model_copy(update={"epoch": 2, "moved": 1}))
        world.report(vm, Actual.RUNNING, "h2", epoch=2)
        world.remove(keys.placement("h1", vm))

    thread = meanwhile(schedule)
    moved = ucloud("vm", "migrate", "web", "--to", "h2")
    thread.join()
    assert moved.status == 0, moved.err
    assert "h2" in moved.out


def test_a_migration_that_fails_is_told_with_the_reason(ucloud: Program, world: World, vm: str) -> None:
    def schedule() -> None:
        _wait_wish(world, vm)
        order = _order(world, vm)
        tried = Tried(at=order.placed_at, cause=Cause.ASKED, reason="no host will do: 1 without its disk")
        world.put(keys.placement("h1", vm), order.model_copy(update={"moved": 1, "tried": tried}))

    thread = meanwhile(schedule)
    failed = ucloud("vm", "migrate", "web")
    thread.join()
    assert failed.status == 1
    assert "web: it stays on h1: no host will do: 1 without its disk" in failed.err
    assert "failed: no host will do" in ucloud("vm", "show", "web").out
    assert ucloud("vm", "migrate", "web", "--cancel").status == 0
    assert ucloud("vm", "migrate", "web", "--cancel", "--cold").status == 2


def test_a_drain_is_waited_for_and_names_what_is_left(ucloud: Program, world: World, vm: str) -> None:
    stuck = CloudStatus(drains={"h1": Drain(left=1, moving=0, stuck={vm: "no other host has its disk"})})
    world.put(keys.STATUS_CLOUD, stuck)
    late = ucloud("host", "drain", "h1", "--timeout", "2")
    assert late.status == 1
    assert "h1: not empty after 2 s, 1 VM left; web: no other host has its disk; the drain goes on" in late.err

    def schedule() -> None:
        wait_for("the cold drain", lambda: _word(world).drain_cold, DEADLINE_S)
        world.remove(keys.placement("h1", vm))

    thread = meanwhile(schedule)
    drained = ucloud("host", "drain", "h1", "--cold")
    thread.join()
    assert drained.status == 0, drained.err
    assert "draining" in drained.out
    assert ucloud("host", "undrain", "h1").status == 0
    assert (_word(world).state, _word(world).drain_cold) == (HostState.ENABLED, False)


def _word(world: World) -> HostRequest:
    entry = world.store.get(keys.host("h1"))
    return HostRequest.read(entry.key, entry.value) if entry else HostRequest(name="h1")


def test_the_balance_is_shown(ucloud: Program, world: World, vm: str) -> None:
    move = PlannedMove(vm=vm, source="h1", to="h2", why="host h1 is 90% full, h2 would be 40%")
    rebalance = Rebalance(margin=0.2, is_on=False, left_this_hour=20, moves=(move,))
    world.put(keys.STATUS_CLOUD, CloudStatus(rebalance=rebalance))
    shown = ucloud("rebalance", "--dry-run")
    assert shown.status == 0
    assert "host h1 is 90% full" in shown.out
    assert "with a margin of 20%; these moves are only shown: no balance_margin is set" in shown.err
    assert ucloud("rebalance").status == 2

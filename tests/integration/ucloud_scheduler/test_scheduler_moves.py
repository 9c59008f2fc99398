"""VMs move: asked for, off drained hosts, for balance; whoever of those that decide or act dies in the midst of it."""

import functools
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from common import keys
from common.schemas.cloud import CloudStatus
from common.schemas.host import Alive, HostRequest, HostState, HostStatus, StoreCapacity
from common.schemas.verdict import Sentence, Verdict
from common.schemas.vm import Actual, Cause, MoveWish, Placement, Role, Specs, VmRequest
from common.store import MAX_OPERATIONS, Operation, Put, absent
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_scheduler.cloud import DEADLINE_S, Cloud
from tests.integration.ucloud_scheduler.conftest import StartScheduler
from tests.integration.ucloud_scheduler.moving_hosts import MovingHosts

TINY = Specs.of(cpu=1, ram_mib=128, ssd_mib=1024)
SLOW_S = 90.0


@pytest.fixture
def hosts(cloud: Cloud) -> Iterator[MovingHosts]:
    """The hosts of the cloud, at work."""
    hosts = MovingHosts(cloud.store)
    with hosts.at_work():
        yield hosts


def _add_host(cloud: Cloud, name: str, cpu: int = 64, **words: object) -> None:
    ssd = StoreCapacity(store_id="shared", total_mib=10**8)
    status = HostStatus(name=name, cpu=cpu, ram_mib=cpu * 1024, ssd=ssd, moves_live=True)
    cloud.put(keys.host_status(name), status.to_json())
    cloud.put(keys.alive(name), Alive(name=name, boot_id="1").to_json())
    if words:
        cloud.put(keys.host(name), HostRequest.model_validate({"name": name, **words}).to_json())


def _host_of(cloud: Cloud, vm_uuid: str) -> str | None:
    """The only host that a VM is placed on, if it is at rest there."""
    placed = [(host, order) for (host, vm), order in cloud.placements().items() if vm == vm_uuid]
    assert sum(order.role is Role.RUN for _, order in placed) <= 1
    is_at_rest = len(placed) == 1 and placed[0][1].role is Role.RUN and placed[0][1].leaving is None
    return placed[0][0] if is_at_rest else None


def _wait_at_rest(cloud: Cloud, vm_uuid: str, host: str) -> Placement:
    wait_for(f"{vm_uuid} on {host}", lambda: _host_of(cloud, vm_uuid) == host, DEADLINE_S)
    return cloud.placement(vm_uuid)[1]


def _status(cloud: Cloud) -> CloudStatus:
    entry = cloud.store.get(keys.STATUS_CLOUD)
    return CloudStatus.read(entry.key, entry.value) if entry else CloudStatus()


def _placed(cloud: Cloud, host: str, count: int) -> list[VmRequest]:
    """VMs that were placed on a host long ago, by somebody else."""
    vms = [cloud.request(TINY) for _ in range(count)]
    operations: list[Operation] = []
    for vm in vms:
        order = Placement(epoch=1, generation=1, request=vm, placed_at=datetime(2020, 1, 1, tzinfo=UTC))
        operations += [Put(keys.vm(vm.uuid), vm.to_json()), Put(keys.placement(host, vm.uuid), order.to_json())]
    for begin in range(0, len(operations), MAX_OPERATIONS):
        cloud.store.commit([absent(keys.ROOT)], operations[begin : begin + MAX_OPERATIONS])
    return vms


def test_a_vm_moves_where_it_is_asked_to(cloud: Cloud, start_scheduler: StartScheduler, hosts: MovingHosts) -> None:
    for name in ("h1", "h2", "h3"):
        _add_host(cloud, name)
    (vm,) = _placed(cloud, "h1", 1)
    start_scheduler()
    wished = cloud.change_vm(vm, move=MoveWish(number=1, to="h3"))
    order = _wait_at_rest(cloud, vm.uuid, "h3")
    assert (order.epoch, order.moved, order.tried, order.coming_from) == (2, 1, None, None)
    assert order.choice
    assert order.choice.cause is Cause.ASKED
    cloud.wait_gone(keys.vm_status("h1", vm.uuid))

    hosts.fails["h2"] = "no folder"
    wished = cloud.change_vm(wished, move=MoveWish(number=2, to="h2"))
    wait_for("the word that it failed", lambda: _tried(cloud, vm.uuid) == "no folder", DEADLINE_S)
    assert _wait_at_rest(cloud, vm.uuid, "h3").moved == 2
    wished = cloud.change_vm(wished, move=MoveWish(number=3, to="h9"))
    wait_for("the word that there is none", lambda: _tried(cloud, vm.uuid).startswith("no host will do"), DEADLINE_S)
    cloud.change_vm(wished, move=MoveWish(number=4, cancelled=True))
    wait_for("the word that it stays", lambda: cloud.placement(vm.uuid)[1].moved == 4, DEADLINE_S)
    assert _host_of(cloud, vm.uuid) == "h3"


def _tried(cloud: Cloud, vm_uuid: str) -> str:
    orders = [order for (_, vm), order in cloud.placements().items() if vm == vm_uuid and order.tried]
    return orders[0].tried.reason if orders and orders[0].tried else ""


def test_a_drained_host_becomes_empty_while_schedulers_die(
    cloud: Cloud, start_scheduler: StartScheduler, hosts: MovingHosts
) -> None:
    for name in ("h1", "h2", "h3"):
        _add_host(cloud, name)
    vms = _placed(cloud, "h1", 60)
    schedulers = [start_scheduler(), start_scheduler()]
    wait_for("an answer to each", lambda: len(cloud.store.list(keys.STATUS_VM).entries) >= 60, DEADLINE_S)
    cloud.set_host("h1", HostState.DRAINING)

    def left() -> int:
        orders = cloud.placements()
        sending = [host for (host, _), order in orders.items() if order.role is Role.RUN and order.leaving]
        assert max(Counter(sending).values(), default=0) <= 2
        running = Counter(vm for (_, vm), order in orders.items() if order.role is Role.RUN)
        assert set(running.values()) == {1}
        return sum(host == "h1" for host, _ in orders)

    def is_below(few: int) -> bool:
        return left() < few

    def leader() -> DaemonProcess | None:
        return next((each for each in schedulers if (each.health() or {}).get("role") == "leading"), None)

    wait_for("some to have left", functools.partial(is_below, 45), SLOW_S)
    for few in (25, 5):
        killed = wait_for("a leader", leader, DEADLINE_S)
        killed.kill()
        killed.start()
        wait_for("more to have left", functools.partial(is_below, few), SLOW_S)
    wait_for("an empty h1", lambda: left() == 0, SLOW_S)
    wait_for("rest", lambda: len(cloud.placements()) == 60, SLOW_S)
    orders = cloud.placements()
    assert sorted(vm for _, vm in orders) == sorted(vm.uuid for vm in vms)
    assert {order.epoch for order in orders.values()} == {2}
    assert Counter(host for host, _ in orders) == {"h2": 30, "h3": 30}


def test_a_drain_names_what_can_not_leave_and_why(
    cloud: Cloud, start_scheduler: StartScheduler, hosts: MovingHosts
) -> None:
    cloud.add_host("h1")
    start_scheduler()
    vm = cloud.add_vm(TINY)
    _wait_at_rest(cloud, vm.uuid, "h1")
    _add_host(cloud, "h2")
    cloud.set_host("h1", HostState.DRAINING)
    wait_for("the drain's report", lambda: "h1" in _status(cloud).drains, SLOW_S)
    drain = _status(cloud).drains["h1"]
    assert (drain.left, drain.moving) == (1, 0)
    assert drain.stuck == {vm.uuid: "it runs, and host h1 can't send guests that run"}


def test_what_was_to_leave_a_host_that_dies_goes_on_where_it_was_to_come(
    cloud: Cloud, start_scheduler: StartScheduler
) -> None:
    """Nobody answers for the hosts, so the move stands still after its first step."""
    _add_host(cloud, "h1")
    _add_host(cloud, "h2")
    start_scheduler()
    (vm,) = _placed(cloud, "h1", 1)
    cloud.report("h1", vm.uuid, _order(cloud, vm.uuid, "h1"), Actual.RUNNING)
    cloud.set_host("h1", HostState.DRAINING)
    wait_for("the target's order", lambda: ("h2", vm.uuid) in cloud.placements(), DEADLINE_S)
    assert _order(cloud, vm.uuid, "h2").role is Role.INCOMING
    cloud.remove(keys.alive("h1"))
    verdict = Verdict(host="h1", sentence=Sentence.DEAD, since=datetime.now(UTC))
    cloud.put(keys.verdict("h1"), verdict.to_json())
    wait_for("h2 to run it", lambda: _host_of(cloud, vm.uuid) == "h2", DEADLINE_S)


def _order(cloud: Cloud, vm_uuid: str, host: str) -> Placement:
    return cloud.placements()[host, vm_uuid]


def test_a_lopsided_cloud_becomes_even_and_then_stands_still(
    cloud: Cloud, start_scheduler: StartScheduler, hosts: MovingHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"balance_margin": 0.05, "balance_moves_per_hour": 1000, "moves_per_host": 100, "moves_at_once": 500}
    for setting, value in settings.items():
        monkeypatch.setenv(f"UCLOUD_SCHEDULER_{setting.upper()}", str(value))
    names = [f"h{number}" for number in range(10)]
    for name in names:
        _add_host(cloud, name)
    for name in names[:5]:
        _placed(cloud, name, 200)
    wait_for("an answer to each", lambda: len(cloud.store.list(keys.STATUS_VM).entries) == 1000, SLOW_S)
    start_scheduler()

    def stands_still() -> bool:
        rebalance = _status(cloud).rebalance
        orders = cloud.placements()
        is_at_rest = len(orders) == 1000 and all(order.leaving is None for order in orders.values())
        return bool(rebalance and rebalance.moves == () and rebalance.left_this_hour < 1000 and is_at_rest)

    wait_for("an even cloud", stands_still, SLOW_S)
    orders = cloud.placements()
    counts = Counter(host for host, _ in orders)
    # A host takes 256 VMs: 4 for each of its processors; a margin of 5 % is 12.8 of them.
    assert max(counts.values()) - min(counts.values()) <= 13
    moved = [order for order in orders.values() if order.choice and order.choice.cause is Cause.BALANCE]
    assert 400 < len(moved) <= 500
    assert {order.epoch for order in moved} == {2}, "none has moved twice"

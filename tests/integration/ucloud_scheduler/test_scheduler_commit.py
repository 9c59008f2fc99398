"""Writes become few transactions; one that is outdated is dropped, and the others of its transaction are written."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from common import admission, keys
from common.admission import MOST_PORT_KEYS
from common.errors import LeadershipLost
from common.schemas.port import MOST_PORTS, Port
from common.schemas.record import Record
from common.schemas.vm import Placement, Requested, VmRequest
from common.store import Put, absent, led_by
from tests.integration.ucloud_scheduler.cloud import Cloud
from ucloud_scheduler.commit import commit
from ucloud_scheduler.views import Vm
from ucloud_scheduler.writes import Clear, Place, Release

LEADER = keys.leader("scheduler")


@pytest.fixture
def elected_at(cloud: Cloud) -> int:
    """The create revision of a leader's key."""
    return cloud.store.commit([absent(LEADER)], [Put(LEADER, b"")])


def _ignore(key: str, record: Record, value: bytes) -> None:
    assert record.to_json() == value


def _place(cloud: Cloud, request: VmRequest) -> Place:
    entry = cloud.store.get(keys.vm(request.uuid))
    assert entry is not None
    placement = Placement(epoch=1, generation=1, request=request, placed_at=datetime.now(UTC))
    return Place(Vm(request.uuid, request, entry.mod_revision), "h1", placement)


def test_only_what_is_outdated_is_dropped(cloud: Cloud, elected_at: int) -> None:
    writes = [_place(cloud, cloud.add_vm()) for _ in range(150)]
    changed, taken = writes[7], writes[100]
    assert changed.vm.request
    cloud.change_vm(changed.vm.request, requested=Requested.DELETED)
    cloud.put(keys.placement("h1", taken.vm.uuid), b"somebody else's")
    before = cloud.store.list(keys.VM).revision
    outcomes = list(commit(cloud.store, led_by(LEADER, elected_at), [*writes, Clear(Vm("unknown"))], _ignore))
    assert [write for outcome in outcomes for write in outcome.dropped] == [changed, taken]
    done = [write for outcome in outcomes for write in outcome.done if isinstance(write, Place)]
    assert done == [write for write in writes if write not in (changed, taken)]
    written = {keys.placement("h1", write.vm.uuid) for write in done}
    records = {key: record for outcome in outcomes for key, (record, _) in outcome.written.items()}
    assert {key for key, record in records.items() if record} == written
    found = {entry.key for entry in cloud.store.list(keys.PLACEMENT).entries}
    assert found == written | {keys.placement("h1", taken.vm.uuid)}
    # 150 writes with two compares each, and the leader's.
    assert cloud.store.list(keys.VM).revision - before == 3


def test_a_deposed_leader_writes_nothing(cloud: Cloud, elected_at: int) -> None:
    writes = [_place(cloud, cloud.add_vm()) for _ in range(200)]
    cloud.remove(LEADER)
    cloud.put(LEADER, b"another")
    with pytest.raises(LeadershipLost):
        next(commit(cloud.store, led_by(LEADER, elected_at), writes, _ignore))
    assert cloud.placements() == {}


def test_large_records_are_spread_over_as_many_transactions_as_etcd_needs(cloud: Cloud, elected_at: int) -> None:
    writes = []
    for _ in range(30):
        small = _place(cloud, cloud.add_vm())
        request = small.placement.request.model_copy(update={"ports": ("x" * 70_000,)})
        writes.append(replace(small, placement=small.placement.model_copy(update={"request": request})))
    outcomes = list(commit(cloud.store, led_by(LEADER, elected_at), writes, _ignore))
    assert sum(len(outcome.done) for outcome in outcomes) == 30
    assert len(outcomes) == 3


def _port(number: int, groups: tuple[str, ...]) -> Port:
    return Port(
        id=f"{number:010x}",
        network="n",
        ipv6=IPv6Address(f"fd00:9::{1 + number}"),
        ipv4=IPv4Address(f"10.0.0.{1 + number}"),
        prefixes=tuple(IPv6Network((0xFD00_000A_0000_0000 + 8 * number + each << 64, 64)) for each in range(6)),
        security_groups=groups,
    )


def test_a_vm_is_released_with_all_that_its_ports_hold_however_much(cloud: Cloud, elected_at: int) -> None:
    for key in (keys.network("n"), keys.security_group("g"), keys.security_group("h")):
        cloud.put(key, b"{}")
    before = cloud.store.list(keys.ROOT).entries
    groups = (*[("g", "h")] * 4, *[("g",)] * 4)
    request = cloud.add_vm(ports=tuple(_port(number, groups[number]) for number in range(MOST_PORTS)))
    assert len(admission.port_keys(request)) == MOST_PORT_KEYS
    entry = cloud.store.get(keys.vm(request.uuid))
    assert entry
    others = [_place(cloud, cloud.add_vm()) for _ in range(50)]
    release = Release(Vm(request.uuid, request, entry.mod_revision), request)
    outcomes = list(commit(cloud.store, led_by(LEADER, elected_at), [release, *others], _ignore))
    assert sum(len(outcome.done) for outcome in outcomes) == 51
    for write in others:
        cloud.remove(keys.placement("h1", write.vm.uuid))
        step = admission.release_vm(write.placement.request, write.vm.revision)
        cloud.store.commit(step.compares, step.operations)
    assert cloud.store.list(keys.ROOT).entries == before

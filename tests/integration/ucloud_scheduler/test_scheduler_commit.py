"""Writes become few transactions; one that is outdated is dropped, and the others of its transaction are written."""

from datetime import UTC, datetime

import pytest

from common import keys
from common.errors import LeadershipLost
from common.schemas.vm import Placement, Requested, VmRequest
from common.store import Put, absent, led_by
from tests.integration.ucloud_scheduler.cloud import Cloud
from ucloud_scheduler.commit import Outcome, commit
from ucloud_scheduler.views import Vm
from ucloud_scheduler.writes import Clear, Place

LEADER = keys.leader("scheduler")


@pytest.fixture
def elected_at(cloud: Cloud) -> int:
    """The create revision of a leader's key."""
    return cloud.store.commit([absent(LEADER)], [Put(LEADER, b"")])


def _place(cloud: Cloud, request: VmRequest) -> Place:
    entry = cloud.store.get(keys.vm(request.uuid))
    assert entry is not None
    placement = Placement(epoch=1, generation=1, request=request, placed_at=datetime.now(UTC))
    return Place(Vm(request.uuid, request, entry.mod_revision), "h1", placement)


def test_only_what_is_outdated_is_dropped(cloud: Cloud, elected_at: int) -> None:
    writes = [_place(cloud, cloud.add_vm()) for _ in range(150)]
    changed, taken = writes[7], writes[100]
    assert changed.vm.request
    cloud.change_vm(changed.vm.request, Requested.DELETED)
    cloud.put(keys.placement("h1", taken.vm.uuid), b"somebody else's")
    outcome = Outcome()
    before = cloud.store.list(keys.VM).revision
    commit(cloud.store, led_by(LEADER, elected_at), [*writes, Clear(Vm("unknown"))], outcome)
    assert outcome.dropped == [changed, taken]
    written = {keys.placement("h1", write.vm.uuid) for write in writes if write not in (changed, taken)}
    assert {key for key, (record, _) in outcome.written.items() if record} == written
    found = {entry.key for entry in cloud.store.list(keys.PLACEMENT).entries}
    assert found == written | {keys.placement("h1", taken.vm.uuid)}
    # 150 writes with two compares each, and the leader's.
    assert cloud.store.list(keys.VM).revision - before == 3


def test_a_deposed_leader_writes_nothing(cloud: Cloud, elected_at: int) -> None:
    write = _place(cloud, cloud.add_vm())
    cloud.remove(LEADER)
    cloud.put(LEADER, b"another")
    outcome = Outcome()
    with pytest.raises(LeadershipLost):
        commit(cloud.store, led_by(LEADER, elected_at), [write], outcome)
    assert (outcome.written, outcome.dropped) == ({}, [])
    assert cloud.placements() == {}

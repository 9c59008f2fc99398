"""VMs that share a host, and VMs that share none; hosts for certain VMs only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.schemas.vm import Affinity, VmRequest
from tests.unit.ucloud_scheduler.snapshots import (
    NOW,
    make_dead,
    make_host,
    make_placement,
    make_request,
    make_snapshot,
    make_vm,
)
from ucloud_scheduler.filters import Why
from ucloud_scheduler.plan import plan
from ucloud_scheduler.views import Disk, Host, Vm
from ucloud_scheduler.writes import Evacuate, Place, Report

APART, HARD_APART = Affinity(group="web"), Affinity(group="web", hard=True)
WITH, HARD_WITH = Affinity(group="web", apart=False), Affinity(group="web", apart=False, hard=True)
HOSTS = [make_host("h1"), make_host("h2", used_ram_mib=1000), make_host("h3", used_ram_mib=2000)]


def _member(number: int, wish: Affinity, **changes: object) -> VmRequest:
    return make_request(number, affinity=(wish,), **changes)  # type: ignore[arg-type]


def _placed_on(host: str, request: VmRequest) -> Vm:
    return make_vm(request, {host: make_placement(request)})


def _plan(vms: list[Vm], hosts: list[Host]) -> tuple[list[str], list[str]]:
    """Where VMs are placed, and why others are not."""
    writes = plan(make_snapshot(vms, hosts), NOW).writes
    places = [write.host for write in writes if isinstance(write, Place | Evacuate)]
    return places, [write.status.reason for write in writes if isinstance(write, Report)]


@pytest.mark.parametrize(
    ("there", "wish", "expected"),
    [
        ("h1", APART, ["h2"]),
        ("h1", HARD_APART, ["h2"]),
        ("h3", WITH, ["h3"]),
        ("h3", HARD_WITH, ["h3"]),
    ],
)
def test_where_a_member_goes(there: str, wish: Affinity, expected: list[str]) -> None:
    placed, new = _placed_on(there, _member(1, wish)), make_vm(_member(2, wish))
    assert _plan([placed, new], HOSTS) == (expected, [])
    # Another owner's group of the same name is another group.
    stranger = make_vm(_member(2, wish, owner="bob"))
    assert _plan([placed, stranger], HOSTS) == (["h1"], [])


def test_those_placed_earlier_in_the_same_plan_count() -> None:
    for wish, expected in ((HARD_APART, ["h1", "h2", "h3"]), (APART, ["h1", "h2", "h3", "h1"])):
        places, reasons = _plan([make_vm(_member(n, wish)) for n in range(1, 5)], HOSTS)
        assert places == expected
        assert reasons == (["no host will do: 3 apart from group web"] if wish.hard else [])
    assert _plan([make_vm(_member(n, HARD_WITH)) for n in range(1, 5)], HOSTS) == (["h1"] * 4, [])


def test_a_preference_gives_way_and_what_is_hard_does_not() -> None:
    full = [make_host("h1", ram_mib=1024, used_ram_mib=1024), make_host("h2")]
    there = _placed_on("h1", _member(1, WITH))
    assert _plan([there, make_vm(_member(2, WITH))], full) == (["h2"], [])
    reasons = _plan([there, make_vm(_member(2, HARD_WITH))], full)[1]
    assert reasons == ["no host has 1 GiB RAM free: 1 full, 1 group web is elsewhere"]
    one = [make_host("h1")]
    assert _plan([there, make_vm(_member(2, APART))], one) == (["h1"], [])
    planned = plan(make_snapshot([there, make_vm(_member(2, HARD_APART))], one), NOW)
    assert list(planned.waiting.values()) == [Why.NO_MATCH]


def test_what_is_hard_binds_both_sides() -> None:
    """Whoever is hard apart keeps others away; whoever is hard together draws them."""
    assert _plan([_placed_on("h1", _member(1, HARD_APART)), make_vm(_member(2, WITH))], HOSTS) == (["h2"], [])
    assert _plan([_placed_on("h3", _member(1, HARD_WITH)), make_vm(_member(2, APART))], HOSTS) == (["h3"], [])


def test_members_that_stay_on_a_dead_host_hold_nobody_there() -> None:
    shared = Disk("shared", 100_000)
    hosts = [make_dead("h1", ssd=shared), make_host("h2", ssd=shared), make_host("h3", ssd=shared)]
    lost = [_placed_on("h1", _member(n, HARD_WITH)) for n in (1, 2)]
    bound = _placed_on("h1", _member(3, HARD_WITH, ha=False))
    assert _plan([*lost, bound], hosts) == (["h2", "h2"], [])


def test_a_new_vm_goes_where_its_image_is() -> None:
    hosts = [make_host("h1"), make_host("h2", image_store="fast", used_ram_mib=4000)]
    assert _plan([make_vm(make_request())], hosts) == (["h1"], [])
    assert _plan([make_vm(make_request(image_store="fast"))], hosts) == (["h2"], [])
    reason = "no host will do: 2 without image store slow"
    # What is refused to one is not refused to all.
    both = [make_vm(make_request(1, image_store="slow")), make_vm(make_request(2))]
    assert _plan(both, hosts) == (["h1"], [reason])


def test_hosts_with_labels_and_for_tenants() -> None:
    labelled = make_host("h2", labels={"disk": "ssd", "rack": "1"}, used_ram_mib=1000)
    hosts = [make_host("h1", tenants=frozenset({"alice"})), labelled, make_host("h3", used_ram_mib=2000)]
    wanted = make_request(host_labels={"disk": "ssd"})
    assert _plan([make_vm(wanted)], hosts) == (["h2"], [])
    assert _plan([make_vm(make_request(owner="alice"))], hosts) == (["h1"], [])
    assert _plan([make_vm(make_request())], hosts) == (["h2"], [])
    both = make_request(host_labels={"disk": "ssd", "rack": "2"})
    reason = "no host will do: 1 for other tenants, 1 without label disk=ssd, 1 without label rack=2"
    assert _plan([make_vm(both)], hosts) == ([], [reason])
    # What is refused to one is not refused to all.
    vms = [make_vm(make_request(1, host_labels={"rack": "2"})), make_vm(make_request(2)), make_vm(make_request(3))]
    assert _plan(vms, hosts)[0] == ["h2", "h3"]
    only = [make_host("h1", tenants=frozenset({"alice"}))]
    vms = [make_vm(make_request(1)), make_vm(make_request(2, owner="alice"))]
    assert _plan(vms, only)[0] == ["h1"]


WISHES = st.lists(
    st.builds(Affinity, group=st.sampled_from(["web", "db"]), apart=st.booleans(), hard=st.booleans()),
    max_size=2,
    unique_by=lambda wish: wish.group,
).map(tuple)


@given(st.lists(st.tuples(WISHES, st.sampled_from([None, "h1", "h2", "h3"])), max_size=10), st.integers(1, 3))
def test_what_is_hard_is_never_broken_by_a_plan(members: list[tuple[tuple[Affinity, ...], str | None]], n: int) -> None:
    vms = []
    for number, (wishes, host) in enumerate(members, 1):
        request = make_request(number, affinity=wishes)
        vms.append(_placed_on(host, request) if host else make_vm(request))
    where = {vm.uuid: next(iter(vm.placements)) for vm in vms if vm.placements}
    requests = {vm.uuid: vm.request for vm in vms if vm.request}
    for write in plan(make_snapshot(vms, HOSTS[:n]), NOW).writes:
        if not isinstance(write, Place):
            continue
        for wish in write.placement.request.affinity:
            others = {
                uuid: other
                for uuid in where
                for other in requests[uuid].affinity
                if other.group == wish.group and uuid != write.vm.uuid
            }
            here = [other for uuid, other in others.items() if where[uuid] == write.host]
            assert not (here and wish.apart and wish.hard)
            assert not any(other.apart and other.hard for other in here)
            if others and not here:
                assert not (wish.hard and not wish.apart)
                assert not any(other.hard and not other.apart for other in others.values())
        where[write.vm.uuid] = write.host

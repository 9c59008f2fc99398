"""What holds of every plan, whatever the cloud looks like."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from common.schemas.host import HostState
from common.schemas.verdict import Sentence
from common.schemas.vm import Actual, Requested, Specs
from tests.unit.ucloud_scheduler.snapshots import (
    NOW,
    make_host,
    make_placement,
    make_request,
    make_snapshot,
    make_status,
    make_vm,
)
from ucloud_scheduler.filters import Stores
from ucloud_scheduler.lives import is_lost
from ucloud_scheduler.plan import plan
from ucloud_scheduler.views import Disk, Host, Judged, Placed, Snapshot, Vm
from ucloud_scheduler.writes import Clear, Evacuate, Place, Release, Report, Update

SPECS = st.builds(
    Specs.of,
    cpu=st.integers(1, 8),
    ram_mib=st.sampled_from([64, 1024, 5000]),
    ssd_mib=st.sampled_from([1, 1000, 7000]),
    hdd_mib=st.sampled_from([0, 0, 3000]),
)
DISKS = st.none() | st.builds(Disk, store_id=st.sampled_from(["a", "b"]), total_mib=st.sampled_from([5000, 20000]))


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    return make_host(
        draw(st.sampled_from(["h1", "h2", "h3", "h4"])),
        cpu=draw(st.integers(0, 16)),
        ram_mib=draw(st.integers(0, 20000)),
        ssd=draw(DISKS),
        hdd=draw(DISKS),
        state=draw(st.sampled_from([HostState.ENABLED, HostState.ENABLED, HostState.DRAINING])),
        is_alive=draw(st.sampled_from([True, True, False])),
        verdict=draw(st.none() | st.builds(Judged, st.sampled_from(Sentence), st.just(40))),
        used_cpu=draw(st.integers(0, 20)),
        used_ram_mib=draw(st.integers(0, 25000)),
    )


@st.composite
def vms(draw: st.DrawFn, number: int) -> Vm:
    request = make_request(
        number,
        draw(SPECS),
        draw(st.sampled_from([Requested.RUNNING, Requested.DELETED])),
        generation=2,
        ha=draw(st.sampled_from([True, True, False])),
    )
    names = st.sampled_from(["h1", "h2", "h9"])
    # The same generation with other specs: there was no room for its growth.
    held_back = SPECS.map(lambda specs: request.model_copy(update={"specs": specs}))
    older = st.builds(make_request, st.just(number), SPECS) | held_back
    placed = st.dictionaries(names, st.none() | st.builds(make_placement, older, st.integers(1, 3)), max_size=2)
    actual = st.sampled_from([Actual.RUNNING, Actual.DELETED])
    reported = st.dictionaries(names, st.none() | st.builds(make_status, st.integers(1, 3), actual), max_size=2)
    return make_vm(
        draw(st.sampled_from([request, request, request, None])),
        draw(st.just({}) | placed),
        draw(st.just({}) | reported),
        draw(st.none() | st.sampled_from(["there is no host yet", "x"])),
        draw(st.sampled_from([False, False, False, True])),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    count = draw(st.integers(1, 12))
    all_hosts = draw(st.lists(hosts(), max_size=4, unique_by=lambda host: host.name))
    used_mib = draw(st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 25000)))
    return make_snapshot([draw(vms(number)) for number in range(1, count + 1)], all_hosts, used_mib)


def _carried_out(snapshot: Snapshot) -> Snapshot:
    """The cloud after its plan was carried out: each VM's view, and what is used by then."""
    vms = {vm.uuid: vm for vm in snapshot.vms}
    all_hosts, used_mib = dict(snapshot.hosts), Counter(snapshot.used_mib)
    for write in plan(snapshot, NOW).writes:
        vm = vms[write.vm.uuid]
        match write:
            case Place() | Update() | Evacuate():
                left = write.dead if isinstance(write, Evacuate) else {}
                placed = {host: kept for host, kept in vm.placements.items() if host not in left}
                vms[vm.uuid] = vm._replace(
                    placements={**placed, write.host: Placed(write.placement, 21)},
                    statuses={host: kept for host, kept in vm.statuses.items() if host not in left},
                    pending=vm.pending if isinstance(write, Update) else None,
                )
                if host := all_hosts.get(write.host):
                    used = _change(write)
                    all_hosts[write.host] = host._replace(
                        used_cpu=host.used_cpu + used["cpu"], used_ram_mib=host.used_ram_mib + used["ram_mib"]
                    )
                    for disk, name in ((host.ssd, "ssd_mib"), (host.hdd, "hdd_mib")):
                        if disk:
                            used_mib[disk.store_id] += used[name]
            case Report():
                vms[vm.uuid] = vm._replace(pending=write.status)
            case Clear():
                vms[vm.uuid] = vm._replace(pending=None)
            case Release():
                del vms[vm.uuid]
    return make_snapshot(list(vms.values()), list(all_hosts.values()), used_mib)


def _change(write: Place | Update | Evacuate) -> dict[str, int]:
    """What the write adds to what is used (or takes from it). What goes on elsewhere keeps its disks in their store."""
    new, names = write.placement.request.specs, ("cpu", "ram_mib", "ssd_mib", "hdd_mib")
    if isinstance(write, Place):
        return {name: getattr(new, name) for name in names}
    if isinstance(write, Update):
        placed = write.vm.placements[write.host]
    else:
        placed = next(iter(write.vm.placements.values()), Placed(write.placement, 0))
    assert placed.record
    held = placed.record.request.specs
    kept = names if isinstance(write, Update) else names[2:]
    return {name: getattr(new, name) - (getattr(held, name) if name in kept else 0) for name in names}


def _growth(write: Place | Update | Evacuate) -> Counter[str]:
    return Counter({name: max(0, amount) for name, amount in _change(write).items()})


@given(snapshots())
def test_no_plan_promises_more_than_there_is(snapshot: Snapshot) -> None:
    on_host: dict[str, Counter[str]] = {}
    in_store: Counter[str] = Counter()
    for write in plan(snapshot, NOW).writes:
        if not isinstance(write, Place | Update | Evacuate) or write.host not in snapshot.hosts:
            continue
        if isinstance(write, Evacuate) and write.placement.request.requested is Requested.DELETED:
            continue  # it never runs there
        host, growth = snapshot.hosts[write.host], _growth(write)
        sums = on_host.setdefault(write.host, Counter())
        sums.update(growth)
        for disk, name in ((host.ssd, "ssd_mib"), (host.hdd, "hdd_mib")):
            if disk:
                in_store[disk.store_id] += growth[name]
                used = snapshot.used_mib.get(disk.store_id, 0) + in_store[disk.store_id]
                assert growth[name] == 0 or used <= disk.total_mib
            else:
                assert growth[name] == 0
        assert growth["cpu"] == 0 or host.used_cpu + sums["cpu"] <= host.cpu
        assert growth["ram_mib"] == 0 or host.used_ram_mib + sums["ram_mib"] <= host.ram_mib


@given(snapshots())
def test_no_vm_is_placed_where_it_may_exist_twice(snapshot: Snapshot) -> None:
    placed = [write for write in plan(snapshot, NOW).writes if isinstance(write, Place)]
    assert len({write.vm.uuid for write in placed}) == len(placed)
    for write in placed:
        host = snapshot.hosts[write.host]
        assert (host.state, host.is_alive, host.is_registered) == (HostState.ENABLED, True, True)
        assert write.vm.placements == {}
        assert write.vm.request == write.placement.request
        for reported in write.vm.statuses.values():
            assert reported.record is not None
            assert reported.record.actual is Actual.DELETED
            assert reported.record.epoch < write.placement.epoch


@given(snapshots())
def test_vms_go_on_elsewhere_only_from_dead_hosts_and_where_their_disks_are(snapshot: Snapshot) -> None:
    for write in plan(snapshot, NOW).writes:
        if not isinstance(write, Evacuate):
            continue
        assert write.dead
        assert set(write.vm.placements) <= set(write.dead)
        request, host = write.placement.request, snapshot.hosts[write.host]
        assert (host.state, host.is_alive, host.verdict) == (HostState.ENABLED, True, None)
        assert request.ha or request.requested is Requested.DELETED
        for name in write.dead:
            assert snapshot.hosts[name].is_dead
        for name, placed in write.vm.placements.items():
            home, order = snapshot.hosts[name], placed.record
            assert order
            assert order.epoch < write.placement.epoch
            assert order.request.ha or request.requested is Requested.DELETED
            assert Stores.of(home, order.request.specs.hdd_mib).are_on(host)
        for name, reported in write.vm.statuses.items():
            is_gone = reported.record is not None and reported.record.actual is Actual.DELETED
            assert name in write.dead or is_gone


@given(snapshots())
def test_every_vm_that_waits_has_a_reason_and_every_other_is_served(snapshot: Snapshot) -> None:
    planned = plan(snapshot, NOW)
    placed = {write.vm.uuid for write in planned.writes if isinstance(write, Place | Release | Evacuate)}
    told = {write.vm.uuid: write.status.reason for write in planned.writes if isinstance(write, Report)}
    assert all(told.values())
    for vm in snapshot.vms:
        if vm.request and not vm.is_malformed and not vm.placements and vm.uuid not in placed:
            assert vm.uuid in planned.waiting
            assert vm.uuid in told or (vm.pending and vm.pending.reason)


@given(snapshots())
def test_nothing_is_released_before_everybody_says_that_it_is_gone(snapshot: Snapshot) -> None:
    for write in plan(snapshot, NOW).writes:
        if isinstance(write, Release):
            assert write.request.requested is Requested.DELETED
            assert set(write.vm.placements) <= set(write.vm.statuses)
            assert all(
                reported.record and reported.record.actual is Actual.DELETED for reported in write.vm.statuses.values()
            )


@given(snapshots())
def test_whatever_is_requested_of_a_placed_vm_reaches_its_hosts_at_once_except_growth(snapshot: Snapshot) -> None:
    for vm in _carried_out(snapshot).vms:
        if not vm.request or vm.is_malformed or is_lost(vm, snapshot.hosts):
            continue
        for placed in vm.placements.values():
            if placed.record and placed.record.generation <= vm.request.generation:
                ordered, held = placed.record.request, placed.record.request.specs
                assert placed.record.generation == vm.request.generation
                assert ordered == vm.request.model_copy(update={"specs": held})
                deleted = vm.request.requested is Requested.DELETED
                assert held == vm.request.specs or deleted or (vm.pending and "has not another" in vm.pending.reason)


@given(snapshots())
def test_a_plan_that_was_carried_out_leaves_nothing_but_vms_for_which_room_came_up(snapshot: Snapshot) -> None:
    after = _carried_out(snapshot)
    waiting = plan(snapshot, NOW).waiting
    for write in plan(after, NOW).writes:
        assert write.vm.uuid in waiting


@given(snapshots(), st.randoms())
def test_a_plan_does_not_depend_on_any_order(snapshot: Snapshot, random) -> None:  # type: ignore[no-untyped-def]
    shuffled_vms, shuffled_hosts = list(snapshot.vms), list(snapshot.hosts.values())
    random.shuffle(shuffled_vms)
    random.shuffle(shuffled_hosts)
    other = make_snapshot(shuffled_vms, shuffled_hosts, dict(snapshot.used_mib))

    def key(write: object) -> str:
        return repr(write)

    assert sorted(plan(other, NOW).writes, key=key) == sorted(plan(snapshot, NOW).writes, key=key)

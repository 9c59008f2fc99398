"""The emptiest host that has room is chosen, whatever was chosen before; and the order is kept as if made anew."""

from hypothesis import given
from hypothesis import strategies as st

from common.schemas.host import HostState
from common.schemas.vm import Specs
from tests.unit.ucloud_scheduler.snapshots import make_host, make_request, make_snapshot
from ucloud_scheduler.capacity import Amounts, Capacity
from ucloud_scheduler.filters import Need, Refusal
from ucloud_scheduler.ranking import Ranking, Ranks
from ucloud_scheduler.views import Host

SPECS = st.builds(
    Specs.of, cpu=st.integers(1, 6), ram_mib=st.sampled_from([64, 500, 2000]), ssd_mib=st.sampled_from([1, 5000])
)
SIZES = st.tuples(st.integers(1, 16), st.sampled_from([1000, 4000, 8000]), st.sampled_from([100, 20_000]))


def _hosts(sizes: list[tuple[int, int, int]]) -> list[Host]:
    return [make_host(f"h{n}", cpu=cpu, ram_mib=ram, ssd_mib=ssd) for n, (cpu, ram, ssd) in enumerate(sizes)]


def _emptiest_with_room(hosts: dict[str, Host], ssd_mib: dict[str, int], specs: Specs) -> str | None:
    fitting = [
        (host.load(), name)
        for name, host in hosts.items()
        if host.used_cpu + specs.cpu <= host.cpu
        and host.used_ram_mib + specs.ram_mib <= host.ram_mib
        and host.ssd
        and ssd_mib[name] + specs.ssd_mib <= host.ssd.total_mib
    ]
    return min(fitting)[1] if fitting else None


@given(st.lists(SIZES, max_size=8), st.lists(SPECS, max_size=20))
def test_each_vm_goes_to_the_emptiest_host_that_has_room(
    sizes: list[tuple[int, int, int]], wishes: list[Specs]
) -> None:
    hosts = {host.name: host for host in _hosts(sizes)}
    ssd_mib = dict.fromkeys(hosts, 0)
    ranking = Ranking(make_snapshot([], list(hosts.values())), Capacity({}))
    for specs in wishes:
        chosen = ranking.choose(Need(make_request(specs=specs), Amounts.all_of(specs)))
        expected = _emptiest_with_room(hosts, ssd_mib, specs)
        assert (None if isinstance(chosen, Refusal) else chosen.host.name) == expected
        if expected:
            host = hosts[expected]
            hosts[expected] = host._replace(
                used_cpu=host.used_cpu + specs.cpu, used_ram_mib=host.used_ram_mib + specs.ram_mib
            )
            ssd_mib[expected] += specs.ssd_mib


@given(st.lists(st.tuples(st.integers(0, 119), st.integers(0, 9), st.booleans()), unique_by=lambda change: change[0]))
def test_many_changes_at_once_are_as_good_as_one_by_one(changes: list[tuple[int, int, bool]]) -> None:
    before = _hosts([(16, 8000, 100)] * 120)
    pairs: list[tuple[Host | None, Host | None]] = [
        (before[n], before[n]._replace(used_cpu=used, state=HostState.DRAINING if is_closed else HostState.ENABLED))
        for n, used, is_closed in changes
    ]
    one_by_one, at_once = Ranks(), Ranks()
    for ranks in (one_by_one, at_once):
        ranks.change([(None, host) for host in before])
    for pair in pairs:
        one_by_one.change([pair])
    at_once.change(pairs)
    for ranks in (one_by_one, at_once):
        ranks.change([(host, None) for host in before[:1] if not any(n == 0 for n, _, _ in changes)])
    assert (one_by_one.open, one_by_one.closed) == (at_once.open, at_once.closed)

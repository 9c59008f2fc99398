"""The ledger's sums are those of the placements, whatever came and went, in whatever order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from common.schemas.vm import Specs
from ucloud_scheduler.capacity import Resource
from ucloud_scheduler.ledger import Ledger

HOSTS = st.sampled_from(["h1", "h2", "h3"])
STORES = st.none() | st.sampled_from(["a", "b"])
SPECS = st.none() | st.builds(
    Specs.of, cpu=st.integers(1, 9), ram_mib=st.integers(64, 99), ssd_mib=st.integers(1, 9), hdd_mib=st.integers(0, 9)
)
CHARGES = st.tuples(HOSTS, st.sampled_from(["v1", "v2", "v3"]), SPECS)
MOVES = st.tuples(HOSTS, STORES, STORES)


@given(st.lists(CHARGES | MOVES))
def test_the_sums_are_those_of_the_placements(events: list[tuple[str, str | None, Specs | str | None]]) -> None:
    ledger = Ledger()
    placements: dict[tuple[str, str], Specs] = {}
    stores: dict[str, tuple[str | None, str | None]] = {}
    for host, second, third in events:
        if second in ("v1", "v2", "v3"):
            assert third is None or isinstance(third, Specs)
            before = placements.pop((host, second), None)
            if third:
                placements[host, second] = third
            assert ledger.charge(host, second, third) == (before is not None and before != third)
        else:
            assert third is None or isinstance(third, str)
            stores[host] = (second, third)
            ledger.set_stores(host, second, third)
    in_store: Counter[str | None] = Counter()
    for (host, _), specs in placements.items():
        ssd, hdd = stores.get(host, (None, None))
        in_store[ssd] += specs.ssd_mib
        in_store[hdd] += specs.hdd_mib
    for host in ("h1", "h2", "h3"):
        here = [specs for (name, _), specs in placements.items() if name == host]
        for resource in Resource:
            assert resource.of(ledger.used(host)) == sum(resource.of(specs) for specs in here)
    for store_id in ("a", "b"):
        assert ledger.used_mib.get(store_id, 0) == in_store[store_id]

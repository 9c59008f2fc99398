"""What a plan sees of the hosts is what they are and what was charged, whatever changed in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from common.schemas.host import HostState
from common.schemas.vm import Specs
from tests.unit.ucloud_scheduler.snapshots import make_host
from ucloud_scheduler.filters import why_closed
from ucloud_scheduler.inventory import Inventory
from ucloud_scheduler.views import Host

NAMES = st.sampled_from(["h1", "h2", "h3"])
HOSTS = st.builds(
    make_host,
    NAMES,
    cpu=st.integers(1, 8),
    ram_mib=st.sampled_from([1000, 2000]),
    state=st.sampled_from([HostState.ENABLED, HostState.DRAINING]),
    is_alive=st.booleans(),
)
CHARGES = st.tuples(
    NAMES,
    st.sampled_from(["v1", "v2", "v3"]),
    st.none() | st.builds(Specs.of, cpu=st.integers(1, 4), ram_mib=st.integers(64, 999), ssd_mib=st.just(1)),
)


@given(st.lists(HOSTS | NAMES | CHARGES | st.none(), max_size=30))
def test_the_ranks_are_those_of_the_hosts_with_their_charges(
    events: list[Host | str | tuple[str, str, Specs | None] | None],
) -> None:
    inventory = Inventory()
    hosts: dict[str, Host] = {}
    charges: dict[tuple[str, str], Specs] = {}
    for event in (*events, None):
        match event:
            case Host():
                inventory.set(event)
                hosts[event.name] = event
            case str():
                assert inventory.remove(event) == (hosts.pop(event, None) is not None)
            case (host, vm_uuid, specs):
                inventory.charge(host, vm_uuid, specs)
                charges.pop((host, vm_uuid), None)
                if specs:
                    charges[host, vm_uuid] = specs
            case None:
                snapshot = inventory.snapshot(())
                expected = {name: _with_use(host, charges) for name, host in hosts.items()}
                assert snapshot.hosts == expected
                is_open = [host for host in expected.values() if not why_closed(host)]
                assert list(snapshot.open) == sorted((host.load(), host.name) for host in is_open)
                closed = {host.name: why_closed(host) for host in expected.values() if why_closed(host)}
                assert snapshot.closed == closed


def _with_use(host: Host, charges: dict[tuple[str, str], Specs]) -> Host:
    here = [specs for (name, _), specs in charges.items() if name == host.name]
    return host._replace(used_cpu=sum(specs.cpu for specs in here), used_ram_mib=sum(specs.ram_mib for specs in here))

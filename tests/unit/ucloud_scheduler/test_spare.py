"""What is kept free so that the loss of any host can be made good."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ucloud_scheduler.snapshots import NOW, make_dead, make_host, make_request, make_snapshot, make_vm
from ucloud_scheduler.capacity import Amounts
from ucloud_scheduler.plan import plan
from ucloud_scheduler.spare import Spare
from ucloud_scheduler.views import Disk, Host
from ucloud_scheduler.writes import Place, Report

SHARED = Disk("shared", 100_000)
WORDS = "kept free for the VMs of a host that dies"


def _host(name: str, ram_mib: int = 4096, used_mib: int = 0, ha_mib: int = 0, **changes: object) -> Host:
    values = {"ssd": SHARED, "cpu": 100, "used_ram_mib": used_mib, "ha_ram_mib": ha_mib, **changes}
    return make_host(name, ram_mib=ram_mib, **values)  # type: ignore[arg-type]


def _plan(hosts: list[Host], count: int, keeps_spare: bool = True, **changes: object) -> tuple[list[str], list[str]]:
    vms = [make_vm(make_request(number, **changes)) for number in range(1, count + 1)]  # type: ignore[arg-type]
    snapshot = make_snapshot(vms, hosts, keeps_spare=keeps_spare)
    writes = plan(snapshot, NOW).writes
    placed = [write.host for write in writes if isinstance(write, Place)]
    return placed, [write.status.reason for write in writes if isinstance(write, Report)]


def test_new_vms_wait_where_the_loss_of_a_host_could_not_be_made_good() -> None:
    """Two hosts of 4 GiB hold 4 VMs of 1 GiB that can all go on after either has died."""
    hosts = [_host("h1"), _host("h2")]
    placed, reasons = _plan(hosts, 6)
    assert sorted(placed) == ["h1", "h1", "h2", "h2"]
    assert reasons == [f"no host will do: 2 {WORDS}"] * 2
    assert len(_plan(hosts, 6, keeps_spare=False)[0]) == 6


def test_vms_that_stay_on_a_dead_host_need_nothing_elsewhere_but_take_room() -> None:
    alone = [_host("h1")]
    assert _plan(alone, 1) == ([], [f"no host will do: 1 {WORDS}"])
    assert _plan(alone, 5, ha=False) == (["h1"] * 4, ["no host has 1 GiB RAM free: 1 full"])
    mixed = [_host("h1", used_mib=2048, ha_mib=2048), _host("h2")]
    placed, _ = _plan(mixed, 9, ha=False)
    assert sorted(placed) == ["h1", "h1", "h2", "h2"]


def test_hosts_of_another_store_are_no_help() -> None:
    hosts = [_host("h1"), _host("h2", ssd=Disk("other", 100_000))]
    assert _plan(hosts, 1) == ([], [f"no host will do: 2 {WORDS}"])


def test_what_is_short_is_told() -> None:
    hosts = [_host("h1", used_mib=3072, ha_mib=3072), _host("h2", used_mib=2048, ha_mib=2048)]
    assert Spare(hosts).left() == {"shared": (100, -1024)}
    assert Spare(hosts).shortages() == ["1 GiB RAM short if h1 dies"]
    assert Spare([*hosts, _host("h3")]).shortages() == []
    lost = [make_dead("h1", ssd=SHARED, ha_ram_mib=3072, used_ram_mib=3072), _host("h2", used_mib=2048)]
    assert Spare(lost).shortages() == ["1 GiB RAM short if h1 dies"]


SIZES = st.integers(0, 3000)


@given(
    st.lists(st.tuples(SIZES, SIZES, st.integers(0, 3000)), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2000), st.booleans()), max_size=12),
)
def test_it_is_as_if_counted_anew_after_each_promise(
    sizes: list[tuple[int, int, int]], promises: list[tuple[int, int, bool]]
) -> None:
    hosts = [_host(f"h{n}", total + used, used, min(ha, used)) for n, (total, used, ha) in enumerate(sizes)]
    spare = Spare(hosts)
    for number, ram_mib, is_ha in promises:
        n = number % len(hosts)
        host = hosts[n]
        if host.used_ram_mib + ram_mib > host.ram_mib:
            continue
        after = host._replace(
            used_ram_mib=host.used_ram_mib + ram_mib, ha_ram_mib=host.ha_ram_mib + (ram_mib if is_ha else 0)
        )
        amounts = Amounts(0, ram_mib, 0, 0)
        anew = Spare([*hosts[:n], after, *hosts[n + 1 :]])
        assert spare.allows(host, amounts, is_ha) == (anew.left()["shared"][1] >= 0)
        spare.take(host, amounts, is_ha)
        hosts[n] = after
        assert spare.left() == anew.left()

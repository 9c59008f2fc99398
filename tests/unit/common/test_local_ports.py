"""What a host sees of ports and networks in its placements."""

from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Network

import pytest

from common import keys
from common.cache import Cache
from common.local_ports import LocalPorts
from common.metrics import Metrics
from common.schemas.port import Port, eui64, mac_of
from common.schemas.vm import Placement, Role, Specs, VmRequest
from common.store import EtcdOptions, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NET = "net-1"


def _port(port_id: str, network: str = NET) -> Port:
    return Port(id=port_id, network=network, ipv6=eui64(IPv6Network("2001:db8::/64"), port_id))


def _placement(vm: str, *ports: Port, role: Role = Role.RUN) -> Placement:
    specs = Specs.of(cpu=1, ram_mib=64, ssd_mib=1)
    request = VmRequest(uuid=vm, owner="ann", name=vm, specs=specs, image="i", created_at=NOW, ports=ports)
    return Placement(epoch=1, role=role, generation=1, request=request, placed_at=NOW)


class Rig:
    """A cache that nobody fills but the test, and what is seen in it."""

    def __init__(self) -> None:
        self.cache = Cache(Store(EtcdOptions(("[::1]:1",))), keys.placements("h1"), Placement, Metrics())
        self.here = LocalPorts(self.cache)
        self.told: list[str] = []
        self.here.ports.subscribe(self.told.append)
        self.here.networks.subscribe(self.told.append)
        self._revision = 0

    def place(self, vm: str, placement: Placement | None) -> None:
        """As the scheduler writes it."""
        self._revision += 1
        key = keys.placement("h1", vm)
        self.cache.note(key, placement, self._revision)
        for listener in self.cache._listeners:
            listener(key)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_port_is_named_by_its_id() -> None:
    port = _port("0a0b0c0d0e")
    assert (port.mac, port.tap) == ("02:0a:0b:0c:0d:0e", "tap0a0b0c0d0e")
    assert port.link_local == IPv6Address("fe80::a:bff:fe0c:d0e")
    assert mac_of("ffffffffff") == "02:ff:ff:ff:ff:ff"


def test_ports_and_their_networks_come_and_go_with_placements(rig: Rig) -> None:
    rig.place("a", _placement("a", _port("0000000001"), _port("0000000002", "net-2")))
    rig.place("b", _placement("b", _port("0000000003")))
    assert set(rig.here.ports.records()) == {keys.port(f"000000000{number}") for number in (1, 2, 3)}
    networks = rig.here.networks.records()
    assert set(networks) == {keys.network(NET), keys.network("net-2")}
    assert [each.vm for each in networks[keys.network(NET)].record.ports] == ["a", "b"]
    assert networks[keys.network(NET)].mod_revision == 2
    rig.told.clear()
    rig.place("a", None)
    assert set(rig.told) == {keys.port("0000000001"), keys.port("0000000002"), keys.network(NET), keys.network("net-2")}
    assert set(rig.here.networks.records()) == {keys.network(NET)}


def test_who_arrives_has_its_ports_and_who_has_left_has_none(rig: Rig) -> None:
    rig.place("a", _placement("a", _port("0000000001"), role=Role.INCOMING))
    key = keys.port("0000000001")
    assert rig.here.ports.records()[key].record.is_arriving
    rig.place("a", _placement("a", _port("0000000001")))
    assert not rig.here.ports.records()[key].record.is_arriving
    rig.place("a", _placement("a", _port("0000000001"), role=Role.LEFT))
    assert not rig.here.ports.records()
    assert not rig.here.networks.records()


def test_a_port_that_is_unplugged_goes(rig: Rig) -> None:
    rig.place("a", _placement("a", _port("0000000001")))
    rig.place("a", _placement("a"))
    assert not rig.here.ports.records()
    assert not rig.here.networks.records()

"""What ports are plugged into: bridges that may not be there yet, of networks that may not be known."""

from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Network
from typing import Any, cast

import pytest

from common import keys
from common.cache import Cached
from common.errors import TemporaryError, Unavailable
from common.schemas.network import NetworkRequest
from common.schemas.port import Port
from common.schemas.vm import Placement, Requested, Role, Specs, VmRequest
from ucloud_vm.hypervisor import Nic
from ucloud_vm.links import mtu_of, ports_with_taps
from ucloud_vm.nics import NO_BRIDGE, Nics

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE, TWO = (
    Port(id=f"00000000a{number}", network=f"net{number}", ipv6=IPv6Address(f"fd00::{number}")) for number in (1, 2)
)


class Placements:
    """A cache that holds one placement."""

    prefix = keys.placements("h1")

    def __init__(self) -> None:
        self.order: Placement | None = None

    def get(self, key: str) -> Cached[Placement] | None:
        return Cached(self.order, 1, 1) if self.order and key == self.prefix + VM else None


class Book:
    """A NetworkBook of net1 (VNI 1) and net2 (VNI 2), unless etcd is away."""

    away = False

    def get(self, uuid: str) -> NetworkRequest:
        if self.away:
            raise Unavailable("etcd", "no answer")
        if uuid not in ("net1", "net2"):
            raise TemporaryError(f"there is no network {uuid}")
        prefix = IPv6Network("fd00::/64")
        return NetworkRequest(uuid=uuid, owner="o", name="n", vni=int(uuid[-1]), prefix=prefix, created_at=NOW)


class Setting:
    """Nics with what they look at; `mtus` are those of the bridges that are there."""

    def __init__(self) -> None:
        self.placements = Placements()
        self.book = Book()
        self.mtus: dict[str, int] = {}
        self.told: list[str] = []
        self.nics = Nics(cast(Any, self.placements), cast(Any, self.book), self.mtus.get)
        self.nics.subscribe(self.told.append)

    def order(self, *ports: Port, requested: Requested = Requested.RUNNING, role: Role = Role.RUN) -> None:
        request = VmRequest(
            uuid=VM,
            owner="o",
            name="n",
            specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=1),
            image="i",
            requested=requested,
            created_at=NOW,
            ports=ports,
        )
        self.placements.order = Placement(epoch=1, role=role, generation=1, request=request, placed_at=NOW)


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_who_waits_for_a_bridge_is_told_when_it_is_there(setting: Setting) -> None:
    setting.order(ONE, TWO)
    setting.mtus["ucbr1"] = 1430
    assert setting.nics.lacking(VM) == {"net2": NO_BRIDGE}
    setting.nics.look()
    assert setting.told == []
    setting.mtus["ucbr2"] = 9000
    setting.nics.look()
    assert setting.told == [VM]
    assert setting.nics.lacking(VM) == {}
    setting.nics.look()
    assert setting.told == [VM]


def test_who_is_gone_waits_no_more(setting: Setting) -> None:
    setting.order(ONE)
    assert setting.nics.lacking(VM) == {"net1": NO_BRIDGE}
    setting.placements.order = None
    assert setting.nics.lacking(VM) == {}
    setting.mtus["ucbr1"] = 1430
    setting.nics.look()
    assert setting.told == []


def test_networks_that_nobody_knows_are_told_with_the_reason(setting: Setting) -> None:
    setting.order(ONE, TWO.model_copy(update={"network": "net3"}))
    assert setting.nics.lacking(VM) == {"net1": NO_BRIDGE, "net3": "there is no network net3"}
    setting.book.away = True
    assert set(setting.nics.lacking(VM)) == {"net1", "net3"}


def test_what_is_to_go_needs_no_network(setting: Setting) -> None:
    setting.order(ONE, requested=Requested.DELETED)
    assert setting.nics.lacking(VM) == {}
    setting.order(ONE, role=Role.LEFT)
    assert setting.nics.lacking(VM) == {}


def test_a_card_has_the_mtu_of_its_bridge_and_is_ready_only_with_one(setting: Setting) -> None:
    assert setting.nics.of([ONE]) == (Nic(ONE.id, ONE.mac, ONE.tap, "ucbr1", 0),)
    with pytest.raises(TemporaryError, match=f"waiting for network net1: {NO_BRIDGE}"):
        setting.nics.ready([ONE])
    setting.mtus["ucbr1"] = 1430
    assert setting.nics.ready([ONE]) == (Nic("00000000a1", "02:00:00:00:00:a1", "tap00000000a1", "ucbr1", 1430),)


def test_the_kernel_is_asked_for_links() -> None:
    assert mtu_of("no-such-link") is None
    assert mtu_of("a-name-that-no-link-can-have") is None
    assert all(len(port) == 10 for port in ports_with_taps())

"""What ports may, from what is said of them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.schemas.network import GATEWAY_MAC, Direction, NetworkRequest, Protocol, Rule, SecurityGroup
from common.schemas.port import Port, eui64
from ucloud_firewall import rights
from ucloud_firewall.rights import (
    BridgeRights,
    Connections,
    Need,
    Permission,
    Policy,
    Unsupported,
    give_zones,
    members_of,
    rights_of,
    to_forget,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NET = NetworkRequest(uuid="n", owner="ann", name="n", vni=5, prefix=IPv6Network("2001:db8::/64"), created_at=NOW)
ID = "0a0b0c0d0e"


def _port(*groups: str, prefixes: tuple[IPv6Network, ...] = ()) -> Port:
    return Port(id=ID, network="n", ipv6=eui64(NET.prefix, ID), prefixes=prefixes, security_groups=groups)


def _group(*rules: Rule) -> SecurityGroup:
    return SecurityGroup(uuid="g", owner="ann", name="g", rules=rules, created_at=NOW)


def test_a_port_without_groups_is_bound_to_its_addresses_and_else_free() -> None:
    found = rights_of(_port(), NET, {})
    assert (found.tap, found.bridge, found.mac) == (f"tap{ID}", "ucbr5", "02:0a:0b:0c:0d:0e")
    assert found.ipv6 == (IPv6Address("2001:db8::a:bff:fe0c:d0e"), IPv6Address("fe80::a:bff:fe0c:d0e"))
    assert (found.ipv4, found.arriving, found.leaving, found.is_filtered) == ((), None, None, False)


def test_groups_add_up_and_their_order_does_not_matter() -> None:
    ssh = Rule(protocol=Protocol.TCP, first_port=22, last_port=22)
    groups = {"a": _group(ssh, Rule(group="g")), "b": _group(ssh)}
    found = rights_of(_port("a", "b"), NET, groups)
    assert found == rights_of(_port("b", "a"), NET, groups)
    assert set(found.arriving or ()) == {Permission(Protocol.TCP, (22, 22)), Permission(group="g")}
    assert found.leaving is None
    assert rights.groups_named([found]) == {"g"}


def test_a_group_that_is_not_there_allows_nothing() -> None:
    assert rights_of(_port("a"), NET, {"a": None}).arriving == ()


def test_a_rule_for_what_leaves_forbids_the_rest() -> None:
    found = rights_of(_port("a"), NET, {"a": _group(Rule(direction=Direction.OUT, protocol=Protocol.UDP))})
    assert found.leaving == (Permission(Protocol.UDP),)


def test_prefixes_within_each_other_are_one() -> None:
    inner, outer = IPv6Network("2001:db8:1:1::/64"), IPv6Network("2001:db8:1::/48")
    assert rights_of(_port(prefixes=(inner, outer)), NET, {}).prefixes == (outer,)


def test_members_are_known_by_their_mac_and_by_the_gateways_where_they_are_routed() -> None:
    found = members_of([(ID, IPv6Address("2001:db8::1")), (ID, IPv4Address("10.0.0.1"))])
    assert found.ipv6 == {("02:0a:0b:0c:0d:0e", IPv6Address("2001:db8::1")), (GATEWAY_MAC, IPv6Address("2001:db8::1"))}
    assert found.ipv4 == {("02:0a:0b:0c:0d:0e", IPv4Address("10.0.0.1"))}


@pytest.mark.parametrize(("text", "is_one"), [("0a-b", True), ("", False), ("a b", False), ("x;", False), ("A", False)])
def test_the_id_of_a_group_is_safe_as_a_name(text: str, is_one: bool) -> None:
    assert rights.is_group_id(text) is is_one


@settings(deadline=None)
@given(st.lists(st.sets(st.integers(0, 30)), max_size=10))
def test_zones_are_stable_and_no_two_are_alike(steps: list[set[int]]) -> None:
    zones: dict[str, int] = {}
    for step in steps:
        before, zones = zones, give_zones([f"ucbr{number}" for number in step], zones)
        assert len(set(zones.values())) == len(zones)
        assert before.items() <= zones.items()
        assert all(1 <= zone <= rights.MOST_ZONES for zone in zones.values())


def test_when_zones_run_out_networks_that_have_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "MOST_ZONES", 2)
    zones = give_zones(["a", "b"], {})
    assert give_zones(["b", "c"], zones) == {"b": zones["b"], "c": zones["a"]}


def test_what_a_filter_can_not_do_is_said_and_refused() -> None:
    policy = Policy({"t": rights_of(_port(), NET, {})})
    with pytest.raises(Unsupported, match="x can't check a port's MAC address, the senders of ARP"):
        rights.refuse_what_it_cannot("x", policy, frozenset({Need.ND, Need.FRAME_TYPE}))
    rights.refuse_what_it_cannot("x", Policy(policy.ports, vouched=frozenset(Need)), frozenset())


def _filtered(*arriving: Permission, members: Mapping[str, rights.Members] | None = None) -> Policy:
    port = replace(rights_of(_port(), NET, {}), arriving=arriving, ipv4=(IPv4Address("10.0.0.1"),))
    return Policy({port.tap: port}, {"ucbr5": BridgeRights("ucbr5", 7, isolated=False)}, members or {})


def test_connections_are_judged_anew_where_less_is_permitted() -> None:
    ssh, dns = Permission(Protocol.TCP, (22, 22)), Permission(Protocol.UDP, (53, 53))
    both, one = _filtered(ssh, dns), _filtered(ssh)
    assert to_forget(one, both) == to_forget(both, both) == to_forget(Policy(), both) == frozenset()
    own = eui64(NET.prefix, ID)
    link_local = eui64(IPv6Network("fe80::/64"), ID)
    expected = {Connections(0, to=own), Connections(7, to=link_local), Connections(7, to=IPv4Address("10.0.0.1"))}
    assert to_forget(both, one) == expected


def test_connections_of_who_leaves_a_group_are_judged_anew() -> None:
    member = IPv6Address("2001:db8::9")
    before = _filtered(Permission(group="g"), members={"g": members_of([("0000000009", member)])})
    after = _filtered(Permission(group="g"), members={"g": members_of([])})
    assert to_forget(before, after) == {Connections(0, source=member), Connections(0, to=member)}

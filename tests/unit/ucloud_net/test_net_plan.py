"""What is done about a network on a host: by tables, and whatever happened to it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Interface, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.decision import Failure
from common.local_ports import LocalNetwork
from common.schemas.network import NetworkActual, NetworkRequest, NetworkStatus
from common.schemas.port import Port
from tests.unit.ucloud_net.machine import (
    ALIAS,
    BASE,
    BRIDGE,
    LOCAL,
    NETWORK,
    NOW,
    TUNNEL,
    UNDERLAY,
    VXLAN,
    Machine,
    make_port,
    make_request,
    make_tap,
)
from ucloud_net.plan import (
    Action,
    AddPeer,
    AddRoute,
    Announce,
    Forward,
    MakeBridge,
    MakeVxlan,
    Observed,
    Planner,
    Plug,
    PrepareHost,
    RemoveLink,
    RemoveRoute,
    SetGate,
    Withdraw,
)
from ucloud_net.shape import ANSWER_TABLE, FIRST_METRIC, Gate, Link, Route

MULTICAST = Planner(BASE, 4789)
UNICAST = Planner(None, 4789)
PORT = make_port()
REQUEST = make_request(PORT)
ACTIVE = NetworkStatus(actual=NetworkActual.ACTIVE, since=NOW, mtu=1430, endpoint=LOCAL)
ISOLATED = NETWORK.model_copy(update={"isolated": True})
PEER = IPv6Address("fd00:cafe::2")


def _settle(
    machine: Machine, request: LocalNetwork | None = REQUEST, planner: Planner = MULTICAST, rounds: int = 4
) -> tuple[NetworkStatus | None, list[Action]]:
    """Do as the plan says until nothing is left to do; what was reported last, and all that was done."""
    status: NetworkStatus | None = ACTIVE
    done: list[Action] = []
    for _ in range(rounds):
        decision = planner(request, machine.observe(), status, None, NOW)
        status = decision.status
        if not decision.actions:
            return status, done
        done += decision.actions
        for action in decision.actions:
            machine.apply(action)
    raise AssertionError(f"not settled after {rounds} rounds: {decision.actions}")


def _built(network: NetworkRequest = NETWORK, request: LocalNetwork = REQUEST, *guests: Port) -> Machine:
    machine = Machine(network=network, links={guest.tap: make_tap(guest, plugged=True) for guest in guests})
    _settle(machine, request)
    return machine


def test_a_new_network_is_built_in_one_go_and_nothing_is_up_before_it_is_guarded() -> None:
    machine = Machine()
    first = MULTICAST(REQUEST, machine.observe(), None, None, NOW)
    assert first.status == NetworkStatus(actual=NetworkActual.BUILDING, since=NOW, mtu=1430, endpoint=LOCAL)
    assert not first.is_repair
    assert first.actions[:5] == (
        PrepareHost(),
        SetGate(BRIDGE, Gate.OPEN),
        Forward(),
        MakeBridge(BRIDGE, ALIAS, 1430),
        MakeVxlan(VXLAN, ALIAS, 1430, BRIDGE, TUNNEL),
    )
    for action in first.actions:
        machine.apply(action)
    then = MULTICAST(REQUEST, machine.observe(), first.status, None, NOW + timedelta(seconds=1))
    assert then.actions == ()
    assert then.status == NetworkStatus(
        actual=NetworkActual.ACTIVE, since=NOW + timedelta(seconds=1), mtu=1430, endpoint=LOCAL
    )


def test_a_repair_is_not_reported() -> None:
    machine = _built()
    machine.remove_link(BRIDGE)
    decision = MULTICAST(REQUEST, machine.observe(), ACTIVE, None, NOW)
    assert decision.status == ACTIVE
    assert decision.is_repair
    assert decision.actions[0] == MakeBridge(BRIDGE, ALIAS, 1430)


def test_routed_networks_have_routes_for_their_ports_and_isolated_ones_only_for_answers() -> None:
    port = make_port(7, ("fd00:77::/56",))
    routed, isolated = (_built(network, make_request(port), port) for network in (NETWORK, ISOLATED))
    metric = FIRST_METRIC + NETWORK.vni
    answers = {Route(NETWORK.prefix, FIRST_METRIC, ANSWER_TABLE)}
    assert routed.own_routes == answers | {
        Route(IPv6Network(port.ipv6), metric),
        Route(IPv6Network("fd00:77::/56"), metric, gateway=port.link_local),
    }
    assert isolated.own_routes == answers
    assert (routed.gate, isolated.gate) == (Gate.OPEN, Gate.WITHIN)
    assert (routed.forwards, isolated.forwards) == (True, False)


def test_a_port_that_comes_or_goes_is_a_route_more_or_less() -> None:
    other = make_port(2)
    machine = _built(NETWORK, REQUEST, PORT, other)
    metric = FIRST_METRIC + NETWORK.vni
    _, done = _settle(machine, make_request(PORT, other))
    assert done == [AddRoute(BRIDGE, Route(IPv6Network(other.ipv6), metric))]
    _, done = _settle(machine, make_request(other))
    assert done == [RemoveRoute(BRIDGE, Route(IPv6Network(PORT.ipv6), metric))]


def test_a_port_has_a_route_while_its_guest_is_here_and_nowhere_else() -> None:
    machine = _built()
    route = Route(IPv6Network(PORT.ipv6), FIRST_METRIC + NETWORK.vni)
    assert route not in machine.own_routes
    machine.links[PORT.tap] = make_tap(PORT, plugged=True)
    arriving = LocalNetwork(
        uuid="n", ports=tuple(each.model_copy(update={"is_arriving": True}) for each in REQUEST.ports)
    )
    assert _settle(machine, arriving) == (ACTIVE, [])
    assert _settle(machine) == (ACTIVE, [AddRoute(BRIDGE, route)])
    machine.remove_link(PORT.tap)
    assert _settle(machine) == (ACTIVE, [RemoveRoute(BRIDGE, route)])


def test_routes_of_others_stay() -> None:
    machine = _built()
    machine.routes.add(Route(IPv6Network("fd00:9::/64"), 20))
    assert _settle(machine) == (ACTIVE, [])


def test_a_network_with_ipv4_has_the_gateways_ipv4_address() -> None:
    machine = _built(NETWORK.model_copy(update={"ipv4": "10.0.0.0/24"}))
    assert IPv4Interface("169.254.169.254/32") in machine.addresses
    assert len(_built().addresses) == 3


def test_a_tap_that_is_not_there_is_waited_for_and_one_that_is_elsewhere_is_put_back() -> None:
    machine = _built()
    machine.links[PORT.tap] = make_tap(PORT)
    assert _settle(machine)[1][0] == Plug(PORT.tap, BRIDGE, 1430)
    machine.links["tap00000000ff"] = Link("tap00000000ff", "tun", 1500)  # of a port that is not here
    assert _settle(machine)[1] == []


@pytest.mark.parametrize(
    ("mtu", "underlay_mtu", "expected"),
    [
        (None, 1500, 1430),
        (None, 9000, 8930),
        (None, 65536, 9000),
        (1280, 1500, 1280),
        (1500, 1570, 1500),
        (1500, 1500, "underlay eth0: an MTU of 1570 is needed, it has 1500"),
        (None, 1300, "underlay eth0: an MTU of 1350 is needed, it has 1300"),
    ],
)
def test_a_network_is_as_large_as_is_asked_or_as_the_underlay_takes(
    mtu: int | None, underlay_mtu: int, expected: int | str
) -> None:
    machine = Machine(NETWORK.model_copy(update={"mtu": mtu}), replace(UNDERLAY, mtu=underlay_mtu))
    decision = MULTICAST(REQUEST, machine.observe(), None, None, NOW)
    assert decision.status is not None
    if isinstance(expected, str):
        assert (decision.status.actual, decision.status.reason) == (NetworkActual.ERROR, expected)
        assert decision.actions == ()
    else:
        assert decision.status.mtu == expected


def test_what_can_not_be_known_is_said_and_everything_stays() -> None:
    decision = MULTICAST(REQUEST, Observed(problem="underlay eth9: no such interface"), ACTIVE, None, NOW)
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason) == (NetworkActual.ERROR, "underlay eth9: no such interface")
    assert decision.actions == ()
    assert decision.again_in_s


def test_a_failed_step_is_told_until_all_is_done() -> None:
    machine = _built()
    machine.lose_peers()
    failure = Failure(1, "ucvx5: flooding to ff05::5: no buffer space", permanent=False, at=NOW)
    decision = MULTICAST(REQUEST, machine.observe(), ACTIVE, failure, NOW)
    assert decision.status is not None
    assert (decision.status.actual, decision.status.reason) == (NetworkActual.ERROR, failure.reason)
    assert decision.actions == (AddPeer(VXLAN, TUNNEL.group or LOCAL, UNDERLAY.index),)
    status, _ = _settle(machine)
    assert status == ACTIVE


def test_an_address_of_the_underlay_that_will_do_stays_and_one_that_is_gone_does_not() -> None:
    machine = _built()
    machine.underlay = replace(UNDERLAY, addresses=(IPv6Address("fd00:cafe::"), LOCAL))
    assert _settle(machine) == (ACTIVE, [])
    machine.underlay = replace(UNDERLAY, addresses=(PEER,))
    status, done = _settle(machine)
    assert done[0] == RemoveLink(VXLAN, ALIAS)
    assert status is not None
    assert status.endpoint == PEER


def test_an_underlay_that_was_made_anew_carries_the_network_again() -> None:
    machine = _built()
    machine.remove_link(VXLAN)  # as the kernel does when the underlay goes
    machine.underlay = replace(UNDERLAY, index=9)
    assert _settle(machine)[1][0] == MakeVxlan(VXLAN, ALIAS, 1430, BRIDGE, replace(TUNNEL, underlay=9))


def test_links_of_another_network_with_this_vni_go_first() -> None:
    machine = _built()
    alias = "ucloud network old"
    for name in (BRIDGE, VXLAN):
        machine.links[name] = replace(machine.links[name], alias=alias)
    _, done = _settle(machine)
    assert RemoveLink(BRIDGE, alias) in done
    assert RemoveLink(VXLAN, alias) in done
    assert {link.alias for link in machine.links.values()} == {ALIAS}


def test_by_unicast_the_others_are_flooded_as_soon_as_they_are_known() -> None:
    machine = Machine(endpoints=None)
    status, done = _settle(machine, planner=UNICAST)
    assert Announce(LOCAL) in done
    assert machine.peers == set()
    assert status is not None
    machine.endpoints = frozenset({LOCAL, PEER})
    assert _settle(machine, planner=UNICAST)[1] == [AddPeer(VXLAN, PEER, UNDERLAY.index)]
    machine.endpoints = None  # etcd is away: the last word counts
    assert _settle(machine, planner=UNICAST)[1] == []
    machine.endpoints = frozenset({LOCAL})
    _settle(machine, planner=UNICAST)
    assert machine.peers == set()


def test_nothing_is_left_of_a_network_without_vms() -> None:
    machine = _built()
    machine.endpoint = LOCAL
    status, done = _settle(machine, None)
    assert status is None
    assert done == [Withdraw(), SetGate(BRIDGE, Gate.SHUT), RemoveLink(VXLAN, ALIAS), RemoveLink(BRIDGE, ALIAS)]


def test_a_guest_that_nobody_orders_any_more_keeps_its_network_until_it_ends() -> None:
    machine = _built()
    machine.links[PORT.tap] = make_tap(PORT, plugged=True)
    assert _settle(machine, None) == (ACTIVE, [])
    machine.remove_link(PORT.tap)
    assert _settle(machine, None)[0] is None
    assert machine.links == {}


DAMAGES: list[Callable[[Machine], None]] = [
    *(lambda machine, name=name: machine.remove_link(name) for name in (BRIDGE, VXLAN)),
    *(lambda machine, name=name: machine.shut_down(name) for name in (BRIDGE, VXLAN, PORT.tap)),
    *(lambda machine, name=name: machine.take_out(name) for name in (VXLAN, PORT.tap)),
    *(lambda machine, name=name: machine.resize(name) for name in (BRIDGE, VXLAN, PORT.tap)),
    *(lambda machine, name=name: machine.turn_wild(name) for name in (BRIDGE, VXLAN, PORT.tap)),
    Machine.rewire,
    Machine.lose_addresses,
    Machine.lose_routes,
    Machine.lose_peers,
    Machine.lose_host,
    Machine.add_strangers,
]


@settings(deadline=None)  # the machine may be busy
@given(
    damages=st.lists(st.sampled_from(DAMAGES), max_size=8),
    interrupted_after=st.integers(0, 12),
    isolated=st.booleans(),
    unicast=st.booleans(),
)
def test_whatever_happens_is_undone(
    damages: list[Callable[[Machine], None]], interrupted_after: int, isolated: bool, unicast: bool
) -> None:
    """Also when the daemon dies half-way, and more happens before it is back."""
    planner = UNICAST if unicast else MULTICAST
    endpoints = frozenset({LOCAL, PEER}) if unicast else None
    machine = Machine(ISOLATED if isolated else NETWORK, endpoints=endpoints)
    machine.links[PORT.tap] = make_tap(PORT)
    _settle(machine, planner=planner)
    before = machine.observe()
    for number, damage in enumerate(damages):
        damage(machine)
        if number % 2:
            actions = planner(REQUEST, machine.observe(), ACTIVE, None, NOW).actions
            for action in actions[:interrupted_after]:
                machine.apply(action)
    status, _ = _settle(machine, planner=planner)
    assert status == ACTIVE
    after = machine.observe()
    assert replace(after, own_routes=before.own_routes) == replace(before, forwards=after.forwards)
    assert _settle(machine, planner=planner)[1] == []


@settings(deadline=None)
@given(damages=st.lists(st.sampled_from(DAMAGES), max_size=8))
def test_nothing_is_left_whatever_happened_before(damages: list[Callable[[Machine], None]]) -> None:
    machine = _built()
    for damage in damages:
        damage(machine)
    status, _ = _settle(machine, None)
    assert status is None
    assert machine.links == {}

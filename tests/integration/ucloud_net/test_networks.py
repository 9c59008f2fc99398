"""Networks over two hosts: who reaches whom, and what is left when nobody is on them any more."""

import subprocess

from common.schemas.network import GATEWAY_MAC, VXLAN_OVERHEAD
from devcloud.waiting import wait_for
from tests.integration.ucloud_net.probe import Ear, Listener, connects, send
from tests.integration.ucloud_net.world import BUILD_S, HEAL_S, World, ip, run, show

GATEWAY = "fe80::a9fe:a9fe"
METADATA = "fd00:ec2::254"
UNDERLAY_MTU = 1500


def test_guests_reach_those_of_their_network_and_nobody_elses_of_the_same_prefix(world: World) -> None:
    one, two = world.hosts
    red, blue = (world.make_network("fd00:1::/64", isolated=True) for _ in range(2))
    a, b = world.plug(one, red), world.plug(two, red)
    c, d = world.plug(one, blue), world.plug(two, blue)
    for here, there in ((a, b), (b, a), (c, d), (d, c)):
        here.wait_reaches(there.address)
    for guest in (a, b, c, d):
        guest.wait_reaches(METADATA)
    for here, there in ((a, c), (a, d), (b, c), (c, a), (d, b)):
        assert not here.reaches(there.address)


def test_an_isolated_network_has_no_way_out_and_no_way_in(world: World) -> None:
    one, _ = world.hosts
    isolated, other = world.make_network("fd00:2::/64", isolated=True), world.make_network()
    inside, outside = world.plug(one, isolated), world.plug(one, other)
    inside.wait_reaches(GATEWAY)
    outside.wait_reaches(METADATA)
    assert not inside.reaches(outside.address)
    assert not outside.reaches(inside.address)
    # Nor does the host answer at other addresses than the gateway's, nor take the tenant's prefix for its own.
    assert outside.reaches(one.address)
    assert not inside.reaches(one.address)
    assert "fd00:2::/64" not in {route["dst"] for route in show(one.namespace, "-6", "route", "show", "table", "main")}
    # Even a route that somebody else made brings nobody there.
    ip(one.namespace, "-6", "route", "add", f"{inside.address}/128", "dev", isolated.bridge)
    assert not outside.reaches(inside.address)


def test_a_server_on_a_bridge_answers_the_guest_that_asked_though_another_has_the_same_prefix(world: World) -> None:
    one, _ = world.hosts
    networks = [world.make_network("fd00:4::/64", isolated=True) for _ in range(3)]
    guests = [world.plug(one, network, ipv6="fd00:4::6") for network in networks]
    for guest in guests:
        with Listener(one.namespace, guest.network.bridge, 80) as listener:
            guest.wait_reaches(METADATA)
            assert connects(guest.namespace, METADATA, 80, HEAL_S)
            assert listener.heard() == guest.address
    # Where nobody listens, the kernel would tell whoever has that address first.
    with Ear(guests[0].namespace) as first, Ear(guests[1].namespace) as second:
        for guest in guests:
            assert not connects(guest.namespace, METADATA, 80, 0.5)
            send(guest.namespace, METADATA, 80)
        assert guests[2].reaches(METADATA)
        heard = [each for ear in (first, second) for each in ear.heard()]
    # Beside neighbour discovery, reports of MLD, which begin with hop-by-hop options (0) and ICMPv6 (58) behind them.
    assert {kind for kind, _ in heard} <= {"ndp", "0/58"}


def test_networks_that_are_not_isolated_are_routed(world: World) -> None:
    one, two = world.hosts
    red, blue = world.make_network(), world.make_network()
    a, b = world.plug(one, red, prefixes=["fd00:99::/64"]), world.plug(one, blue)
    a.wait_reaches(b.address)
    # Now a router, the host goes on to heed those of its underlay.
    assert run(one.namespace, "cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra") == "2\n"
    assert a.neighbour(GATEWAY) == GATEWAY_MAC
    assert {str(red.prefix), f"{a.address}", "fd00:99::/64"} <= one.routes(red.bridge)
    ip(a.namespace, "addr", "add", "fd00:99::1/128", "dev", "lo")
    b.wait_reaches("fd00:99::1")
    # On the other host, whose VM is another one, there is no route to a's addresses.
    world.order(two, red)
    world.wait_active(two, red)
    assert not {f"{a.address}", "fd00:99::/64"} & two.routes(red.bridge)


def test_what_is_as_large_as_the_mtu_passes_and_what_is_larger_does_not(world: World) -> None:
    one, two = world.hosts
    small, full = world.make_network(mtu=1280), world.make_network()
    for network, mtu in ((small, 1280), (full, UNDERLAY_MTU - VXLAN_OVERHEAD)):
        a, b = world.plug(one, network), world.plug(two, network)
        assert world.wait_active(one, network).mtu == mtu
        a.wait_reaches(b.address)
        for guest in (a, b):  # guests that heed no MTU
            ip(guest.namespace, "link", "set", "eth0", "mtu", "9000")
        assert a.reaches(b.address, mtu)
        # A bridge lets the four octets of a VLAN's tag pass, whatever they are.
        assert not a.reaches(b.address, mtu + 5)


def test_a_mtu_that_the_underlay_does_not_take_is_refused_with_what_it_would_take(world: World) -> None:
    one, _ = world.hosts
    network = world.make_network(mtu=1500)
    world.order(one, network)
    assert world.wait_reason(one, network) == "underlay eth0: an MTU of 1570 is needed, it has 1500"
    ip(one.namespace, "link", "set", "eth0", "mtu", "1570")
    try:
        world.wait_active(one, network)
    finally:
        ip(one.namespace, "link", "set", "eth0", "mtu", "1500")
    world.wait_reason(one, network)


def test_no_other_host_answers_for_the_gateway(world: World) -> None:
    one, two = world.hosts
    network = world.make_network()
    a, b = world.plug(one, network), world.plug(two, network)
    a.wait_reaches(b.address)
    a.wait_reaches(METADATA)
    one.freeze()
    for address in (f"{GATEWAY}/64", f"{METADATA}/128"):
        ip(one.namespace, "addr", "del", address, "dev", network.bridge)
    ip(a.namespace, "neigh", "flush", "dev", "eth0")
    assert not a.reaches(GATEWAY)
    assert not a.reaches(METADATA)
    assert b.reaches(GATEWAY)
    assert a.reaches(b.address)
    one.resume()
    a.wait_reaches(GATEWAY)
    a.wait_reaches(METADATA)


def test_the_bridge_has_an_ipv4_address_where_the_network_has(world: World) -> None:
    one, _ = world.hosts
    four, six = world.make_network(ipv4="10.9.0.0/24"), world.make_network()
    a = world.plug(one, four, ipv4="10.9.0.5")
    world.plug(one, six)
    assert one.addresses(four.bridge) == {f"{GATEWAY}/64", f"{METADATA}/128", "fd00:ec2::253/128", "169.254.169.254/32"}
    assert one.addresses(six.bridge) == {f"{GATEWAY}/64", f"{METADATA}/128", "fd00:ec2::253/128"}
    run(a.namespace, "bash", "-c", "exec 3<>/dev/udp/169.254.169.254/9 && echo >&3")
    wait_for(
        "the gateway's ARP answer", lambda: GATEWAY_MAC in ip(a.namespace, "neigh", "show", "169.254.169.254"), HEAL_S
    )


def test_nothing_is_left_when_the_last_vm_leaves(world: World) -> None:
    one, two = world.hosts
    network = world.make_network()
    a, b = world.plug(one, network), world.plug(one, network)
    c = world.plug(two, network)
    c.wait_reaches(a.address)
    world.withdraw(one, a.vm)
    world.unplug(a)
    wait_for("its route gone", lambda: a.address not in one.routes(network.bridge), HEAL_S)
    c.wait_reaches(b.address)
    world.withdraw(one, b.vm)
    # As long as the guest is plugged in, nobody cuts it off.
    world.order(one, other := world.make_network())
    world.wait_active(one, other)
    assert c.reaches(b.address)
    assert world.status(one, network) is not None
    world.unplug(b)
    wait_for("nothing left", lambda: network.bridge not in one.ours() and not world.status(one, network), HEAL_S)
    assert set(one.ours()) == {other.bridge, other.vxlan}
    assert network.bridge not in run(one.namespace, "nft", "list", "ruleset")
    assert set(two.ours()) == {network.bridge, network.vxlan}


def test_what_is_not_its_own_is_left_alone_and_orphans_go(world: World) -> None:
    one, _ = world.hosts
    for name in ("ucbridge", "ucbr01", "ucvxlan1", "br0"):
        ip(one.namespace, "link", "add", name, "type", "bridge")
    one.kill()
    ip(one.namespace, "link", "add", "ucbr7", "type", "bridge")
    ip(one.namespace, "link", "add", "ucbr8", "type", "bridge")
    ip(one.namespace, "link", "set", "ucbr8", "alias", "ucloud network 00000000-0000-4000-8000-000000000008")
    before = one.links()
    one.start()
    wait_for("orphans gone", lambda: not {"ucbr7", "ucbr8"} & one.links().keys(), BUILD_S)
    assert {name: link["ifindex"] for name, link in one.links().items()} == {
        name: link["ifindex"] for name, link in before.items() if name not in ("ucbr7", "ucbr8")
    }
    for name in ("ucbridge", "ucbr01", "ucvxlan1", "br0"):
        subprocess.run(["ip", "-n", one.namespace, "link", "del", name], check=True)


def test_a_hundred_networks_are_built_in_time(world: World) -> None:
    one, _ = world.hosts
    networks = [world.make_network() for _ in range(100)]
    for network in networks:
        world.order(one, network)
    for network in networks:
        world.wait_active(one, network, 60)
    assert set(one.ours()) == {link for network in networks for link in (network.bridge, network.vxlan)}

"""What somebody does to a network on a host is undone within seconds; it outlives its daemon, and etcd."""

from collections.abc import Callable

from common import keys
from devcloud.waiting import wait_for
from tests.integration.ucloud_net.world import BUILD_S, HEAL_S, Guest, World, ip, run
from ucloud_net.shape import ANSWER_TABLE

GATEWAY = "fe80::a9fe:a9fe"


def _as_it_is(guest: Guest) -> dict[str, object]:
    """What a network is made of on a guest's host; links are told by name, as they may be made anew."""
    host, network = guest.host, guest.network
    links = {
        name: link for name, link in host.links().items() if name in (network.bridge, network.vxlan, guest.port.tap)
    }
    told = {
        name: (link["mtu"], link.get("master"), link["address"] if name == network.bridge else "", link.get("ifalias"))
        for name, link in links.items()
        if "UP" in link["flags"]
    }
    return {
        "links": told,
        "addresses": host.addresses(network.bridge),
        "routes": host.routes(network.bridge),
        "floods": host.floods(network.vxlan) if network.vxlan in links else set(),
        "rules": set(ip(host.namespace, "-6", "rule", "show").splitlines()),
        "filter": run(host.namespace, "nft", "list", "ruleset"),
        "snooping": links.get(network.bridge, {}).get("linkinfo", {}).get("info_data", {}).get("mcast_snooping"),
        "forwarding": run(host.namespace, "cat", "/proc/sys/net/ipv6/conf/all/forwarding"),
    }


def _ip(command: str) -> Callable[[Guest], object]:
    """Damage that `ip` does; words in braces stand for what a guest and its network have."""

    def damage(guest: Guest) -> object:
        words = {"bridge": guest.network.bridge, "vxlan": guest.network.vxlan, "tap": guest.port.tap,
                 "prefix": guest.network.prefix, "address": guest.address, "answers": ANSWER_TABLE}  # fmt: skip
        return ip(guest.host.namespace, *command.format(**words).split())

    return damage


def _flush(guest: Guest) -> object:
    return run(guest.host.namespace, "bridge", "fdb", "flush", "dev", guest.network.vxlan)


def _nft(command: str) -> Callable[[Guest], object]:
    return lambda guest: run(guest.host.namespace, "nft", *command.split())


def _sysctl(name: str, value: str) -> Callable[[Guest], object]:
    def damage(guest: Guest) -> object:
        path = f"/proc/sys/net/{name.format(bridge=guest.network.bridge)}"
        return run(guest.host.namespace, "sh", "-c", f"echo {value} > {path}")

    return damage


DAMAGES = {
    "bridge deleted": _ip("link del {bridge}"),
    "bridge down": _ip("link set {bridge} down"),
    "bridge with another MAC": _ip("link set {bridge} address 02:00:00:00:00:01"),
    "vxlan deleted": _ip("link del {vxlan}"),
    "vxlan down": _ip("link set {vxlan} down"),
    "vxlan taken out": _ip("link set {vxlan} nomaster"),
    "gateway's address deleted": _ip("addr del fe80::a9fe:a9fe/64 dev {bridge}"),
    "metadata's address deleted": _ip("addr del fd00:ec2::254/128 dev {bridge}"),
    "addresses flushed": _ip("-6 addr flush dev {bridge}"),
    "another address": _ip("addr add fd00:6::6/64 dev {bridge}"),
    "prefix's route deleted": _ip("-6 route del {prefix} dev {bridge} table {answers}"),
    "port's route deleted": _ip("-6 route del {address} dev {bridge}"),
    "routes flushed": _ip("-6 route flush dev {bridge}"),
    "forwarding entries flushed": _flush,
    "all that the bridge knows flushed": lambda guest: run(
        guest.host.namespace, "bridge", "fdb", "flush", "dev", guest.network.bridge
    ),
    "tap taken out": _ip("link set {tap} nomaster"),
    "tap with another MTU": _ip("link set {tap} mtu 1300"),
    "rule deleted": _ip("-6 rule del from fd00:ec2::254"),
    "ruleset flushed": _nft("flush ruleset"),
    "filter of the gateway flushed": _nft("flush table bridge ucloud_gateway"),
    "network shut": _nft("flush set inet ucloud_gateway open"),
    "forwarding turned off": _sysctl("ipv6/conf/all/forwarding", "0"),
    "snooping turned on": _ip("link set {bridge} type bridge mcast_snooping 1"),
}


def test_each_damage_is_undone(world: World) -> None:
    one, two = world.hosts
    network = world.make_network()
    a, b = world.plug(one, network), world.plug(two, network)
    a.wait_reaches(b.address)
    before = wait_for("all there", lambda: _as_it_is(a), HEAL_S)
    for name, damage in DAMAGES.items():
        damage(a)
        wait_for(f"undone: {name}", lambda: _as_it_is(a) == before, HEAL_S)
        a.wait_reaches(b.address, HEAL_S)
        a.wait_reaches(GATEWAY, HEAL_S)


def test_what_happened_while_the_daemon_was_away_is_undone_and_the_rest_not_touched(world: World) -> None:
    one, two = world.hosts
    network, other = world.make_network(), world.make_network()
    a, b = world.plug(one, network), world.plug(two, network)
    world.plug(one, other)
    a.wait_reaches(b.address)
    before, links = _as_it_is(a), one.ours()
    one.kill()
    assert a.reaches(b.address)
    assert a.reaches(GATEWAY)
    one.start()
    world.wait_active(one, network)
    assert (_as_it_is(a), one.ours()) == (before, links)
    one.kill()
    ip(one.namespace, "link", "del", other.vxlan)
    ip(one.namespace, "-6", "route", "del", f"{a.address}", "dev", network.bridge)
    one.start()
    wait_for("made anew", lambda: other.vxlan in one.ours() and _as_it_is(a) == before, BUILD_S)
    assert {name: index for name, index in one.ours().items() if name != other.vxlan} == {
        name: index for name, index in links.items() if name != other.vxlan
    }


def test_a_network_is_repaired_while_etcd_is_away(world: World) -> None:
    one, two = world.hosts
    network = world.make_network()
    a, b = world.plug(one, network), world.plug(two, network)
    a.wait_reaches(b.address)
    world.etcd.pause(0)
    try:
        ip(one.namespace, "link", "del", network.vxlan)
        ip(one.namespace, "link", "del", network.bridge)
        wait_for("made again", lambda: network.vxlan in one.ours(), HEAL_S)
        a.wait_reaches(b.address)
        a.wait_reaches(GATEWAY)
    finally:
        world.etcd.resume(0)


def test_orders_that_cannot_be_read_take_no_network_down(world: World) -> None:
    one, two = world.hosts
    network = world.make_network()
    a, b = world.plug(one, network), world.plug(two, network)
    a.wait_reaches(b.address)
    world.spoil(keys.placement(one.name, a.vm))
    ip(one.namespace, "link", "del", network.vxlan)
    a.wait_reaches(b.address)
    one.kill()
    one.start()
    # Nobody knows any more which networks are to be here: all stay.
    assert a.reaches(b.address)
    assert set(one.ours()) == {network.bridge, network.vxlan}
    world.withdraw(one, a.vm)
    one.kill()
    one.start()


def test_an_underlay_that_goes_and_comes_back_takes_the_networks_with_it(world: World) -> None:
    one, _ = world.hosts
    network, address = world.make_network(), "fd00:cafe::1"
    one.kill()
    one.start(UCLOUD_NET_UNDERLAY="eth9")
    world.order(one, network)
    assert world.wait_reason(one, network) == "underlay eth9: no such interface"
    ip(one.namespace, "link", "add", "eth9", "type", "bridge")
    wait_for("another reason", lambda: "no IPv6 address" in world.wait_reason(one, network), BUILD_S)
    ip(one.namespace, "link", "set", "eth9", "up")
    ip(one.namespace, "addr", "add", f"{address}/64", "dev", "eth9", "nodad")
    assert str(world.wait_active(one, network).endpoint) == address
    ip(one.namespace, "link", "del", "eth9")
    assert world.wait_reason(one, network) == "underlay eth9: no such interface"
    assert network.bridge in one.ours()

"""Networks where the underlay has no multicast: each host sends a copy to each other one that says it is there."""

from common import keys
from devcloud.waiting import wait_for
from tests.integration.ucloud_net.world import BUILD_S, HEAL_S, World, ip, run


def test_hosts_that_say_they_are_there_are_flooded(unicast_world: World) -> None:
    world = unicast_world
    one, two = world.hosts
    network = world.make_network("fd00:3::/64", isolated=True)
    a = world.plug(one, network)
    assert one.floods(network.vxlan) == set()
    b = world.plug(two, network)
    a.wait_reaches(b.address)
    b.wait_reaches(a.address)
    assert one.floods(network.vxlan) == {two.address}
    assert two.floods(network.vxlan) == {one.address}
    run(one.namespace, "bridge", "fdb", "flush", "dev", network.vxlan)
    wait_for("flooded again", lambda: one.floods(network.vxlan) == {two.address}, HEAL_S)
    ip(one.namespace, "link", "del", network.vxlan)
    wait_for("made again", lambda: network.vxlan in one.ours(), HEAL_S)
    wait_for("flooded again", lambda: one.floods(network.vxlan) == {two.address}, HEAL_S)
    a.wait_reaches(b.address)
    world.withdraw(two, b.vm)
    world.unplug(b)
    wait_for("nobody else there", lambda: one.floods(network.vxlan) == set(), BUILD_S)
    left = [entry.key for entry in world.store.list(keys.endpoints(network.uuid)).entries]
    assert left == [keys.endpoint(network.uuid, one.name)]


def test_an_endpoint_of_a_network_that_was_left_while_the_daemon_was_away_goes(unicast_world: World) -> None:
    world = unicast_world
    one, two = world.hosts
    network = world.make_network()
    a, b = world.plug(one, network), world.plug(two, network)
    a.wait_reaches(b.address)
    two.kill()
    world.withdraw(two, b.vm)
    world.unplug(b)
    two.start(UCLOUD_NET_FLOODING="unicast")
    wait_for("nobody else there", lambda: one.floods(network.vxlan) == set() and not two.ours(), BUILD_S)

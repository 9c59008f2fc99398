"""ucloud-firewall: wiring only."""

from common import daemon, keys
from common.local_ports import LocalPorts, NetworkBook
from common.schemas.vm import Placement
from ucloud_firewall import connections
from ucloud_firewall.bridges import Bridges
from ucloud_firewall.counters import Counters
from ucloud_firewall.enforcer import Enforcer
from ucloud_firewall.groups import Groups
from ucloud_firewall.kernel import Kernel
from ucloud_firewall.nft import NftRenderer
from ucloud_firewall.second_wall import SecondWall
from ucloud_firewall.tampering import Tampering
from ucloud_firewall.wall import Wall

DEFAULT_PORT = 9707


def wire(host: daemon.Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    placements = host.cache(keys.placements(host.settings.host.name), Placement)
    ports = LocalPorts(placements).ports
    groups = Groups(host.store, host.metrics)
    bridges = Bridges()
    wall = Wall(Kernel(), NftRenderer(), connections.forget)
    wall.close()  # before anybody is told that this daemon has started
    second_wall = SecondWall()
    enforcer = Enforcer(ports, NetworkBook(host.store), groups, bridges, wall, host.metrics)
    tampering = Tampering(enforcer.look_at_tables)
    # A context of its own: whoever reads the counters does not wait for rules that are loaded, nor they for him.
    host.metrics.registry.register(Counters(Kernel()))

    host.health.add_check("rules", enforcer.problem)
    host.health.add_check("groups", groups.problem)
    host.health.add_check("bridges", bridges.problem)
    host.health.add_malformed(groups.malformed)
    host.health.add_fact("second wall", second_wall.fact)
    host.at_stop(enforcer.close)
    host.at_stop(tampering.close)
    host.at_stop(bridges.close)
    host.at_stop(second_wall.close)
    host.start("tampering", tampering.run)
    host.start("bridges", bridges.run)
    host.start("second wall", second_wall.run)
    host.start("enforcer", enforcer.run)
    host.start("placements", placements.run)


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-firewall", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()

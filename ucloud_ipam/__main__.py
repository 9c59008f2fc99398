"""Wiring of ucloud-ipam; see the package's docstring for what it does."""

from common import keys
from common.daemon import Daemon
from common.daemon import main as run_daemon
from common.local_ports import LocalPorts, NetworkBook
from common.schemas.vm import Placement
from ucloud_ipam.dns.forwarder import Forwarder
from ucloud_ipam.dns.name_server import NameServer
from ucloud_ipam.dns.name_service import WORKERS, NameService
from ucloud_ipam.dns.zones import Zones
from ucloud_ipam.links import Links
from ucloud_ipam.responder import Responder
from ucloud_ipam.roster import Roster

_PORT = 9708


def main() -> None:
    """Run the daemon."""
    run_daemon("ucloud-ipam", _PORT, wire)


def wire(daemon: Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    placements = daemon.cache(keys.placements(daemon.settings.host.name), Placement)
    roster = Roster(LocalPorts(placements).ports, NetworkBook(daemon.store))
    links = Links()
    settings = daemon.settings.dns
    responder = Responder(roster, links, settings.domain, daemon.metrics.registry)
    zones = Zones(daemon.store, settings.domain)
    service = NameService(zones, Forwarder(settings.forwarders), settings, daemon.metrics.registry)
    names = NameServer(roster, links, zones, service)

    daemon.health.add_check("links", links.problem)
    daemon.at_stop(roster.close)
    daemon.at_stop(links.close)
    daemon.at_stop(responder.wake)
    daemon.at_stop(zones.close)
    daemon.at_stop(service.close)
    daemon.at_stop(names.wake)
    daemon.start("responder", responder.run)
    daemon.start("names", names.run)
    daemon.start("zones", zones.run)
    for number in range(WORKERS if settings.forwarders else 0):
        daemon.start(f"forwarder {number}", service.work)
    daemon.start("links", links.run)
    daemon.start("roster", roster.run)
    daemon.start("placements", placements.run)


if __name__ == "__main__":
    main()

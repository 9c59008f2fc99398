"""ucloud-net: wiring only."""

import logging
from ipaddress import IPv6Address

from common import daemon, keys
from common.controller import Controller
from common.errors import ConfigurationError, UcloudError
from common.local_ports import LocalPorts, NetworkBook
from common.schemas.network import NetworkStatus
from common.schemas.vm import Placement
from common.settings import NetSettings
from ucloud_net.driver import NetDriver
from ucloud_net.endpoints import Endpoints
from ucloud_net.ground import Ground
from ucloud_net.kernel import Kernel
from ucloud_net.news import News
from ucloud_net.plan import Planner
from ucloud_net.ruleset import TABLE, Ruleset

_log = logging.getLogger(__name__)
DEFAULT_PORT = 9706
_WORKERS = 2
_SETTLE_S = 0.1
"""What the kernel reports comes in bursts, of which the daemon's own work is one: look once they are over."""


def wire(host: daemon.Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    settings, name = host.settings.net, host.settings.host.name
    kernel = Kernel()
    ground = Ground(kernel, Ruleset())
    placements = host.cache(keys.placements(name), Placement)
    statuses = host.cache(keys.network_statuses(name), NetworkStatus)
    here = LocalPorts(placements)
    base = _multicast_base(settings)
    endpoints = None if base else Endpoints(host.store, name, host.metrics)
    driver = NetDriver(kernel, ground, here, NetworkBook(host.store), endpoints, settings.underlay)
    planner = Planner(base, settings.vxlan_port)
    controller = Controller(host.store, here.networks, statuses, planner, driver, host.metrics)

    def look_at_link(link: str) -> None:
        for network in driver.networks_of(link):
            controller.look(network, _SETTLE_S)

    def look_at_host() -> None:
        ground.distrust()
        look_at_link("")

    def look_at_all() -> None:
        try:
            controller.look_at_all()
        except UcloudError as error:
            _log.warning("can't look through what exists: %s", error)

    news = News(TABLE, look_at_link, look_at_host, look_at_all)
    host.at_stop(controller.close)
    host.at_stop(news.close)
    if endpoints:
        endpoints.subscribe(controller.look)
        host.at_stop(endpoints.close)
    host.start("news", news.run)
    host.start("news of filters", news.watch_filters)
    host.start("placements", placements.run)
    host.start("statuses", statuses.run)
    host.start("look through", controller.look_through)
    for number in range(_WORKERS):
        host.start(f"worker {number}", controller.work)


def _multicast_base(settings: NetSettings) -> IPv6Address | None:
    """What a network's multicast group is counted from; None where frames are flooded by unicast."""
    if settings.flooding == "unicast":
        return None
    if not settings.multicast_base.is_multicast or int(settings.multicast_base) & 0xFFFFFF:
        raise ConfigurationError(
            f"net.multicast_base: {settings.multicast_base}: a multicast address is required whose last 24 bits are 0"
        )
    return settings.multicast_base


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-net", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()

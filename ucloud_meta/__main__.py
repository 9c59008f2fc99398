"""Wiring of ucloud-meta; see the package's docstring for what it does."""

from common import keys
from common.daemon import Daemon
from common.daemon import main as run_daemon
from common.link_news import LinkNews
from common.local_ports import LocalPorts, NetworkBook
from common.schemas.host import HostRequest
from common.schemas.vm import Placement
from ucloud_meta.answer import Answer, Request
from ucloud_meta.desk import Asker, Desk
from ucloud_meta.figures import Figures
from ucloud_meta.links import index_of
from ucloud_meta.listening import Listening
from ucloud_meta.manners import Manners
from ucloud_meta.rates import Rate
from ucloud_meta.server import Limits, Server, listen

_PORT = 9709
_ZONE_LABEL = "zone"
_BURST_S = 10
"""A guest that boots asks some sixty times within a second or two."""


def main() -> None:
    """Run the daemon."""
    run_daemon("ucloud-meta", _PORT, wire)


def wire(daemon: Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    settings = daemon.settings
    placements = daemon.cache(keys.placements(settings.host.name), Placement)
    words = daemon.cache(keys.host(settings.host.name), HostRequest)
    here = LocalPorts(placements)
    figures = Figures(daemon.metrics.registry)

    def zone() -> str:
        word = words.get(keys.host(settings.host.name))
        return word.record.labels.get(_ZONE_LABEL, settings.meta.zone) if word else settings.meta.zone

    def answer(asker: Asker, request: Request) -> Answer:
        answer = desk.answer(asker, request)
        figures.answers.labels(answer.status.value).inc()
        return answer

    server = Server(answer, Limits(), figures)
    listening = Listening(here, NetworkBook(daemon.store), server, index_of, listen)
    rate = Rate(settings.meta.requests_per_s, _BURST_S * settings.meta.requests_per_s)
    desk = Desk(placements, here, listening.networks, zone, Manners(settings.dns.domain), rate)
    links = LinkNews(lambda link: listening.hint(link.name), lambda: listening.hint(None))

    daemon.health.add_check("listeners", listening.problem)
    daemon.at_stop(listening.close)
    daemon.at_stop(links.close)
    daemon.at_stop(server.close)
    daemon.start("links", links.run)
    daemon.start("listening", listening.run)
    daemon.start("server", server.run)
    daemon.start("host", words.run)
    daemon.start("placements", placements.run)


if __name__ == "__main__":
    main()

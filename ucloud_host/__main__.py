"""ucloud-host: wiring only."""

from common import daemon
from common.storage.directory import DirectoryStore
from ucloud_host.measure import measure
from ucloud_host.register import Registration

DEFAULT_PORT = 9702


def wire(host: daemon.Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    settings = host.settings
    disks = DirectoryStore(settings.storage)
    registration = Registration(host.store, lambda: measure(settings.host, disks, moves_live=settings.vm.moves_live))
    host.health.add_check("registration", lambda: registration.problem)
    host.start("registration", registration.run)


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-host", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()

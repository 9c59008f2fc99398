"""Wiring of ucloud-vm; see the package's docstring for what it does."""

import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

from common import keys
from common.cache import Cache
from common.controller import Controller
from common.daemon import Daemon
from common.daemon import main as run_daemon
from common.errors import ConfigurationError, PermanentError, UcloudError
from common.events import EventLog, StatusEvents
from common.guests import HaMarks
from common.lifeline import Lifeline
from common.link_news import LinkNews
from common.local_ports import NetworkBook
from common.process import boot_id
from common.schemas.vm import Placement, VmStatus
from common.storage.choice import open_store
from ucloud_vm import destination
from ucloud_vm.console.access import Access, base_url, read_or_make_secret
from ucloud_vm.console.log import SerialLogs
from ucloud_vm.console.relay import Limits
from ucloud_vm.console.routes import Consoles, add_routes
from ucloud_vm.deathwatch import Deathwatch
from ucloud_vm.driver import Parts, VmDriver
from ucloud_vm.figures import VmFigures, libvirt_call_seconds
from ucloud_vm.ha_driver import HaDriver
from ucloud_vm.inventory import tell_inventory
from ucloud_vm.libvirt import accelerator
from ucloud_vm.libvirt.hypervisor import LibvirtHypervisor
from ucloud_vm.links import mtu_of
from ucloud_vm.migration import Migrations
from ucloud_vm.nics import Nics
from ucloud_vm.permit import Permit
from ucloud_vm.planning.plan import Planner
from ucloud_vm.planning.report import news
from ucloud_vm.planning.steps import Action, Observation
from ucloud_vm.run_directory import RunDirectory
from ucloud_vm.seeds import Seeds

_log = logging.getLogger(__name__)
_PORT = 9703
_WORKERS = 4


def main() -> None:
    """Run the daemon."""
    run_daemon("ucloud-vm", _PORT, wire)


def wire(daemon: Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    settings = daemon.settings.vm
    host = daemon.settings.host.name
    _make_directories(settings.run_directory, settings.log_directory, settings.state_directory)
    _lock(settings.state_directory)
    _check_migration_uri(settings.migration_uri)

    disks = open_store(daemon.settings.storage)
    call_seconds = libvirt_call_seconds(daemon.metrics.registry)
    hypervisor = LibvirtHypervisor(
        settings.libvirt_uri, accelerator.choose(settings.accelerator), call_seconds, disks.secrets
    )
    secret = read_or_make_secret(settings.state_directory / "console.key")
    access = Access(secret, base_url(daemon.settings.health.address, daemon.port, host))
    logs = SerialLogs(settings.log_directory)
    run_directory = RunDirectory(settings.run_directory)
    add_routes(daemon.http, Consoles(access, logs, hypervisor, run_directory, Limits()))
    tell_inventory(daemon, access, hypervisor, disks)

    placements = daemon.cache(keys.placements(host), Placement)
    statuses = daemon.cache(keys.vm_statuses(host), VmStatus)
    deathwatch = Deathwatch(run_directory)
    migrations = Migrations(hypervisor, settings.migration_uri)
    networks = NetworkBook(daemon.store)
    nics = _nics(daemon, placements, networks)
    seeds = Seeds(placements, networks, run_directory)
    VmFigures(daemon.metrics.registry, placements, statuses)
    controller = Controller(
        daemon.store,
        placements,
        statuses,
        Planner(settings.stop_timeout_s, settings.orphan_grace_s, settings.migration_mode == "post-copy"),
        HaDriver(
            VmDriver(Parts(hypervisor, disks, access, logs, run_directory, deathwatch, migrations, nics, seeds)),
            HaMarks(settings.run_directory),
            _permit(daemon),
        ),
        daemon.metrics,
    )

    controller.tell_events(StatusEvents(EventLog(daemon.store, host, daemon.settings.event.ttl_s), "vm", news))

    hypervisor.subscribe(_look_of(controller))
    deathwatch.subscribe(controller.look)
    migrations.subscribe(controller.look)
    nics.subscribe(controller.look)
    daemon.health.add_check("libvirt", hypervisor.problem)
    daemon.at_stop(controller.close)
    daemon.at_stop(hypervisor.close)
    daemon.at_stop(deathwatch.close)
    daemon.start("libvirt events", hypervisor.run_events)
    daemon.start("libvirt connection", hypervisor.keep_connected)
    daemon.start("deathwatch", deathwatch.run)
    daemon.start("placements", placements.run)
    daemon.start("statuses", statuses.run)
    daemon.start("look through", controller.look_through)
    daemon.start("serial logs", logs.keep_bounded)
    for number in range(_WORKERS):
        daemon.start(f"worker {number}", controller.work)


def _look_of(controller: Controller[Placement, VmStatus, Observation, Action]) -> Callable[[str | None], None]:
    """What is done when the hypervisor has news of a VM, or, as it has just been connected to, of any."""

    def look(vm_uuid: str | None) -> None:
        try:
            if vm_uuid is None:
                controller.look_at_all()
            else:
                controller.look(vm_uuid)
        except UcloudError as error:
            _log.warning("can't look through what exists: %s", error)

    return look


def _nics(daemon: Daemon, placements: Cache[Placement], networks: NetworkBook) -> Nics:
    nics = Nics(placements, networks, mtu_of)
    news = LinkNews(lambda _: nics.look(), nics.look)
    daemon.at_stop(news.close)
    daemon.start("links", news.run)
    return nics


def _check_migration_uri(uri: str) -> None:
    try:
        if uri:
            destination.check(uri)
    except PermanentError as error:
        raise ConfigurationError(f"vm.migration_uri: {error}") from error


def _permit(daemon: Daemon) -> Permit:
    host = daemon.settings.host
    lifeline = Lifeline(host.run_directory, boot_id()) if daemon.settings.fence.counts_on_guard else None
    return Permit(daemon.store, host.name, lifeline, host.alive_ttl_s)


def _make_directories(*directories: Path) -> None:
    for directory in directories:
        try:
            # QEMU, as a user of its own, must get through to its sockets and its log, but need not list them.
            directory.mkdir(0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"[vm] {directory}: {error.strerror}") from error


def _lock(directory: Path) -> None:
    """Make sure that no other ucloud-vm works on this host for as long as this process lives."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ConfigurationError(f"another ucloud-vm works with vm.state_directory {directory}") from error


if __name__ == "__main__":
    main()

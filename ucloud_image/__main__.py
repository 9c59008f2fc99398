"""ucloud-image: wiring only."""

import os

from common import daemon, keys
from common.controller import Controller
from common.errors import ConfigurationError, TemporaryError
from common.events import EventLog, StatusEvents
from common.leader import Election
from common.schemas.image import ImageRequest, ImageStatus
from common.storage.choice import open_store
from ucloud_image import qemu_img
from ucloud_image.driver import ImageDriver, Records
from ucloud_image.leadership import Leadership
from ucloud_image.news import news
from ucloud_image.plan import plan
from ucloud_image.workshop import Workshop

DEFAULT_PORT = 9704
_WORKERS = 4


def wire(host: daemon.Daemon) -> None:
    """Build the daemon's parts and start its threads."""
    qemu_img.ensure_it_runs()
    images = open_store(host.settings.storage)
    directory = host.settings.image.work_directory or host.settings.storage.ssd_directory / "import"
    try:
        workshop = Workshop(directory, host.settings.image.reserve_gib)
    except TemporaryError as error:
        raise ConfigurationError(f"image.work_directory: {error}") from error
    requests = host.cache(keys.IMAGE, ImageRequest)
    statuses = host.cache(keys.STATUS_IMAGE, ImageStatus)
    election = Election(host.store, "image", f"{host.settings.host.name}:{os.getpid()}", host.metrics)
    leadership = Leadership(election, (requests, statuses))
    driver = ImageDriver(Records(host.store, requests, statuses, leadership), images, workshop, host.settings.image)
    controller = Controller(host.store, requests, statuses, plan, driver, host.metrics, leadership.guard)
    log = EventLog(host.store, keys.IMAGE_REPORTER, host.settings.event.ttl_s)
    controller.tell_events(StatusEvents(log, "image", news))

    host.health.add_fact("role", leadership.role)
    host.at_stop(controller.close)
    host.at_stop(leadership.wake)
    host.start("requests", requests.run)
    host.start("statuses", statuses.run)
    host.start("leadership", lambda stop: leadership.run(stop, controller.look_at_all))
    host.start("look through", controller.look_through)
    for number in range(_WORKERS):
        host.start(f"worker {number}", controller.work)
    host.start("election", election.run)


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-image", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()

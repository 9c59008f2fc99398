"""ucloud-image: wiring only."""

import os
from collections.abc import Callable

from common import daemon, keys
from common.cache import Cache
from common.controller import Controller
from common.errors import ConfigurationError, TemporaryError
from common.events import EventLog, StatusEvents
from common.leader import Election
from common.schemas.file import UploadedFile
from common.schemas.image import DEFAULT_STORE, ImageRequest, ImageStatus, elected_as
from common.storage.choice import open_store
from ucloud_image import qemu_img
from ucloud_image.driver import ImageDriver, Records
from ucloud_image.file_plan import plan as plan_file
from ucloud_image.file_scanner import FileDriver, NoRequests
from ucloud_image.folder_watch import FolderWatch, Hints
from ucloud_image.folders import FolderLimits, UploadFolders
from ucloud_image.leadership import Leadership
from ucloud_image.news import news
from ucloud_image.own_images import OwnImages
from ucloud_image.plan import plan
from ucloud_image.signboard import Signboard
from ucloud_image.workshop import Workshop

DEFAULT_PORT = 9704
_WORKERS = 4
_SCANNERS = 2


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
    store_name = host.settings.storage.name
    instance = f"{host.settings.host.name}:{os.getpid()}"
    election = Election(host.store, elected_as(store_name), instance, host.metrics)
    files = host.cache(keys.FILE, UploadedFile)
    leadership = Leadership(election, (requests, statuses, files))
    driver = ImageDriver(Records(host.store, requests, statuses, leadership), images, workshop, host.settings.image)
    own = OwnImages(requests, statuses, store_name)
    controller = Controller(host.store, own, statuses, plan, driver, host.metrics, leadership.guard)
    driver.announce_to(controller.will_report)
    log = EventLog(host.store, keys.IMAGE_REPORTER, host.settings.event.ttl_s)
    controller.tell_events(StatusEvents(log, "image", news))

    host.health.add_fact("role", leadership.role)
    host.at_stop(controller.close)
    host.at_stop(leadership.wake)
    host.start("requests", requests.run)
    host.start("statuses", statuses.run)
    host.start("files", files.run)
    files.subscribe(lambda key: _look_at_images_of(key, files, requests, controller.look))
    # One tells what was uploaded, whichever store it is for.
    scan = _wire_scanner(host, files, leadership) if store_name == DEFAULT_STORE else lambda: None
    signboard = Signboard(host.store, host.settings.storage, images, leadership.guard)
    host.at_stop(signboard.look)
    host.start("signboard", signboard.run)

    def begin() -> None:
        controller.look_at_all()
        scan()
        signboard.look()

    host.start("leadership", lambda stop: leadership.run(stop, begin))
    host.start("look through", controller.look_through)
    for number in range(_WORKERS):
        host.start(f"worker {number}", controller.work)
    host.start("election", election.run)


def _look_at_images_of(
    file_key: str, files: Cache[UploadedFile], requests: Cache[ImageRequest], look: Callable[[str], None]
) -> None:
    """A file is whole: the images that are wanted from it need not wait for their next try."""
    if cached := files.get(file_key):
        wanted = (cached.record.owner, cached.record.name)
        for key, request in requests.records().items():
            if (request.record.uploaded_by or request.record.owner, request.record.file) == wanted:
                look(keys.last_part(key))


def _wire_scanner(host: daemon.Daemon, files: Cache[UploadedFile], leadership: Leadership) -> Callable[[], None]:
    """What finds uploaded files; returns what has it look at all of them."""
    image = host.settings.image
    driver = FileDriver(image.upload_directory, UploadFolders(image.upload_directory, FolderLimits(0, 0)))
    scanner = Controller(host.store, NoRequests(), files, plan_file, driver, host.metrics, leadership.guard)
    watch = FolderWatch(image.upload_directory, Hints(scanner.look, driver.known_of, scanner.look_at_all))
    host.at_stop(scanner.close)
    host.at_stop(watch.wake)
    host.start("folder watch", watch.run)
    host.start("look through files", scanner.look_through)
    for number in range(_SCANNERS):
        host.start(f"scanner {number}", scanner.work)
    return scanner.look_at_all


def main() -> None:
    """Run the daemon until a signal."""
    daemon.main("ucloud-image", DEFAULT_PORT, wire)


if __name__ == "__main__":
    main()

"""Two image stores, each with image daemons of its own, on one etcd."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from common import keys
from common.schemas.image import ImageActual
from common.schemas.image_store import ImageStoreStatus
from common.settings import StorageSettings
from common.storage.directory import DirectoryStore
from common.store import Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_image.conftest import Images
from ucloud_image.signboard import Signboard

DEADLINE_S = 10.0
Start = Callable[[str], DaemonProcess]


@pytest.fixture
def start(images: Images, etcd: EtcdCluster, tmp_path: Path) -> Iterator[Start]:
    """Starts an image daemon of a store; they end with the test."""
    started: list[DaemonProcess] = []

    def daemon_of(store: str) -> DaemonProcess:
        environment = {
            "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
            "UCLOUD_STORAGE_NAME": store,
            "UCLOUD_STORAGE_SSD_DIRECTORY": str(tmp_path / store),
            "UCLOUD_IMAGE_UPLOAD_DIRECTORY": str(images.uploads.parent),
        }
        daemon = DaemonProcess("ucloud_image", tmp_path / f"image{len(started)}.log", environment)
        started.append(daemon)
        daemon.wait_healthy()
        return daemon

    yield daemon_of
    for daemon in started:
        daemon.close()


def templates(directory: Path) -> list[str]:
    """The images in a store."""
    return sorted(path.stem for path in (directory / "templates").glob("*.qcow2"))


def told_of(store: Store, name: str) -> ImageStoreStatus | None:
    """What etcd says of a store."""
    entry = store.get(keys.image_store_status(name))
    return ImageStoreStatus.read(entry.key, entry.value) if entry else None


def test_each_store_gets_its_images_and_leaves_the_others_alone(images: Images, start: Start, tmp_path: Path) -> None:
    images.make_good("debian.qcow2")
    start("default")
    plain, fast = images.request("debian.qcow2"), images.request("debian.qcow2", store="fast")
    assert images.wait_status(plain).actual is ImageActual.READY
    assert images.status(fast) is None
    first = start("fast")
    assert images.wait_status(fast).store == "fast"
    assert templates(tmp_path / "default") == [plain.uuid]
    assert templates(tmp_path / "fast") == [fast.uuid]
    # A store whose daemon is away waits; the other's does not step in, not even to forget.
    first.kill()
    images.delete(fast)
    images.delete(plain)
    images.wait_gone(plain)
    assert images.status(fast) is not None
    assert templates(tmp_path / "fast") == [fast.uuid]
    start("fast")
    images.wait_gone(fast)
    assert templates(tmp_path / "fast") == []


def test_a_store_is_told_of_with_what_is_wrong_with_it(store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "fast"
    settings = StorageSettings(name="fast", ssd_directory=directory)
    leads, stop = Event(), Event()
    guard = absent(keys.leader("image/fast"))
    signboard = Signboard(store, settings, DirectoryStore(settings), lambda: guard if leads.is_set() else None)
    thread = Thread(target=signboard.run, args=(stop,))
    thread.start()

    def wait_problem(expected: str) -> ImageStoreStatus:
        signboard.look()

        def look() -> ImageStoreStatus | None:
            told = told_of(store, "fast")
            is_so = told is not None and bool(told.problem) == bool(expected) and expected in told.problem
            return told if is_so else None

        return wait_for(f"word of {expected!r}", look, DEADLINE_S)

    try:
        signboard.look()
        leads.set()
        status = wait_problem("")
        assert (status.name, status.kind, status.images, status.hdd) == ("fast", "directory", 0, None)
        assert status.ssd is not None
        assert 0 < (status.ssd.free_mib or 0) <= status.ssd.total_mib
        directory.rename(tmp_path / "away")
        broken = wait_problem("is it mounted?")
        assert broken.ssd == status.ssd
        (tmp_path / "away").rename(directory)
        assert wait_problem("").since > broken.since
    finally:
        stop.set()
        signboard.look()
        thread.join()

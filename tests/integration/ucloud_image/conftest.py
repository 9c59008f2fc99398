"""Fixtures: an upload folder, a store directory, and real image daemons on a real etcd."""

import hashlib
import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common import admission, keys
from common.schemas.image import ImageActual, ImageRequest, ImageRequested, ImageStatus
from common.schemas.user import Account
from common.store import Put, Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess

DEADLINE_S = 30.0
MAX_VIRTUAL_GIB = 10
FINAL = frozenset({ImageActual.READY, ImageActual.REJECTED})


def qemu_img(*arguments: object) -> None:
    """Run qemu-img as an uploader would on a machine of their own."""
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


def qemu_io(path: Path, command: str) -> None:
    """Write into an image."""
    subprocess.run(["qemu-io", "-c", command, str(path)], check=True, capture_output=True)


class Images:
    """Requests images as the API does, and reads what became of them."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.uploads = directory / "uploads" / "alice"
        self.uploads.mkdir(parents=True)
        self.ssd = directory / "ssd"
        self.ssd.mkdir()

    def make_good(self, name: str, megabytes: int = 4) -> Path:
        """A qcow2 file with data in the upload folder."""
        path = self.uploads / name
        qemu_img("create", "-f", "qcow2", path, "64M")
        qemu_io(path, f"write -P 7 1M {megabytes}M")
        return path

    def request(self, file: str, store: str = "default") -> ImageRequest:
        """An image is wanted from `file`."""
        image_uuid = str(uuid.uuid4())
        name = f"i-{image_uuid[:8]}"
        request = ImageRequest(
            uuid=image_uuid, owner="alice", name=name, file=file, store=store, created_at=datetime.now(UTC)
        )
        step = admission.admit_image(request, self._account_revision())
        self.store.commit(step.compares, step.operations)
        return request

    def _account_revision(self) -> int:
        """Of alice's account, which is made when there is none."""
        key = keys.account("alice")
        entry = self.store.get(key)
        if entry:
            return entry.mod_revision
        account = Account(name="alice", realm="ucloud", created_at=datetime.now(UTC))
        return self.store.commit([absent(key)], [Put(key, account.to_json())])

    def delete(self, request: ImageRequest) -> None:
        """The image is to go."""
        entry = self.store.get(keys.image(request.uuid))
        assert entry is not None
        changed = {"requested": ImageRequested.DELETED, "generation": request.generation + 1}
        step = admission.delete_image(request.model_copy(update=changed), entry.mod_revision)
        self.store.commit(step.compares, step.operations)

    def status(self, request: ImageRequest) -> ImageStatus | None:
        """The status as it is."""
        key = keys.image_status(request.uuid)
        entry = self.store.get(key)
        return ImageStatus.read(key, entry.value) if entry else None

    def wait_status(self, request: ImageRequest, actuals: frozenset[ImageActual] = FINAL) -> ImageStatus:
        """The status as soon as it is one of `actuals`."""

        def look() -> ImageStatus | None:
            status = self.status(request)
            return status if status and status.actual in actuals else None

        return wait_for(f"{set(actuals)} of {request.file}", look, DEADLINE_S)

    def wait_gone(self, request: ImageRequest) -> None:
        """Wait until nothing is left of an image in etcd."""
        of_it = [keys.image(request.uuid), keys.image_status(request.uuid), keys.name("alice", "image", request.name)]
        wait_for(f"the end of {request.file}", lambda: not any(map(self.store.get, of_it)), DEADLINE_S)

    def template(self, request: ImageRequest) -> Path:
        """Where the template of an image is, if there is one."""
        return self.ssd / "templates" / f"{request.uuid}.qcow2"

    def work_left(self) -> list[Path]:
        """Folders of imports."""
        return [path for path in (self.ssd / "import").iterdir() if path.is_dir()]


def sha256(path: Path) -> str:
    """The digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


StartImageDaemon = Callable[[], DaemonProcess]


@pytest.fixture
def images(store: Store, tmp_path: Path) -> Images:
    """An empty etcd, an empty store, an empty upload folder."""
    return Images(store, tmp_path)


@pytest.fixture
def start_daemon(images: Images, etcd: EtcdCluster, tmp_path: Path) -> Iterator[StartImageDaemon]:
    """Starts image daemons on the same store; they end with the test."""
    started: list[DaemonProcess] = []
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_STORAGE_SSD_DIRECTORY": str(images.ssd),
        "UCLOUD_IMAGE_UPLOAD_DIRECTORY": str(images.uploads.parent),
        "UCLOUD_IMAGE_MAX_VIRTUAL_GIB": str(MAX_VIRTUAL_GIB),
    }

    def start() -> DaemonProcess:
        daemon = DaemonProcess("ucloud_image", tmp_path / f"image{len(started)}.log", environment)
        started.append(daemon)
        daemon.wait_healthy()
        return daemon

    yield start
    for daemon in started:
        daemon.close()

"""An image's life in a Ceph: a real image daemon, real etcd, real cluster."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.schemas.image import ImageActual, ImageRequest
from common.settings import StorageSettings
from devcloud.ceph import CLIENT, CephCluster
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from devcloud.written import variables
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_image.conftest import DEADLINE_S, Images, StartImageDaemon


@pytest.fixture
def start_daemon(
    images: Images, etcd: EtcdCluster, rbd_settings: StorageSettings, tmp_path: Path
) -> Iterator[StartImageDaemon]:
    """Starts image daemons on the same Ceph; they end with the test."""
    started: list[DaemonProcess] = []
    settings = rbd_settings.model_copy(update={"rbd_timeout_s": 5})
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_IMAGE_UPLOAD_DIRECTORY": str(images.uploads.parent),
        "UCLOUD_IMAGE_WORK_DIRECTORY": str(tmp_path / "import"),
        **variables("storage", settings),
    }

    def start() -> DaemonProcess:
        daemon = DaemonProcess("ucloud_image", tmp_path / f"image{len(started)}.log", environment)
        started.append(daemon)
        daemon.wait_healthy()
        return daemon

    yield start
    for daemon in started:
        daemon.close()


def templates(ceph: CephCluster, request: ImageRequest) -> list[str]:
    """What is in the cluster of an image."""
    return [name for name in ceph.rbd("ls", "ssd").split() if request.uuid in name]


def test_an_upload_becomes_a_template_and_goes_again(
    images: Images, start_daemon: StartImageDaemon, ceph: CephCluster, tmp_path: Path
) -> None:
    upload = images.make_good("debian.qcow2")
    start_daemon()
    request = images.request("debian.qcow2")
    assert images.wait_status(request).actual is ImageActual.READY
    (template,) = templates(ceph, request)
    there = f"rbd:ssd/{template}:id={CLIENT}:conf={ceph.layout.conf}"
    subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", str(upload), there], check=True)
    assert list((tmp_path / "import").glob("*.*")) == [tmp_path / "import/.lock"]
    images.delete(request)
    images.wait_gone(request)
    assert templates(ceph, request) == []


def test_a_killed_import_is_done_again_by_another_instance(
    images: Images, start_daemon: StartImageDaemon, ceph: CephCluster
) -> None:
    images.make_good("debian.qcow2", megabytes=60)
    first = start_daemon()
    request = images.request("debian.qcow2")
    wait_for("a draft", lambda: templates(ceph, request), DEADLINE_S)
    first.kill()
    start_daemon()
    assert images.wait_status(request).actual is ImageActual.READY
    wait_for("one template and nothing else", lambda: len(templates(ceph, request)) == 1, DEADLINE_S)


def test_an_import_into_a_cluster_that_hangs_waits_with_its_reason(
    images: Images, start_daemon: StartImageDaemon, ceph: CephCluster
) -> None:
    images.make_good("debian.qcow2")
    start_daemon()
    ceph.pause("ceph-osd")
    try:
        request = images.request("debian.qcow2")
        wait_for(
            "the reason", lambda: "does not answer" in getattr(images.status(request), "reason", ""), 2 * DEADLINE_S
        )
    finally:
        ceph.resume("ceph-osd")
    assert images.wait_status(request).actual is ImageActual.READY
    assert len(templates(ceph, request)) == 1

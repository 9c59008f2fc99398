"""An image's life, with a real image daemon, a real etcd and real qemu-img: import, interruption, deletion."""

import json
import os
import subprocess
import threading

from common import keys
from common.schemas.image import ImageActual, ImageStatus
from common.settings import StorageSettings
from common.storage.directory import DirectoryStore
from devcloud.waiting import wait_for
from tests.integration.common.storage.disks import sized
from tests.integration.ucloud_image.conftest import DEADLINE_S, Images, StartImageDaemon, qemu_img, sha256


def test_a_good_upload_becomes_a_template(images: Images, start_daemon: StartImageDaemon) -> None:
    upload = images.make_good("debian.qcow2")
    start_daemon()
    request = images.request("debian.qcow2")
    status = images.wait_status(request)
    assert (status.actual, status.reason, status.generation) == (ImageActual.READY, "", 1)
    assert (status.virtual_size_mib, status.file_size_bytes) == (64, upload.stat().st_size)
    assert status.sha256 == sha256(upload)
    template = images.template(request)
    qemu_img("compare", "-f", "qcow2", "-F", "qcow2", upload, template)
    assert template.stat().st_mode & 0o777 == 0o444
    assert (template.stat().st_uid, template.stat().st_nlink) == (os.geteuid(), 1)
    assert images.work_left() == []


def test_an_import_tells_how_far_it_is(images: Images, start_daemon: StartImageDaemon) -> None:
    images.make_good("debian.qcow2")
    start_daemon()
    before = images.store.list(keys.IMAGE).revision
    request = images.request("debian.qcow2")
    images.wait_status(request)
    told: list[tuple[ImageActual, int]] = []
    stop = threading.Event()
    for news in images.store.watch(keys.image_status(request.uuid), before + 1, stop):
        statuses = [ImageStatus.read(change.key, change.value) for change in news.changes if change.value]
        told += [(status.actual, status.percent) for status in statuses]
        if told and told[-1][0] is ImageActual.READY:
            stop.set()
            break
    assert told[:2] == [(ImageActual.CHECKING, 0), (ImageActual.IMPORTING, 0)]
    assert told[-2:] == [(ImageActual.IMPORTING, 100), (ImageActual.READY, 0)]


def test_only_the_contents_of_the_disk_get_into_the_template(images: Images, start_daemon: StartImageDaemon) -> None:
    upload = images.make_good("debian.qcow2")
    qemu_img("bitmap", "--add", upload, "left-by-the-uploader")
    start_daemon()
    request = images.request("debian.qcow2")
    assert images.wait_status(request).actual is ImageActual.READY
    info = subprocess.run(
        ["qemu-img", "info", "--output=json", images.template(request)], check=True, capture_output=True, text=True
    )
    assert "bitmaps" not in json.loads(info.stdout)["format-specific"]["data"]


def test_an_image_is_deleted_with_its_template(images: Images, start_daemon: StartImageDaemon) -> None:
    images.make_good("debian.qcow2")
    start_daemon()
    request = images.request("debian.qcow2")
    images.wait_status(request)
    images.delete(request)
    images.wait_gone(request)
    assert not images.template(request).exists()
    # Its name is free again.
    again = images.request("debian.qcow2")
    assert images.wait_status(again).actual is ImageActual.READY


def test_a_refused_image_is_deleted(images: Images, start_daemon: StartImageDaemon) -> None:
    start_daemon()
    request = images.request("missing.qcow2")
    assert images.wait_status(request).actual is ImageActual.REJECTED
    images.delete(request)
    images.wait_gone(request)


def test_a_template_stays_while_a_disk_rests_on_it(images: Images, start_daemon: StartImageDaemon) -> None:
    images.make_good("debian.qcow2")
    start_daemon()
    request = images.request("debian.qcow2")
    images.wait_status(request)
    disks = DirectoryStore(StorageSettings(ssd_directory=images.ssd))
    vm = "00000000-0000-4000-8000-000000000001"
    disks.create(vm, request.uuid, sized(64))
    images.delete(request)
    wait_for("the reason", lambda: "in use" in getattr(images.status(request), "reason", ""), DEADLINE_S)
    assert images.template(request).exists()
    disks.remove(vm)
    images.wait_gone(request)
    assert not images.template(request).exists()


def test_a_killed_import_is_done_again_by_another_instance(images: Images, start_daemon: StartImageDaemon) -> None:
    images.make_good("debian.qcow2", megabytes=60)
    for number in range(10):
        (images.uploads / f"d{number}.qcow2").write_bytes((images.uploads / "debian.qcow2").read_bytes())
    first = start_daemon()
    requests = [images.request(f"d{number}.qcow2") for number in range(10)]
    wait_for("work in progress", images.work_left, DEADLINE_S)
    first.kill()
    left = len(images.work_left())
    start_daemon()
    for request in requests:
        assert images.wait_status(request).actual is ImageActual.READY
        qemu_img("compare", images.uploads / str(request.file), images.template(request))
    assert left > 0
    wait_for("a clean workshop", lambda: images.work_left() == [], DEADLINE_S)


def test_the_standby_takes_over_with_everything(images: Images, start_daemon: StartImageDaemon) -> None:
    images.make_good("debian.qcow2")
    first = start_daemon()
    first.wait_role("leading")
    second = start_daemon()
    second.wait_role("standby")
    first.pause()
    request = images.request("debian.qcow2")
    assert images.wait_status(request).actual is ImageActual.READY
    second.wait_role("leading")
    before = images.template(request).stat()
    first.resume()
    first.wait_role("standby")
    assert images.template(request).stat() == before
    assert images.status(request) is not None

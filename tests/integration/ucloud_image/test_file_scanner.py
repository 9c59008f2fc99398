"""Which files are recorded: those that are whole, as they are, and no others."""

import os
import stat
import threading
import time
from pathlib import Path

from common import keys
from common.schemas.file import UploadedFile
from common.schemas.image import ImageActual
from devcloud.waiting import wait_for
from tests.integration.ucloud_image.conftest import DEADLINE_S, Images, StartImageDaemon, sha256
from ucloud_image.folder_watch import FolderWatch, Hints


def _files(images: Images) -> dict[str, UploadedFile]:
    entries = images.store.list(keys.FILE).entries
    return {entry.key.removeprefix(keys.FILE): UploadedFile.read(entry.key, entry.value) for entry in entries}


def _wait_names(images: Images, *names: str) -> dict[str, UploadedFile]:
    wait_for(f"records of {names}", lambda: sorted(_files(images)) == sorted(names), DEADLINE_S)
    return _files(images)


def test_files_are_recorded_as_they_are_and_forgotten(images: Images, start_daemon: StartImageDaemon) -> None:
    (images.uploads / "before.qcow2").write_bytes(b"before")
    start_daemon()
    found = _wait_names(images, "alice/before.qcow2")
    assert found["alice/before.qcow2"].size_bytes == 6
    (images.uploads / "after.qcow2").write_bytes(b"after")
    found = _wait_names(images, "alice/before.qcow2", "alice/after.qcow2")
    assert found["alice/after.qcow2"].sha256 == sha256(images.uploads / "after.qcow2")
    bob = images.uploads.parent / "bob"
    bob.mkdir()
    (bob / "bobs").write_bytes(b"bob")
    _wait_names(images, "alice/before.qcow2", "alice/after.qcow2", "bob/bobs")
    (images.uploads / "before.qcow2").rename(images.uploads / "renamed")
    (images.uploads / "after.qcow2").write_bytes(b"another content")
    digest = sha256(images.uploads / "after.qcow2")
    wait_for("its digest", lambda: getattr(_files(images).get("alice/after.qcow2"), "sha256", "") == digest, DEADLINE_S)
    (bob / "bobs").unlink()
    bob.rmdir()
    _wait_names(images, "alice/renamed", "alice/after.qcow2")
    images.uploads.rename(images.uploads.parent / "carol")
    _wait_names(images, "carol/renamed", "carol/after.qcow2")


def test_what_is_not_whole_or_no_plain_file_is_not_recorded(images: Images, start_daemon: StartImageDaemon) -> None:
    start_daemon()
    (images.uploads / "link").symlink_to("/etc/hostname")
    (images.uploads / "hardlink").write_bytes(b"x")
    os.link(images.uploads / "hardlink", images.uploads / "hardlink2")
    os.mkfifo(images.uploads / "pipe")
    (images.uploads / ".hidden").write_bytes(b"x")
    (images.uploads / "folder").mkdir()
    path = images.uploads / "unfinished"
    path.touch(0o600)
    path.chmod(stat.S_ISVTX | 0o600)
    path.write_bytes(b"half")
    (images.uploads / "last").write_bytes(b"x")
    _wait_names(images, "alice/last")
    path.chmod(0o600)
    _wait_names(images, "alice/last", "alice/unfinished")
    path.chmod(stat.S_ISVTX | 0o600)
    _wait_names(images, "alice/last")


def test_what_happened_while_nobody_watched_is_found(images: Images, start_daemon: StartImageDaemon) -> None:
    for number in range(3):
        (images.uploads / f"f{number}").write_bytes(b"x" * number)
    first = start_daemon()
    _wait_names(images, "alice/f0", "alice/f1", "alice/f2")
    first.kill()
    (images.uploads / "f0").unlink()
    (images.uploads / "f1").write_bytes(b"another")
    (images.uploads / "f3").write_bytes(b"new")
    start_daemon()
    found = _wait_names(images, "alice/f1", "alice/f2", "alice/f3")
    wait_for("the digest", lambda: _files(images)["alice/f1"].sha256 == sha256(images.uploads / "f1"), DEADLINE_S)
    assert found["alice/f2"].sha256 == sha256(images.uploads / "f2")


def test_an_image_waits_for_its_file_to_be_whole(images: Images, start_daemon: StartImageDaemon) -> None:
    path = images.make_good("debian.qcow2")
    path.chmod(stat.S_ISVTX | 0o600)
    daemon = start_daemon()
    request = images.request("debian.qcow2")
    status = images.wait_status(request, frozenset({ImageActual.ERROR}))
    assert "still being uploaded" in status.reason
    wait_for("a pause of some seconds", lambda: daemon.log.read_text().count("still being uploaded") > 4, DEADLINE_S)
    path.chmod(0o600)
    began_s = time.monotonic()
    assert images.wait_status(request).actual is ImageActual.READY
    assert time.monotonic() - began_s < 3, "it waited for its next try"


def test_more_than_can_be_told_has_everything_looked_at(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()
    looks: list[str] = []
    seen_all = threading.Semaphore(0)
    flooded = threading.Event()

    def look_at_all() -> None:
        seen_all.release()
        if len(looks) == 0:
            flooded.wait(DEADLINE_S)  # as a watcher that was not given the processor

    watch = FolderWatch(tmp_path, Hints(looks.append, lambda _owner: (), look_at_all))
    stop = threading.Event()
    thread = threading.Thread(target=watch.run, args=(stop,), daemon=True)
    thread.start()
    try:
        assert seen_all.acquire(timeout=DEADLINE_S)
        most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
        for number in range(most // 2 + 1):
            path = tmp_path / "alice" / f"f{number}"
            path.touch()
            path.unlink()
        flooded.set()
        assert seen_all.acquire(timeout=DEADLINE_S), "not looked at again"
        (tmp_path / "alice" / "later").touch()
        wait_for("news after that", lambda: "alice/later" in looks, DEADLINE_S)
    finally:
        stop.set()
        watch.wake()
        thread.join(DEADLINE_S)

"""Uploads by the client: resumed after whatever cut them, checked, and made images of."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common import keys
from common.schemas.image import ImageActual
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import Program
from tests.integration.ucloud_cli.terminal import Terminal
from tests.integration.ucloud_image.conftest import qemu_img, qemu_io
from tests.integration.upload_server import SftpServer, SftpUsers

MIB = 1024 * 1024
SIZE = 8 * MIB
DEADLINE_S = 30.0


@pytest.fixture
def users(world: World, tmp_path: Path) -> SftpUsers:
    """A place for files."""
    return SftpUsers(world.store, tmp_path)


@pytest.fixture
def start_server(users: SftpUsers, etcd: EtcdCluster, tmp_path: Path) -> Iterator[Callable[..., SftpServer]]:
    """Starts an upload server."""
    started: list[SftpServer] = []

    def start(**settings: object) -> SftpServer:
        server = SftpServer(users, tmp_path, etcd, **settings)
        started.append(server)
        server.wait_healthy()
        wait_for("its place", lambda: users.store.list(keys.UPLOAD_SERVER).entries, DEADLINE_S)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A file of the user."""
    path = tmp_path / "debian.qcow2"
    path.write_bytes(os.urandom(SIZE))
    return path


def _uploaded(users: SftpUsers, owner: str = "admin") -> Path:
    return users.folder(owner) / "debian.qcow2"


def _part_bytes(users: SftpUsers) -> int:
    return sum(path.stat().st_size for path in (users.folder("admin") / ".part").rglob("*") if path.is_file())


def test_a_file_is_uploaded_listed_and_deleted(
    ucloud: Program, users: SftpUsers, start_server: Callable[..., SftpServer], local: Path
) -> None:
    server = start_server()
    said = ucloud("file", "upload", str(local))
    assert said.status == 0, said.err
    assert "8.0 MiB" in said.out
    assert _uploaded(users).read_bytes() == local.read_bytes()
    said = ucloud("file", "upload", str(local), "-o", "json")
    assert hashlib.sha256(local.read_bytes()).hexdigest() in said.out
    assert server.metric("ucloud_upload_bytes_total", way="http") == SIZE, "sent again"
    assert ucloud("file", "list").err == "ucloud: there are no files\n"  # nobody records them in this test
    assert ucloud("file", "delete", "debian.qcow2").status == 0
    assert ucloud("file", "delete", "debian.qcow2").status == 4
    assert not _uploaded(users).exists()


def test_a_client_that_died_is_gone_on_with(
    ucloud: Program, users: SftpUsers, start_server: Callable[..., SftpServer], local: Path
) -> None:
    server = start_server(sftp_mib_per_s=2)
    process = ucloud.start("file", "upload", str(local))
    wait_for("half of it", lambda: _part_bytes(users) > SIZE // 4, DEADLINE_S)
    process.kill()
    process.communicate()
    assert not _uploaded(users).exists()
    said = ucloud("file", "upload", str(local))
    assert said.status == 0, said.err
    assert _uploaded(users).read_bytes() == local.read_bytes()
    assert server.metric("ucloud_upload_bytes_total", way="http") < SIZE + SIZE // 2


def test_a_server_that_died_is_waited_for(
    ucloud: Program, users: SftpUsers, start_server: Callable[..., SftpServer], local: Path
) -> None:
    server = start_server(sftp_mib_per_s=2)
    process = ucloud.start("file", "upload", str(local))
    wait_for("half of it", lambda: _part_bytes(users) > SIZE // 4, DEADLINE_S)
    server.kill()
    before = _part_bytes(users)
    server.start()
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert "debian.qcow2" in out
    assert _uploaded(users).read_bytes() == local.read_bytes()
    assert server.metric("ucloud_upload_bytes_total", way="http") <= SIZE - before + MIB


def test_ctrl_c_says_how_to_go_on(
    ucloud: Program, users: SftpUsers, start_server: Callable[..., SftpServer], local: Path
) -> None:
    start_server(sftp_mib_per_s=2)
    process = ucloud.start("file", "upload", str(local))
    wait_for("a part of it", lambda: _part_bytes(users) > 0, DEADLINE_S)
    process.send_signal(2)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on with it" in err


def test_a_terminal_shows_how_far_it_is(
    ucloud: Program, users: SftpUsers, start_server: Callable[..., SftpServer], local: Path
) -> None:
    start_server(sftp_mib_per_s=4)
    with Terminal(ucloud, "file", "upload", str(local)) as terminal:
        terminal.wait_shown(b"debian.qcow2: uploading")
        terminal.wait_shown(b"100%")
        assert terminal.process.wait(DEADLINE_S) == 0
    shown = {int(percent) for percent in re.findall(rb" (\d+)%", terminal.shown)}
    assert len(shown) > 5, shown


def test_what_can_not_be_uploaded_is_said(
    ucloud: Program, users: SftpUsers, start_server: Callable[..., SftpServer], local: Path, tmp_path: Path
) -> None:
    start_server(image_upload_files=1)
    assert ucloud("file", "upload", str(tmp_path / "missing")).status == 2
    assert ucloud("file", "upload", str(tmp_path)).status == 2
    odd = tmp_path / "my image.qcow2"
    odd.write_bytes(b"x")
    assert "--name" in ucloud("file", "upload", str(odd)).err
    assert ucloud("file", "upload", str(odd), "--name", "odd").status == 0
    said = ucloud("file", "upload", str(local))
    assert (said.status, "which is the most" in said.err) == (5, True)


def test_an_image_is_made_of_a_local_file(
    ucloud: Program,
    users: SftpUsers,
    start_server: Callable[..., SftpServer],
    world: World,
    etcd: EtcdCluster,
    tmp_path: Path,
) -> None:
    start_server()
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_STORAGE_SSD_DIRECTORY": str(tmp_path / "ssd"),
        "UCLOUD_IMAGE_UPLOAD_DIRECTORY": str(users.uploads),
    }
    (tmp_path / "ssd").mkdir()
    image_daemon = DaemonProcess("ucloud_image", tmp_path / "image.log", environment)
    try:
        image_daemon.wait_healthy()
        local = tmp_path / "debian.qcow2"
        qemu_img("create", "-f", "qcow2", local, "64M")
        qemu_io(local, "write -P 7 1M 4M")
        said = ucloud("image", "create", "debian", "--file", str(local))
        assert said.status == 0, said.err
        assert ImageActual.READY in said.out
        listed = wait_for("the file", lambda: ucloud("file", "list").out, DEADLINE_S)
        assert re.search(r"debian\.qcow2 +admin", listed)
        assert hashlib.sha256(local.read_bytes()).hexdigest() in ucloud("file", "show", "debian.qcow2").out
    finally:
        image_daemon.close()

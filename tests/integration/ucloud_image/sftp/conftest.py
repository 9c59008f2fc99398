"""Fixtures: users, and upload servers for them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.daemons import DEADLINE_S
from tests.integration.upload_server import SftpServer, SftpUsers

StartSftp = Callable[..., SftpServer]


@pytest.fixture
def users(store: Store, tmp_path: Path) -> SftpUsers:
    """alice and bob."""
    found = SftpUsers(store, tmp_path)
    found.add("alice")
    found.add("bob")
    return found


@pytest.fixture
def start_sftp(users: SftpUsers, etcd: EtcdCluster, tmp_path: Path) -> Iterator[StartSftp]:
    """Starts an upload server with some settings; it ends with the test."""
    started: list[SftpServer] = []

    def start(**settings: object) -> SftpServer:
        server = SftpServer(users, tmp_path, etcd, **settings)
        started.append(server)
        server.wait_healthy()
        return server

    yield start
    for server in started:
        server.close()


def wait_size(path: Path, size_bytes: int) -> None:
    """Wait until a file has so many bytes at least."""
    wait_for(f"{size_bytes} bytes in {path}", lambda: path.exists() and path.stat().st_size >= size_bytes, DEADLINE_S)

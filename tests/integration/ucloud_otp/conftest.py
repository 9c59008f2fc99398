"""Fixtures of the tests of ucloud-otp: the real process on a real etcd, and people with seeds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from tests.integration.ucloud_otp_server import OtpServer, Person


@pytest.fixture
def server(etcd: EtcdCluster, store: Store, tmp_path: Path) -> Iterator[OtpServer]:
    """A running ucloud-otp."""
    server = OtpServer(etcd.endpoints, tmp_path / "otp.log")
    server.daemon.wait_healthy()
    yield server
    server.daemon.close()


@pytest.fixture
def service(store: Store) -> Person:
    """A service that verifies others."""
    return Person(store, "web", "ungleich-auth")


@pytest.fixture
def admin(store: Store) -> Person:
    """An admin of names and seeds."""
    return Person(store, "root", "ungleich-admin")


@pytest.fixture
def ann(store: Store) -> Person:
    """A user."""
    return Person(store, "ann", "ucloud")

"""A host of its own for these tests, and an etcd that it reaches."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.network import Network
from tests.integration.ucloud_meta.world import World, set_up_host


@pytest.fixture(scope="session")
def host() -> Iterator[Network]:
    """A namespace that is the host, with a network to this machine."""
    host = Network(f"meta-{os.getpid()}", secrets.token_hex(5))
    try:
        set_up_host(host)
        yield host
    finally:
        host.remove()


@pytest.fixture(scope="session")
def etcd(host: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd that the host reaches, instead of the one of other tests."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), address=host.control_address) as cluster:
        yield cluster


@pytest.fixture
def world(store: Store, etcd: EtcdCluster, host: Network, tmp_path: Path) -> Iterator[World]:
    """The host with ucloud-meta, which is not started yet. What it logs must hold no traceback."""
    world = World(store, etcd, host, tmp_path / "meta.log")
    try:
        yield world
    finally:
        world.close()
    assert "Traceback" not in world.daemon.log()

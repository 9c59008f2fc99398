"""Fixtures of the API's tests: the application on a real etcd, and the program as a process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from common.settings import ApiSettings, EtcdSettings, Settings
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World
from ucloud_api.app import create_app
from ucloud_api.worker.state import State


@pytest.fixture
def world(store: Store) -> World:
    """An empty etcd to write into."""
    return World(store)


@pytest.fixture
def state(etcd: EtcdCluster, store: Store) -> Iterator[State]:
    """What a worker of the API holds."""
    state = State(Settings(etcd=EtcdSettings(endpoints=etcd.endpoints), api=ApiSettings(threads=4)))
    state.start()
    yield state
    state.close()


@pytest.fixture
def nobody(state: State) -> FlaskClient:
    """The API, asked without a network between, by somebody who is not logged in."""
    return create_app(state).test_client()


@pytest.fixture
def api(nobody: FlaskClient, world: World) -> FlaskClient:
    """The API, asked by the admin "admin"; a header of another session goes before: `bearer(token)`."""
    world.add_account("admin", is_admin=True)
    client = nobody.application.test_client()
    client.environ_base.update(HTTP_AUTHORIZATION=f"Bearer {world.log_in('admin')}")
    return client


@pytest.fixture
def served(etcd: EtcdCluster, store: Store, tmp_path: Path) -> Iterator[DaemonProcess]:
    """The program ucloud-api with two workers; it listens on [::1]:`port`."""
    port = free_port()
    environment = {"UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints), "UCLOUD_API_PORT": str(port)}
    daemon = DaemonProcess("ucloud_api", tmp_path / "api.log", environment)
    daemon.port = port
    try:
        daemon.wait_healthy()
        yield daemon
        assert daemon.end() == 0
    finally:
        daemon.close()

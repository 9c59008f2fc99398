"""Fixtures of the client's tests: the real API on a real etcd, and the program as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from tests.integration.daemons import DaemonProcess, free_port
from tests.integration.ucloud_api.world import World


@dataclass(frozen=True)
class Said:
    """What a run of the program printed, and its exit status."""

    out: str
    err: str
    status: int


Run = Callable[..., Said]


@pytest.fixture
def world(store: Store) -> World:
    """An empty etcd to write into."""
    return World(store)


@pytest.fixture(scope="module")
def api_url(etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where ucloud-api answers."""
    port = free_port()
    environment = {"UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints), "UCLOUD_API_PORT": str(port)}
    daemon = DaemonProcess("ucloud_api", tmp_path_factory.mktemp("api") / "api.log", environment)
    daemon.port = port
    try:
        daemon.wait_healthy()
        yield f"http://[::1]:{port}"
    finally:
        daemon.close()


def run_program(url: str, *arguments: str) -> Said:
    """`ucloud ARGUMENTS`, as a process of its own."""
    environment = {**os.environ, "UCLOUD_URL": url, "http_proxy": "http://[::1]:1"}
    command = [sys.executable, "-m", "ucloud_cli", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return Said(done.stdout, done.stderr, done.returncode)


@pytest.fixture
def ucloud(api_url: str) -> Run:
    """The program, with the API's URL in its environment."""
    return lambda *arguments: run_program(api_url, *arguments)

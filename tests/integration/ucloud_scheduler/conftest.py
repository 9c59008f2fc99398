"""Fixtures: a cloud in an empty etcd, and real scheduler processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_scheduler.cloud import Cloud

StartScheduler = Callable[..., DaemonProcess]


@pytest.fixture
def cloud(store: Store) -> Cloud:
    """An empty cloud."""
    return Cloud(store)


@pytest.fixture
def start_scheduler(cloud: Cloud, etcd: EtcdCluster, tmp_path: Path) -> Iterator[StartScheduler]:
    """Starts schedulers: `start_scheduler(endpoints=...)`; they end with the test."""
    started: list[DaemonProcess] = []

    def start(endpoints: tuple[str, ...] = etcd.endpoints) -> DaemonProcess:
        log = tmp_path / f"scheduler{len(started)}.log"
        daemon = DaemonProcess("ucloud_scheduler", log, {"UCLOUD_ETCD_ENDPOINTS": ",".join(endpoints)})
        started.append(daemon)
        daemon.wait_healthy()
        return daemon

    yield start
    for daemon in started:
        daemon.close()

"""A host with its daemon, for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from tests.integration.ucloud_ipam.rig import Rig


@pytest.fixture
def rig(store: Store, etcd: EtcdCluster, tmp_path: Path) -> Iterator[Rig]:
    """The host `h1`, whose daemon runs."""
    with Rig(store, etcd.endpoints[0], tmp_path) as rig:
        rig.start()
        yield rig

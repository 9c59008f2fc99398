"""Fixtures of the tests of ucloud-firewall."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from tests.integration.ucloud_firewall.rig import Rig


@pytest.fixture
def rig(store: Store, etcd: EtcdCluster, tmp_path: Path) -> Iterator[Rig]:
    """A host with ucloud-firewall, and no VM."""
    rig = Rig(store, etcd.endpoints[0], tmp_path)
    yield rig
    rig.close()

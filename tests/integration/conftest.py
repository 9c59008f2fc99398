"""Fixtures of the integration tests: a real etcd of one member, and one of three."""

import shutil
from collections.abc import Iterator
from contextlib import suppress

import pytest

from common.errors import Conflict
from common.settings import StorageSettings
from common.store import Delete, EtcdOptions, Store, present
from devcloud.ceph import CephCluster
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.slapd import Slapd, running_slapd
from tests.needs import need


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd of one member, shared by the session; `store` empties it before each test."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@pytest.fixture
def store(etcd: EtcdCluster) -> Iterator[Store]:
    """A store on an empty etcd."""
    store = Store(EtcdOptions(etcd.endpoints))
    for entry in store.list("/").entries:
        with suppress(Conflict):  # a key with a lease may go by itself
            store.commit([present(entry.key)], [Delete(entry.key)])
    yield store
    store.close()


@pytest.fixture
def etcd3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """A fresh etcd of three members, for a test that breaks some of them."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd3"), members=3) as cluster:
        yield cluster


@pytest.fixture
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """An LDAP server without users."""
    with running_slapd(tmp_path_factory.mktemp("slapd")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CephCluster]:
    """A Ceph shared by the session; `rbd_settings` empties its pools before each test."""
    daemons = ("ceph-mon", "ceph-osd", "ceph-mgr")
    need(all(map(shutil.which, daemons)), "ceph-mon, ceph-osd and ceph-mgr are not installed: make setup")
    with CephCluster(tmp_path_factory.mktemp("ceph")) as cluster:
        wait_for("what there is room for", cluster.knows_room, 60)
        yield cluster


@pytest.fixture
def rbd_settings(ceph: CephCluster) -> StorageSettings:
    """The settings of a store in the session's Ceph, which is empty."""
    ceph.empty()
    return ceph.storage_settings()

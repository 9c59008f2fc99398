"""A VM host of its own for these tests, shared by them: guests are expensive."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.store import EtcdOptions, Store
from devcloud.etcd import EtcdCluster
from devcloud.first_vm import build_image
from devcloud.host import VmHost
from devcloud.network import Network
from tests.integration.common.storage.disks import stage
from tests.integration.ucloud_vm.pair import Pair
from tests.integration.ucloud_vm.rig import BLANK, IMAGE, Rig


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    """The network between the hosts and this machine."""
    network = Network(f"vm-{os.getpid()}", secrets.token_hex(5))
    network.create()
    yield network
    network.remove()


@pytest.fixture(scope="session")
def etcd(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """An etcd of one member that the hosts reach, in place of the one that all other tests share."""
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), address=network.control_address) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def host_rig(etcd: EtcdCluster, network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A host with libvirtd and the image of the guest in its store."""
    run = Path(f"/run/ucloud-test-{os.getpid()}")  # short, for the paths of sockets
    host = VmHost(1, network, tmp_path_factory.mktemp("h1"), run)
    store = Store(EtcdOptions(etcd.endpoints))
    host.create()
    rig = Rig(host, store, etcd.endpoints)
    try:
        prepared = rig.store_directory / "prepared.qcow2"
        shutil.copyfile(build_image(), prepared)
        rig.images.publish(IMAGE, stage(rig.images, IMAGE, prepared))
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(prepared), "1M"], check=True)
        rig.images.publish(BLANK, stage(rig.images, BLANK, prepared))
        rig.start("libvirtd")
        yield rig
    finally:
        rig.end()
        store.close()
        shutil.rmtree(run)


@pytest.fixture(scope="session")
def second_rig(host_rig: Rig, etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Another host in the same network, which shares the store of the first one."""
    host = VmHost(2, host_rig.host.network, tmp_path_factory.mktemp("h2"), host_rig.host.run / "h2")
    host.create()
    rig = Rig(host, host_rig.store, etcd.endpoints, host_rig.store_directory)
    try:
        rig.start("libvirtd")
        yield rig
    finally:
        rig.end()


@pytest.fixture
def rig(host_rig: Rig, store: Store) -> Iterator[Rig]:
    """The host with ucloud-vm, on an empty etcd."""
    host_rig.start("ucloud-vm")
    yield host_rig
    host_rig.kill("ucloud-vm")


@pytest.fixture
def pair(rig: Rig, second_rig: Rig) -> Iterator[Pair]:
    """Two hosts with ucloud-vm that share a store, on an empty etcd."""
    second_rig.start("ucloud-vm")
    yield Pair(rig, second_rig)
    second_rig.kill("ucloud-vm")

"""A VM host of its own for these tests, shared by them: guests are expensive."""

import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.store import EtcdOptions, Store
from devcloud.etcd import EtcdCluster
from devcloud.first_vm import build_image
from devcloud.host import VmHost
from devcloud.network import Network
from tests.integration.ucloud_vm.rig import BLANK, IMAGE, Rig


def _free_port() -> int:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def host_rig(etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A host with libvirtd and the image of the guest in its store."""
    network = Network(f"vm-{os.getpid()}", secrets.token_hex(5))
    run = Path(f"/run/ucloud-test-{os.getpid()}")  # short, for the paths of sockets
    host = VmHost(1, network, tmp_path_factory.mktemp("h1"), run)
    store = Store(EtcdOptions(etcd.endpoints))
    network.create()
    host.create()
    rig = Rig(host, store, etcd.endpoints, _free_port())
    try:
        shutil.copyfile(build_image(), rig.images.staging(IMAGE))
        rig.images.import_template(IMAGE, rig.images.staging(IMAGE))
        blank = rig.images.staging(BLANK)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(blank), "1M"], check=True)
        rig.images.import_template(BLANK, blank)
        rig.start("libvirtd")
        yield rig
    finally:
        rig.end()
        network.remove()
        store.close()
        shutil.rmtree(run)


@pytest.fixture(scope="session")
def second_rig(host_rig: Rig, etcd: EtcdCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Another host in the same network, which shares the store of the first one."""
    host = VmHost(2, host_rig.host.network, tmp_path_factory.mktemp("h2"), host_rig.host.run / "h2")
    host.create()
    rig = Rig(host, host_rig.store, etcd.endpoints, _free_port(), host_rig.store_directory)
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

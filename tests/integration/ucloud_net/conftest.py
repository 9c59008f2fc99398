"""Two hosts with ucloud-net in a network of their own, and an etcd that both reach; shared, emptied by each test."""

import os
import secrets
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from common.store import EtcdOptions, Store
from devcloud.etcd import EtcdCluster
from devcloud.network import Network
from tests.integration.ucloud_net.world import Host, World


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The hosts, without daemons."""
    cloud = Network(f"net-{os.getpid()}", secrets.token_hex(5))
    cloud.create()
    try:
        with EtcdCluster(tmp_path_factory.mktemp("etcd-net"), address=cloud.control_address) as etcd:
            store = Store(EtcdOptions(etcd.endpoints))
            made = [_make_host(cloud, number, etcd, tmp_path_factory) for number in (1, 2)]
            yield World(cloud, store, made, etcd)
            store.close()
    finally:
        cloud.remove()


def _make_host(cloud: Network, number: int, etcd: EtcdCluster, paths: pytest.TempPathFactory) -> Host:
    name, address = f"h{number}", str(IPv6Address(cloud.host_address(number)))  # as the kernel writes it
    cloud.create_host(name, number)
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_HEALTH_ADDRESS": address,
        "UCLOUD_HOST_NAME": name,
        "UCLOUD_NET_UNDERLAY": "eth0",
    }
    return Host(name, cloud.namespace(name), address, paths.mktemp(name) / "log", environment)


@pytest.fixture
def world(hosts: World) -> Iterator[World]:
    """Both hosts, each with ucloud-net, and nothing on them; nothing is left on them afterwards."""
    yield from _world(hosts)


@pytest.fixture
def unicast_world(hosts: World) -> Iterator[World]:
    """As `world`, with frames flooded by unicast."""
    yield from _world(hosts, UCLOUD_NET_FLOODING="unicast")


def _world(hosts: World, **settings: str) -> Iterator[World]:
    try:
        for host in hosts.hosts:
            host.log.unlink(missing_ok=True)
            host.begin(**settings)
        for host in hosts.hosts:
            host.wait_well()
        yield hosts
        hosts.clear()
        for host in hosts.hosts:
            assert host.end() == 0
            assert "Traceback" not in host.log.read_text(), host.log.read_text()
    finally:
        for host in hosts.hosts:
            host.kill()
        hosts.forget()

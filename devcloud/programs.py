"""The programs of a cloud, each with its command and where it answers /healthz."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from devcloud import etcd
from devcloud.host import VmHost
from devcloud.services import Program

SCRIPTS = Path(sys.executable).parent
PATH = f"{SCRIPTS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NETWORK_DAEMONS = {"ucloud-firewall": 9707, "ucloud-net": 9706, "ucloud-ipam": 9708, "ucloud-meta": 9709}
_PORTS = {
    "ucloud-scheduler": 9701,
    "ucloud-host": 9702,
    "ucloud-vm": 9703,
    "ucloud-image": 9704,
    "ucloud-otp": 9705,
    **_NETWORK_DAEMONS,
}


def etcd_members(members: tuple[etcd.Member, ...], token: str) -> Iterator[Program]:
    """The members of the cluster that `token` names."""
    binary = etcd.find_binary()
    for member in members:
        yield Program(member.name, etcd.command(binary, member, members, token))


def daemon(name: str, environment: Mapping[str, str], address: str) -> Program:
    """A daemon of the control plane, which answers at `address`."""
    return Program(name, [str(SCRIPTS / name)], environment, f"http://[{address}]:{_PORTS[name]}/healthz")


def scheduler(number: int, environment: Mapping[str, str], address: str) -> Program:
    """The first scheduler, or one that stands by beside it, at a port of its own."""
    name = "ucloud-scheduler"
    if number == 1:
        return daemon(name, environment, address)
    port = _PORTS[name] + 10 * number
    environment = {**environment, "UCLOUD_HEALTH_PORT": str(port)}
    return Program(f"{name}{number}", [str(SCRIPTS / name)], environment, f"http://[{address}]:{port}/healthz")


def of_host(host: VmHost) -> Iterator[Program]:
    """What runs on a VM host, in its namespaces."""
    yield Program(f"libvirtd@{host.name}", host.libvirtd(), host.environment)
    if host.hypervisor == "test":
        # What libvirt's test driver runs is there for as long as somebody is connected to it.
        listen = host.virsh("event", "--event", "lifecycle", "--loop")
        yield Program(f"libvirt-listener@{host.name}", host.enter(*listen), host.environment)
    if host.has_networks:
        yield Program(f"bird@{host.name}", host.enter(*host.bird.command), host.environment)
    environment = {"UCLOUD_CONFIG": str(host.settings_file), **host.environment}
    names = ["ucloud-host-guard", "ucloud-host-alive", "ucloud-host", "ucloud-vm"]
    for name in [*names, *(_NETWORK_DAEMONS if host.has_networks else ())]:
        url = f"http://[{host.address}]:{_PORTS[name]}/healthz" if name in _PORTS else ""
        yield Program(f"{name}@{host.name}", host.enter(str(SCRIPTS / name)), environment, url)

"""Hosts that are namespaces of this machine, each with a real ucloud-net, and guests that are namespaces behind taps.

The scheduler, the API and the hypervisor are the test: it writes networks and placements, and makes the taps.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import requests

from common import keys
from common.errors import Conflict
from common.schemas.network import NetworkActual, NetworkRequest, NetworkStatus
from common.schemas.port import Port, eui64
from common.schemas.vm import Placement, Role, Specs, VmRequest
from common.store import Delete, Put, Store, absent, present, unchanged
from devcloud import processes
from devcloud.etcd import EtcdCluster
from devcloud.network import Network
from devcloud.waiting import wait_for
from tests.integration.ucloud_net.probe import ping

HEAL_S = 3.0
BUILD_S = 60.0
_SPECS = Specs.of(cpu=1, ram_mib=64, ssd_mib=1)


def ip(namespace: str, *arguments: str) -> str:
    """What `ip` says in a namespace; an error is the test's."""
    command = ["ip", "-n", namespace, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def run(namespace: str, *command: str) -> str:
    """What a program says in a namespace."""
    return subprocess.run(
        ["ip", "netns", "exec", namespace, *command], check=True, capture_output=True, text=True
    ).stdout


def show(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    """What `ip -j` lists in a namespace; nothing where what it is about does not exist."""
    command = ["ip", "-n", namespace, "-j", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return [each for each in found if each]


@dataclass
class Host:
    """A host, and ucloud-net on it."""

    name: str
    namespace: str
    address: str
    log: Path
    environment: dict[str, str]
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, **settings: str) -> None:
        """Start ucloud-net, with UCLOUD_* `settings`; returns when it is well."""
        self.begin(**settings)
        self.wait_well()

    def wait_well(self) -> None:
        """Wait until it is well."""
        wait_for(f"ucloud-net on {self.name} well, see {self.log}", self.is_well, 30)

    def begin(self, **settings: str) -> None:
        """Start ucloud-net."""
        # With the capability that its unit leaves it, and no other one.
        confined = ["setpriv", "--pdeathsig", "KILL", "--bounding-set", "-all,+net_admin"]
        command = ["ip", "netns", "exec", self.namespace, *confined]
        environment = {**os.environ, **self.environment, **settings}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, sys.executable, "-m", "ucloud_net"], env=environment, stdout=log, stderr=log
            )

    def is_well(self) -> bool:
        """Whether /healthz says so."""
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(f"http://[{self.address}]:9706/healthz", timeout=2).ok
            except requests.RequestException:
                return False

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it: SIGSTOP."""
        assert self._process is not None
        processes.freeze(self._process.pid)

    def resume(self) -> None:
        """Let it go on: SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        """Ask it to end; returns its exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(15)
        self._process = None
        return status

    def links(self) -> dict[str, dict[str, Any]]:
        """All its links by name, with details."""
        return {str(link["ifname"]): link for link in show(self.namespace, "-d", "link", "show")}

    def ours(self) -> dict[str, int]:
        """The links that belong to networks, and the index of each."""
        return {name: link["ifindex"] for name, link in self.links().items() if name.startswith(("ucbr", "ucvx"))}

    def addresses(self, link: str) -> set[str]:
        """The addresses of a link, with the length of each's prefix."""
        found = show(self.namespace, "addr", "show", "dev", link)
        return {f"{each['local']}/{each['prefixlen']}" for one in found for each in one["addr_info"]}

    def routes(self, link: str) -> set[str]:
        """Where the IPv6 routes into a link lead, in whichever table; without those that its addresses brought."""
        found = show(self.namespace, "-6", "route", "show", "table", "all", "dev", link)
        return {str(each["dst"]) for each in found if each.get("type", "unicast") == "unicast"} - {
            "fd00:ec2::253",
            "fd00:ec2::254",
        }

    def floods(self, link: str) -> set[str]:
        """Where a VXLAN link sends what is for everybody."""
        found = json.loads(run(self.namespace, "bridge", "-j", "fdb", "show", "dev", link))
        return {each["dst"] for each in found if each["mac"] == "00:00:00:00:00:00"}


@dataclass(frozen=True)
class Guest:
    """A VM with one port: a namespace whose eth0 is the other end of the port's tap."""

    vm: str
    host: Host
    network: NetworkRequest
    port: Port
    namespace: str

    @property
    def address(self) -> str:
        """Its IPv6 address."""
        return str(self.port.ipv6)

    def reaches(self, address: str, size: int = 100) -> bool:
        """Whether `address` answers, within a second, a packet of `size` octets."""
        return ping(self.namespace, address, size, 1.0, "eth0")

    def wait_reaches(self, address: str, timeout_s: float = BUILD_S) -> None:
        """Wait until `address` answers."""
        wait_for(f"{self.address} reaches {address}", lambda: self.reaches(address), timeout_s)

    def neighbour(self, address: str) -> str:
        """The MAC address that it knows for `address`."""
        found = show(self.namespace, "-6", "neigh", "show", address)
        return str(found[0].get("lladdr", "")) if found else ""


class World:
    """The hosts, and what the control plane and the hypervisors would do."""

    def __init__(self, cloud: Network, store: Store, hosts: list[Host], etcd: EtcdCluster) -> None:
        self.cloud = cloud
        self.store = store
        self.etcd = etcd
        self.hosts = hosts
        self._guests: list[Guest] = []
        self._vni = 0x100

    def make_network(self, prefix: str | None = None, **more: Any) -> NetworkRequest:
        """A network as the API writes it."""
        self._vni += 1
        values = {
            "uuid": str(uuid.uuid4()),
            "owner": "ann",
            "name": f"n{self._vni}",
            "vni": self._vni,
            "prefix": prefix or f"fd75:636c:0:{self._vni:x}::/64",
            "created_at": datetime.now(UTC),
        }
        network = NetworkRequest.model_validate({**values, **more})
        self.store.commit([absent(keys.network(network.uuid))], [Put(keys.network(network.uuid), network.to_json())])
        return network

    def order(
        self, host: Host, network: NetworkRequest, *, role: Role = Role.RUN, vm: str = "", **port: Any
    ) -> tuple[str, Port]:
        """Place a VM with a port on the network; returns the VM and the port."""
        name = secrets.token_hex(5)
        made = Port.model_validate({"id": name, "network": network.uuid, "ipv6": eui64(network.prefix, name), **port})
        vm = vm or str(uuid.uuid4())
        now = datetime.now(UTC)
        request = VmRequest(
            uuid=vm, owner="ann", name=f"v{name}", specs=_SPECS, image="i", created_at=now, ports=(made,)
        )
        placement = Placement(epoch=1, role=role, generation=1, request=request, placed_at=now)
        key = keys.placement(host.name, vm)
        entry = self.store.get(key)
        self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, placement.to_json())])
        return vm, made

    def plug(self, host: Host, network: NetworkRequest, **port: Any) -> Guest:
        """A VM that runs: placed, its network built, its tap made in the bridge as libvirt does it, configured."""
        vm, made = self.order(host, network, **port)
        mtu = self.wait_active(host, network).mtu
        guest = Guest(vm, host, network, made, f"{host.namespace}.{made.id}")
        self._guests.append(guest)
        ip(host.namespace, "link", "add", made.tap, "mtu", str(mtu), "type", "veth", "peer", "name", "peer")
        subprocess.run(["ip", "netns", "add", guest.namespace], check=True)
        ip(host.namespace, "link", "set", "peer", "netns", guest.namespace)
        ip(host.namespace, "link", "set", made.tap, "master", network.bridge, "up")
        inside = guest.namespace
        ip(inside, "link", "set", "peer", "name", "eth0", "address", made.mac, "mtu", str(mtu))
        ip(inside, "link", "set", "lo", "up")
        ip(inside, "link", "set", "eth0", "up")
        ip(inside, "addr", "add", f"{made.ipv6}/64", "dev", "eth0", "nodad")
        ip(inside, "-6", "route", "add", "default", "via", "fe80::a9fe:a9fe", "dev", "eth0")
        if isinstance(made.ipv4, IPv4Address) and network.ipv4:
            ip(inside, "addr", "add", f"{made.ipv4}/{network.ipv4.prefixlen}", "dev", "eth0")
            ip(inside, "route", "add", "169.254.169.254", "dev", "eth0")
        return guest

    def withdraw(self, host: Host, vm: str) -> None:
        """The VM is to be on the host no more."""
        key = keys.placement(host.name, vm)
        self.store.commit([present(key)], [Delete(key)])

    def spoil(self, key: str) -> None:
        """Have something at `key` that nobody can read."""
        self.store.commit([present(key)], [Put(key, b"{")])

    def unplug(self, guest: Guest) -> None:
        """Its guest ends, and its tap with it."""
        self._guests.remove(guest)
        ip(guest.host.namespace, "link", "del", guest.port.tap)
        subprocess.run(["ip", "netns", "del", guest.namespace], check=True)

    def status(self, host: Host, network: NetworkRequest) -> NetworkStatus | None:
        """What a host says of a network."""
        entry = self.store.get(keys.network_status(host.name, network.uuid))
        return NetworkStatus.read(entry.key, entry.value) if entry else None

    def wait_active(self, host: Host, network: NetworkRequest, timeout_s: float = BUILD_S) -> NetworkStatus:
        """Wait until a network is built."""

        def active() -> NetworkStatus | None:
            status = self.status(host, network)
            return status if status and status.actual is NetworkActual.ACTIVE else None

        return wait_for(f"{network.name} active on {host.name}, see {host.log}", active, timeout_s)

    def wait_reason(self, host: Host, network: NetworkRequest) -> str:
        """Wait until a network can't be built; returns why."""

        def failed() -> str:
            status = self.status(host, network)
            return status.reason if status and status.actual is NetworkActual.ERROR else ""

        return wait_for(f"{network.name} in error on {host.name}", failed, BUILD_S)

    def clear(self) -> None:
        """All VMs go; wait until nothing is left of any network."""
        for guest in list(self._guests):
            self.unplug(guest)
        for entry in self.store.list(keys.PLACEMENT).entries:
            self.store.commit([present(entry.key)], [Delete(entry.key)])
        wait_for("nothing left of any network", self.is_clear, BUILD_S)
        for entry in self.store.list(keys.NETWORK).entries:
            self.store.commit([present(entry.key)], [Delete(entry.key)])

    def is_clear(self) -> bool:
        """Whether nothing is left of any network, in the kernels and in etcd."""
        left = [name for host in self.hosts for name in host.ours()]
        told = [*self.store.list(keys.STATUS_NETWORK).entries, *self.store.list(keys.ENDPOINT).entries]
        return not left and not told

    def forget(self) -> None:
        """Clear away what a failed test may have left, whoever does not answer."""
        for guest in list(self._guests):
            subprocess.run(["ip", "netns", "del", guest.namespace], check=False, capture_output=True)
        self._guests.clear()
        for host in self.hosts:
            for link in host.ours():
                subprocess.run(["ip", "-n", host.namespace, "link", "del", link], check=False, capture_output=True)
        for entry in self.store.list(keys.ROOT).entries:
            try:
                self.store.commit([present(entry.key)], [Delete(entry.key)])
            except Conflict:
                continue

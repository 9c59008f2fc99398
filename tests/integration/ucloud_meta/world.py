"""A host in a namespace, with bridges as ucloud_net makes them, and guests in namespaces of their own.

What the guests do is done by real programs in their namespaces: curl, and sockets of a Python there.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from common import keys
from common.errors import Conflict
from common.schemas.host import HostRequest
from common.schemas.network import GATEWAY, GATEWAY_MAC, METADATA_V4, METADATA_V6, NetworkRequest
from common.schemas.port import Port, eui64
from common.schemas.vm import Placement, Role, Specs, VmRequest
from common.store import Delete, Put, Store, present, unchanged
from devcloud.etcd import EtcdCluster
from devcloud.network import Network
from devcloud.waiting import wait_for

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOST = "h1"
PREFIX = IPv6Network("2001:db8:7::/64")
IPV4 = IPv4Network("10.7.0.0/24")
DEADLINE_S = 20.0
ADDRESSES = (f"[{METADATA_V6}]", f"[{GATEWAY}]", METADATA_V4)


@dataclass(frozen=True)
class Reply:
    """What curl got: 0 as the status where there was no answer."""

    status: int
    body: str
    headers: str


def ip(*commands: str, namespace: str = "") -> None:
    """Run commands of ip(8), in a namespace."""
    where = ["-n", namespace] if namespace else []
    text = "\n".join(commands) + "\n"
    done = subprocess.run(["ip", *where, "-batch", "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {where}: {text}{done.stderr}"


def network(number: int, *, ipv4: bool = True) -> NetworkRequest:
    """Network `number`. All of them have the same prefixes."""
    return NetworkRequest(
        uuid=f"net-{number}", owner="ann", name=f"net{number}", vni=number, prefix=PREFIX, mtu=1430,
        ipv4=IPV4 if ipv4 else None, isolated=True, created_at=NOW,
    )  # fmt: skip


def port(number: int, net: int, *, address: int | None = None) -> Port:
    """Port `number` on network `net`; the same number of an `address` is the same address, on whichever network."""
    port_id = f"{number:010x}"
    own = eui64(PREFIX, port_id) if address is None else PREFIX[address]
    return Port(id=port_id, network=f"net-{net}", ipv6=own, ipv4=IPV4[number if address is None else address])


def request(name: str, *ports: Port, user_data: str = "", ssh_keys: tuple[str, ...] = ()) -> VmRequest:
    """A VM called `name`; its uuid is the name, too."""
    specs = Specs.of(cpu=1, ram_mib=64, ssd_mib=1)
    return VmRequest(uuid=name, owner="ann", name=name, specs=specs, image="image-1", created_at=NOW, ports=ports,
                     user_data=user_data, ssh_keys=ssh_keys)  # fmt: skip


class Guest:
    """A namespace that is a guest's, plugged into a bridge as a tap is."""

    def __init__(self, world: "World", its: Port, mac: str | None = None) -> None:
        self.world = world
        self.port = its
        self.namespace = world.host.namespace(f"{its.id}.{its.network}")
        self._mac = mac or its.mac
        ip(f"netns add {self.namespace}")
        ip(
            "link set lo up",
            f"link add eth0 address {self._mac} type veth peer name {its.tap} netns {world.namespace}",
            "link set eth0 up",
            f"address add {its.ipv6}/64 dev eth0 nodad",
            f"address add {its.ipv4}/24 dev eth0",
            f"route add {METADATA_V6} via {GATEWAY} dev eth0",
            f"route add {METADATA_V4} dev eth0",
            namespace=self.namespace,
        )
        self.plug()

    def plug(self) -> None:
        """Put its tap into the bridge of its network."""
        bridge = f"ucbr{self.port.network.removeprefix('net-')}"
        ip(f"link set {self.port.tap} addrgenmode none master {bridge} up", namespace=self.world.namespace)

    def command(self, *command: str) -> list[str]:
        """The command that runs `command` inside."""
        return ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.namespace, *command]

    def get(self, path: str, *options: str, address: str = ADDRESSES[0], timeout_s: float = 3) -> Reply:
        """Ask for a path by curl; options of it may be added."""
        host = address.replace("]", "%25eth0]") if "fe80" in address else address
        command = self.command(
            "curl", "-sgi", "--path-as-is", "--noproxy", "*", "-m", str(timeout_s), *options, f"http://{host}{path}"
        )
        done = subprocess.run(command, capture_output=True, check=False, timeout=timeout_s + 10)
        head, _, body = done.stdout.decode().partition("\r\n\r\n")
        if head.startswith("HTTP/1.1 100"):
            head, _, body = body.partition("\r\n\r\n")
        return Reply(int(head.split()[1]) if head else 0, body, head)

    def who(self, address: str = ADDRESSES[0]) -> str:
        """As whom it is answered: the instance-id, or the status."""
        reply = self.get("/latest/meta-data/instance-id", address=address)
        return reply.body if reply.status == 200 else str(reply.status)

    def python(self, script: str, *arguments: str) -> "subprocess.Popen[str]":
        """Start a Python inside; who started it ends it."""
        return subprocess.Popen(
            self.command(sys.executable, "-c", script, *arguments), stdout=subprocess.PIPE, stdin=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def remove(self) -> None:
        """Take it away; its tap goes with it."""
        ip(f"netns delete {self.namespace}")


class Daemon:
    """ucloud-meta in the host's namespace. It ends with the test's process, whatever happens to that."""

    def __init__(self, host: Network, etcd: EtcdCluster, log: Path) -> None:
        self._log = log
        self._namespace = host.namespace(HOST)
        self._url = f"http://[{host.host_address(1)}]:9709"
        self._environment = {
            **os.environ,
            "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
            "UCLOUD_HEALTH_ADDRESS": host.host_address(1),
            "UCLOUD_HOST_NAME": HOST,
            "UCLOUD_META_ZONE": "cloud-1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it is well."""
        enter = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self._namespace]
        # With no more than its unit lets it have.
        capabilities = "-all,+net_bind_service"
        confine = ["setpriv", f"--bounding-set={capabilities}", f"--inh-caps={capabilities}", "--no-new-privs"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*enter, *confine, sys.executable, "-m", "ucloud_meta"], env=self._environment, stdout=log, stderr=log
            )
        wait_for(f"ucloud-meta healthy, see {self._log}", self.is_healthy, DEADLINE_S)

    def is_healthy(self) -> bool:
        """Whether /healthz says so."""
        try:
            return requests.get(f"{self._url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def metric(self, name: str, **labels: str) -> float:
        """The sample with these labels from /metrics, 0 if there is none."""
        text = requests.get(f"{self._url}/metrics", timeout=10).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found = (sample for sample in samples if sample.name == name and labels.items() <= sample.labels.items())
        return next((sample.value for sample in found), 0.0)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def end(self) -> int:
        """Ask it to end; returns its exit status."""
        assert self._process
        self._process.terminate()
        return self._process.wait(DEADLINE_S)

    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text() if self._log.exists() else ""


class World:
    """The host's namespace, etcd, and ucloud-meta, which is not started yet."""

    def __init__(self, store: Store, etcd: EtcdCluster, host: Network, log: Path) -> None:
        self.store = store
        self.host = host
        self.namespace = host.namespace(HOST)
        self.daemon = Daemon(host, etcd, log)
        self._bridges: list[int] = []
        self._guests: list[Guest] = []

    def bridge(self, *numbers: int) -> None:
        """Make the bridges of networks, as ucloud_net does."""
        for number in numbers:
            name = f"ucbr{number}"
            ip(
                f"link add {name} address {GATEWAY_MAC} type bridge mcast_snooping 0",
                f"link set {name} addrgenmode none up",
                f"address add {GATEWAY}/64 dev {name} nodad",
                f"address add {METADATA_V6}/128 dev {name} nodad",
                f"address add {METADATA_V4}/32 dev {name} scope link",
                f"route add {PREFIX} dev {name} metric {number}",
                f"route add {IPV4} dev {name} metric {number}",
                namespace=self.namespace,
            )
            self._bridges.append(number)

    def unbridge(self, number: int) -> None:
        """Take a network's bridge away."""
        self._bridges.remove(number)
        ip(f"link delete ucbr{number}", namespace=self.namespace)

    def write(self, key: str, value: bytes) -> None:
        """Write a key, whatever it holds."""
        entry = self.store.get(key)
        self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, value)])

    def networks(self, *numbers: int) -> None:
        """Write networks."""
        for number in numbers:
            self.write(keys.network(f"net-{number}"), network(number).to_json())

    def place(self, vm: VmRequest, role: Role = Role.RUN) -> None:
        """Order a VM to this host."""
        placement = Placement(epoch=1, role=role, generation=1, request=vm, placed_at=NOW)
        self.write(keys.placement(HOST, vm.uuid), placement.to_json())

    def unplace(self, uuid: str) -> None:
        """Take the order back."""
        key = keys.placement(HOST, uuid)
        with suppress(Conflict):
            self.store.commit([present(key)], [Delete(key)])

    def label(self, labels: dict[str, str]) -> None:
        """Write the admin's word on the host."""
        self.write(keys.host(HOST), HostRequest(name=HOST, labels=labels).to_json())

    def guest(self, its: Port, mac: str | None = None) -> Guest:
        """Plug a guest in."""
        guest = Guest(self, its, mac)
        self._guests.append(guest)
        return guest

    def answered(self, guest: Guest, who: str, addresses: Iterable[str] = ADDRESSES) -> None:
        """Wait until a guest is answered as `who`, then see that it is so at each address."""
        wait_for(f"{guest.namespace} is answered as {who}", lambda: guest.who() == who, DEADLINE_S)
        assert {address: guest.who(address) for address in addresses} == dict.fromkeys(addresses, who)

    def close(self) -> None:
        """End all of it."""
        self.daemon.kill()
        for guest in self._guests:
            guest.remove()
        for number in list(self._bridges):
            self.unbridge(number)


def set_up_host(host: Network) -> None:
    """Make the host's namespace as a host's administrator and ucloud_net have it."""
    host.create()
    host.create_host(HOST, 1)
    settings = [
        "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf.all.arp_ignore=1",
    ]  # fmt: skip
    settings += [f"net.bridge.bridge-nf-call-{table}=0" for table in ("arptables", "iptables", "ip6tables")]
    # -e: bridges may be without these.
    command = ["ip", "netns", "exec", host.namespace(HOST), "sysctl", "-eqw", *settings]
    subprocess.run(command, check=True, capture_output=True)

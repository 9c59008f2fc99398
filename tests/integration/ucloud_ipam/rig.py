"""A host and guests that are network namespaces, networks that are bridges, and the daemon in the host's namespace.

Each guest is at the other end of a veth that is called as its port's tap. The daemon reaches etcd by a unix socket,
which namespaces of the network don't separate.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import dns.exception
import dns.message
import dns.query
from pyroute2 import netns

from common import keys
from common.schemas.network import AddressHolder, NetworkRequest
from common.schemas.port import Port, eui64
from common.schemas.vm import Placement, Specs, VmRequest
from common.store import Delete, Put, Store, present, unchanged
from devcloud.waiting import wait_for
from tests.integration.relay import Relay
from tests.unit.ucloud_ipam.guests import dhcpv6, option6

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEADLINE_S = 60.0
NAME_SERVER = "fd00:ec2::253"
T = TypeVar("T")


def ip(namespace: str | None, *commands: str) -> None:
    """Run commands of ip(8)."""
    where = ["-n", namespace] if namespace else []
    subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(commands) + "\n", check=True, text=True)


def within(namespace: str, *command: str) -> str:
    """What a command prints in a namespace."""
    whole = ["nsenter", f"--net=/run/netns/{namespace}", *command]
    return subprocess.run(whole, check=True, capture_output=True, text=True).stdout


def run_in(namespace: str, action: Callable[[], T]) -> T:
    """Have `action` done by a thread in a namespace: a socket that it makes belongs there."""
    results: list[T] = []

    def enter() -> None:
        netns.setns(namespace)
        results.append(action())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return results[0]


class Guest:
    """The namespace behind a tap."""

    def __init__(self, namespace: str, port: Port, directory: Path) -> None:
        self.namespace = namespace
        self.port = port
        self._directory = directory
        self._clients: list[subprocess.Popen[bytes]] = []

    def addresses(self) -> dict[str, dict[str, Any]]:
        """The addresses of global scope that it has, with what the kernel says of each."""
        (link,) = json.loads(within(self.namespace, "ip", "-j", "address", "show", "dev", "eth0"))
        return {each["local"]: each for each in link["addr_info"] if each["scope"] == "global"}

    def routes(self) -> set[tuple[str, str]]:
        """Where its routes over IPv6 lead, and by which router, if any."""
        routes = json.loads(within(self.namespace, "ip", "-j", "-6", "route", "show"))
        return {(route["dst"], route.get("gateway", "")) for route in routes if route["dev"] == "eth0"}

    def mtu(self) -> int:
        """The MTU that it uses for IPv6."""
        return int(within(self.namespace, "cat", "/proc/sys/net/ipv6/conf/eth0/mtu"))

    def configure(self) -> None:
        """Have its address at once, without asking."""
        ip(self.namespace, *(f"address replace {each}/{each.max_prefixlen} dev eth0" for each in self.port.addresses()))
        if self.port.ipv4:
            ip(self.namespace, "route replace 169.254.169.254/32 dev eth0")
        wait_for("a router", lambda: ("fd00:ec2::253", "") in self.routes() or router_of(self), DEADLINE_S)

    def solicit(self) -> None:
        """Forget what routers said, and ask again."""
        ip(self.namespace, "link set eth0 down", "link set eth0 up")

    def start_dhclient(self, duid_type: str, *options: str) -> Path:
        """A DHCPv6 client without memory; returns the file where it writes down what it is told."""
        self._forget_all()
        number = len(list(self._directory.iterdir()))
        told, script = self._directory / f"told{number}", self._directory / f"script{number}"
        script.write_text(
            "#!/bin/sh\n"
            f'case $reason in\nPREINIT6) exit 0;;\nBOUND6) set > "{told}"\n'
            '[ -z "$new_ip6_address" ] || ip address replace "$new_ip6_address/128" dev eth0;;\nesac\n'
        )
        script.chmod(0o755)
        configuration = self._directory / "dhclient.conf"
        configuration.write_text("also request dhcp6.name-servers, dhcp6.domain-search, dhcp6.fqdn;\n")
        command = ["dhclient", "-6", "-d", "-D", duid_type, *options, "-cf", str(configuration), "-sf", str(script)]
        command += ["-lf", str(self._directory / f"leases{number}"), "-pf", str(self._directory / f"pid{number}")]
        self._start([*command, "eth0"], number)
        return told

    def start_udhcpc(self) -> Path:
        """A DHCPv4 client; returns the file where it writes down what it is told."""
        self._forget_all()
        number = len(list(self._directory.iterdir()))
        told, script = self._directory / f"told{number}", self._directory / f"script{number}"
        script.write_text(
            f'#!/bin/sh\n[ "$1" != bound ] || {{ set > "{told}"; ip address add "$ip/$mask" dev eth0; }}\n'
        )
        script.chmod(0o755)
        asked = [
            part for code in ("mtu", "search", "staticroutes", "domain", "dns", "hostname") for part in ("-O", code)
        ]
        self._start(["busybox", "udhcpc", "-f", "-i", "eth0", "-s", str(script), *asked], number)
        return told

    def _start(self, command: list[str], number: int) -> None:
        whole = ["nsenter", f"--net=/run/netns/{self.namespace}", "setpriv", "--pdeathsig", "KILL", *command]
        with (self._directory / f"log{number}").open("wb") as log:
            self._clients.append(subprocess.Popen(whole, stdout=log, stderr=log))

    def kill_clients(self) -> None:
        """End the clients."""
        while self._clients:
            client = self._clients.pop()
            client.kill()
            client.wait()

    def _forget_all(self) -> None:
        """No client, and no address: as when a guest is installed anew."""
        self.kill_clients()
        within(self.namespace, "ip", "address", "flush", "dev", "eth0", "scope", "global")

    def flood(self, count: int, mac: str = "", tag: bytes = b"") -> int:
        """Send a question of DHCPv6 so many times, perhaps from another MAC address, or tagged; counts the answers."""
        source = bytes.fromhex((mac or self.port.mac).replace(":", ""))
        frame = dhcpv6(11, option6(6, b""), source=self.port.link_local)
        frame = frame[:6] + source + tag + frame[12:]
        all_protocols = socket.htons(3)
        with run_in(self.namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, all_protocols)) as sending:
            sending.bind(("eth0", 3))
            sending.settimeout(1.0)
            for _ in range(count):
                sending.send(frame)
            answers = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    heard, (_, _, kind, *_) = sending.recvfrom(2048)
                    answers += kind != socket.PACKET_OUTGOING and heard[54:58] == b"\x02\x23\x02\x22"
        return answers

    def flood_names(self, name: str, count: int) -> int:
        """Ask for a name over UDP so many times; counts the answers."""
        octets = dns.message.make_query(name, "AAAA").to_wire()
        with run_in(self.namespace, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as asking:
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            asking.settimeout(1.0)
            for _ in range(count):
                asking.sendto(octets, (NAME_SERVER, 53))
            answers = 0
            with contextlib.suppress(TimeoutError):
                while asking.recv(512):
                    answers += 1
        return answers

    def connect(self) -> socket.socket:
        """A TCP connection to the name server."""
        connection = run_in(self.namespace, lambda: socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
        connection.settimeout(DEADLINE_S)
        connection.connect((NAME_SERVER, 53))
        return connection

    def ask(
        self, name: str, kind: str, over_tcp: bool = False, server: str = NAME_SERVER, timeout_s: float = DEADLINE_S
    ) -> dns.message.Message:
        """What the name server says; one without an answer in it when it says nothing in time."""
        query = dns.message.make_query(name, kind, use_edns=True, payload=1232)
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        kind_of_socket = socket.SOCK_STREAM if over_tcp else socket.SOCK_DGRAM
        with run_in(self.namespace, lambda: socket.socket(family, kind_of_socket)) as asking:
            if over_tcp:
                asking.settimeout(timeout_s)
                asking.connect((server, 53))
                asking.setblocking(False)
                return dns.query.tcp(query, server, timeout=timeout_s, sock=asking)
            asking.setblocking(False)
            with contextlib.suppress(dns.exception.Timeout):
                return dns.query.udp(query, server, timeout=timeout_s, sock=asking)
        return dns.message.make_response(query)


class Rig:
    """The host `h1` with its daemon."""

    def __init__(self, store: Store, endpoint: str, directory: Path, settings: dict[str, str] | None = None) -> None:
        self.store = store
        self.host = f"ucipam{os.getpid()}"
        self.log = directory / "ucloud-ipam.log"
        self._directory = directory
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "etcd"))
        listener.listen()
        self._relay = Relay(listener, endpoint)
        self._environment = {
            **os.environ,
            "UCLOUD_ETCD_ENDPOINTS": f"unix:{directory}/etcd",
            "UCLOUD_HOST_NAME": "h1",
            **(settings or {}),
        }
        self._daemon: subprocess.Popen[bytes] | None = None
        self._guests: list[Guest] = []
        self._networks: dict[str, NetworkRequest] = {}
        ip(None, f"netns add {self.host}")
        ip(self.host, "link set lo up")
        # Who does not forward says so in its neighbour advertisements, and is then no router to the guests' kernels.
        within(self.host, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")

    def __enter__(self) -> "Rig":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        for guest in self._guests:
            guest.kill_clients()
        for namespace in netns.listnetns():
            if namespace.partition("-")[0] == self.host:
                ip(None, f"netns delete {namespace}")
        self._relay.close()
        logged = self.log.read_text()
        assert "Traceback" not in logged
        assert "ERROR" not in logged

    def start(self) -> None:
        """Start the daemon."""
        command = ["nsenter", f"--net=/run/netns/{self.host}", "setpriv", "--pdeathsig", "KILL"]
        with self.log.open("ab") as log:
            self._daemon = subprocess.Popen(
                [*command, sys.executable, "-m", "ucloud_ipam"], env=self._environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """End the daemon as a crash does."""
        if self._daemon:
            self._daemon.kill()
            self._daemon.wait()

    def cut_off(self) -> None:
        """Take etcd away for good."""
        self._relay.close()

    def end(self) -> int:
        """Ask the daemon to end; its exit status."""
        assert self._daemon
        self._daemon.send_signal(signal.SIGTERM)
        return self._daemon.wait(DEADLINE_S)

    def network(self, vni: int, prefix: str, ipv4: str | None = None, isolated: bool = False) -> NetworkRequest:
        """A network in etcd, and its bridge."""
        network = NetworkRequest(
            uuid=f"net-{vni}",
            owner="ann",
            name=f"n{vni}",
            vni=vni,
            prefix=IPv6Network(prefix),
            ipv4=IPv4Network(ipv4) if ipv4 else None,
            isolated=isolated,
            created_at=NOW,
        )
        self._networks[network.uuid] = network
        self.put(keys.network(network.uuid), network.to_json())
        self.build(network)
        return network

    def build(self, network: NetworkRequest) -> None:
        """The bridge of a network, as ucloud-net makes it."""
        bridge = network.bridge
        ip(
            self.host,
            f"link add {bridge} type bridge mcast_snooping 0",
            f"link set {bridge} address 02:75:63:00:a9:fe addrgenmode none",
            f"link set {bridge} mtu 1430",
            f"link set {bridge} up",
            f"address add fe80::a9fe:a9fe/64 dev {bridge} nodad",
            f"address add {NAME_SERVER}/128 dev {bridge} nodad",
            f"address add fd00:ec2::254/128 dev {bridge} nodad",
            f"route add {network.prefix} dev {bridge} metric {network.vni}",
        )
        if network.ipv4:
            ip(
                self.host,
                f"address add 169.254.169.254/32 dev {bridge}",
                f"route add {network.ipv4} dev {bridge} metric {network.vni}",
            )

    def port(self, network: NetworkRequest, port_id: str, prefixes: tuple[str, ...] = ()) -> Port:
        """A port on a network."""
        return Port(
            id=port_id,
            network=network.uuid,
            ipv6=eui64(network.prefix, port_id),
            ipv4=IPv4Address(int(network.ipv4.network_address) + int(port_id, 16) % 250) if network.ipv4 else None,
            prefixes=tuple(IPv6Network(each) for each in prefixes),
        )

    def place(self, name: str, *ports: Port) -> None:
        """The order to run a VM here, and the addresses that it holds."""
        specs = Specs.of(cpu=1, ram_mib=64, ssd_mib=1)
        vm = VmRequest(uuid=name, owner="ann", name=name, specs=specs, image="i", created_at=NOW, ports=ports)
        placement = Placement(epoch=1, generation=1, request=vm, placed_at=NOW)
        for port in ports:
            for address in port.addresses():
                holder = AddressHolder(vm=name, port=port.id, name=name)
                self.put(keys.address(port.network, str(address)), holder.to_json())
        self.put(keys.placement("h1", name), placement.to_json())

    def remove(self, name: str, *ports: Port) -> None:
        """Take the order and the addresses away."""
        gone = [keys.placement("h1", name)]
        gone += [keys.address(port.network, str(address)) for port in ports for address in port.addresses()]
        self.store.commit([present(gone[0])], [Delete(key) for key in gone])

    def put(self, key: str, value: bytes) -> None:
        """Write a key whatever it holds."""
        entry = self.store.get(key)
        self.store.commit([unchanged(key, entry.mod_revision if entry else 0)], [Put(key, value)])

    def plug(self, port: Port) -> Guest:
        """A guest at the tap of a port, in the bridge of its network, as libvirt makes it."""
        bridge = self._networks[port.network].bridge
        namespace = f"{self.host}-{len(self._guests)}"
        directory = self._directory / namespace
        directory.mkdir()
        ip(None, f"netns add {namespace}")
        # Without waiting for duplicates of addresses, which there can't be.
        within(namespace, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
        ip(self.host, f"link add {port.tap} type veth peer name eth0 netns {namespace}")
        ip(self.host, f"link set {port.tap} mtu 1430 addrgenmode none master {bridge} up")
        ip(namespace, "link set lo up", f"link set eth0 address {port.mac}", "link set eth0 up")
        guest = Guest(namespace, port, directory)
        self._guests.append(guest)
        return guest

    def plug_again(self, port: Port) -> Guest:
        """Another guest at the tap of a port, which is made anew, as when its QEMU ends and another starts."""
        ip(self.host, f"link delete {port.tap}")
        return self.plug(port)

    def wait_logged(self, text: str) -> None:
        """Wait until the daemon says something."""
        wait_for(f"{text!r} in {self.log}", lambda: text in self.log.read_text(), DEADLINE_S)


def router_of(guest: Guest) -> bool:
    """Whether a guest has the router of its network for its default route."""
    return ("default", "fe80::a9fe:a9fe") in guest.routes()

"""How long the rules of ports take to be loaded and changed, and what they cost a packet.

    python -m bench.firewall [--ports 1000] [--rounds 5]

All of it happens in a network namespace of its own: nothing of this machine's rules is touched. Packets go from one
guest's socket to another's, over two veths and a bridge, as small ones do: the worst case.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Network

from bench import report
from bench.report import Row
from common.schemas.network import Protocol
from common.schemas.port import eui64, mac_of
from tests.integration.ucloud_firewall.namespace import Namespace
from ucloud_firewall.kernel import Kernel
from ucloud_firewall.nft import NftRenderer
from ucloud_firewall.rights import Batch, BridgeRights, Permission, Policy, PortRights

_PREFIX, _LINK = IPv6Network("2001:db8::/64"), IPv6Network("fe80::/64")
_NOTHING = (Batch("", "flush ruleset\n"),)
_PACKETS = 20_000
_SENDER = """
import socket, sys, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 9))
began = time.process_time()
for _ in range(int(sys.argv[2])):
    try:
        s.send(b"x" * 18)
    except OSError:
        pass
print(time.process_time() - began)
"""


def _port(number: int, arriving: tuple[Permission, ...] | None = None) -> PortRights:
    port_id = f"{number:010x}"
    addresses = (eui64(_PREFIX, port_id), eui64(_LINK, port_id))
    return PortRights(
        f"tap{port_id}", "ucbr1", mac_of(port_id), addresses, (IPv4Address("10.0.0.0") + number,), arriving=arriving
    )


def _policy(ports: list[PortRights]) -> Policy:
    return Policy({each.tap: each for each in ports}, {"ucbr1": BridgeRights("ucbr1", 1, isolated=False)})


def _ms(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def _change(kernel: Kernel, before: Policy, after: Policy) -> None:
    kernel.load(NftRenderer().change(before, after))


def measure_changes(ports: int, rounds: int) -> None:
    """Print how long it takes to load all ports, and to add and remove one: rendered and loaded."""
    nft = NftRenderer()
    all_ports = [_port(number) for number in range(ports)]
    policy = _policy(all_ports)
    others = {"one more": _port(ports), "one more, with groups": _port(ports, (Permission(Protocol.TCP, (1, 9)),))}
    first: list[float] = []
    more: dict[str, list[float]] = {name: [] for name in others}
    less: dict[str, list[float]] = {name: [] for name in others}
    with Namespace() as namespace:
        kernel = namespace.do(Kernel)
        for _ in range(rounds):
            kernel.load(_NOTHING)
            first.append(_ms(lambda: kernel.load(nft.load(policy))))
            for name, port in others.items():
                larger = _policy([*all_ports, port])
                more[name].append(_ms(partial(_change, kernel, policy, larger)))
                less[name].append(_ms(partial(_change, kernel, larger, policy)))
    rows = [Row(f"{ports:,} ports, first load", first)]
    for name in others:
        rows.append(Row(name, more[name], aim="< 5"))
        rows.append(Row(name.replace("more", "less"), less[name], aim="< 5"))
    report.show("Rules of ports: rendered and loaded", "ms", rows, form=",.1f")


def measure_packets(ports: int, rounds: int) -> None:
    """Print how many packets a guest can send in a second of a core, without rules and with them."""
    nft = NftRenderer()
    sender, receiver = _port(0), _port(1)
    filtered = _port(1, (Permission(),))
    rules = {
        "rules": nft.load(_policy([_port(number) for number in range(ports)])),
        "rules, groups": nft.load(_policy([sender, filtered, *(_port(number) for number in range(2, ports))])),
    }
    bare: list[float] = []
    rates: dict[str, list[float]] = {name: [] for name in rules}
    with Namespace() as namespace:
        kernel = namespace.do(Kernel)
        namespace.bridge("ucbr1", "02:75:63:00:a9:fe")
        guest = _plug(namespace, sender, receiver)
        try:
            for _ in range(rounds):
                kernel.load(_NOTHING)
                namespace.sysctl(bridge__bridge_nf_call_ip6tables=0)
                bare.append(_send(namespace, guest, receiver))
                for name, batches in rules.items():
                    namespace.sysctl(bridge__bridge_nf_call_ip6tables=int("groups" in name))
                    kernel.load(batches)
                    rates[name].append(_send(namespace, guest, receiver))
        finally:
            guest.kill()
            guest.wait()
    rows = [Row("no rules", bare), *(Row(f"{name}, {ports:,} ports", rates[name], bare) for name in rules)]
    report.show("Small packets from guest to guest", "packets per s of a core", rows)


def _plug(namespace: Namespace, sender: PortRights, receiver: PortRights) -> "subprocess.Popen[bytes]":
    """Plug both into the bridge; returns a process in whose namespace the sender's guest is."""
    # Its own namespace ends with it.
    guest = namespace.do(lambda: subprocess.Popen(["unshare", "--net", "sleep", "600"]))
    inside = ["nsenter", "--net", "--target", str(guest.pid)]
    outside = namespace.run("readlink", "/proc/thread-self/ns/net")
    while namespace.run("readlink", f"/proc/{guest.pid}/ns/net") == outside:
        time.sleep(0.01)
    namespace.ip(
        f"link add {sender.tap} type veth peer name eth0 address {sender.mac} netns {guest.pid}",
        f"link add {receiver.tap} type veth peer name eth1 address {receiver.mac}",
        *(f"link set {each.tap} master ucbr1 addrgenmode none up" for each in (sender, receiver)),
        "link set eth1 up",
    )
    namespace.run(*inside, "ip", "link", "set", "eth0", "up")
    namespace.run(*inside, "ip", "address", "add", f"{sender.ipv6[0]}/64", "dev", "eth0", "nodad")
    namespace.run(*inside, "ip", "neighbour", "add", str(receiver.ipv6[0]), "lladdr", receiver.mac, "dev", "eth0")
    return guest


def _send(namespace: Namespace, guest: "subprocess.Popen[bytes]", receiver: PortRights) -> float:
    """Packets that get to the other end in a second of a core's time: the bridge works in that of the sender."""
    inside = ["nsenter", "--net", "--target", str(guest.pid), sys.executable, "-c", _SENDER]
    before = _arrived(namespace, receiver)
    took_s = float(namespace.run(*inside, str(receiver.ipv6[0]), str(_PACKETS)))
    return (_arrived(namespace, receiver) - before) / took_s


def _arrived(namespace: Namespace, receiver: PortRights) -> int:
    (link,) = json.loads(namespace.run("ip", "-json", "-statistics", "link", "show", "dev", receiver.tap))
    return int(link["stats64"]["tx"]["packets"])


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ports", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    measure_changes(arguments.ports, arguments.rounds)
    measure_packets(arguments.ports, arguments.rounds)


if __name__ == "__main__":
    main()

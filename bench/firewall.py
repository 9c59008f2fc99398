"""How long the rules of ports take to be loaded and changed, and what they cost a packet.

    python -m bench.firewall [--ports 1000] [--rounds 5]

All of it happens in a network namespace of its own: nothing of this machine's rules is touched. Packets go from one
guest's socket to another's, over two veths and a bridge, as small ones do: the worst case.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from ipaddress import IPv4Address, IPv6Network

from bench import report
from bench.report import Row
from common.schemas.network import Protocol
from common.schemas.port import eui64, mac_of
from devcloud.waiting import wait_for
from tests.integration.ucloud_firewall.namespace import Namespace
from ucloud_firewall.kernel import Kernel
from ucloud_firewall.nft import NftRenderer
from ucloud_firewall.rights import Batch, BridgeRights, Permission, Policy, PortRights
from ucloud_firewall.second_wall import SecondWall

_PREFIX, _LINK = IPv6Network("2001:db8::/64"), IPv6Network("fe80::/64")
_NOTHING = (Batch("", "flush ruleset\n"),)
_PACKETS = 20_000
_STREAM_S = 1.0
_READY_S = 30.0
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
_TAKER = """
import socket, time
with socket.create_server(("::", 5001), family=socket.AF_INET6) as server:
    print("listening", flush=True)
    stream, _ = server.accept()
buffer, taken, began = bytearray(1 << 20), 0, time.perf_counter()
while got := stream.recv_into(buffer):
    taken += got
print(taken * 8 / (time.perf_counter() - began))
"""
_GIVER = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 5001)) as stream:
    block, until = bytes(1 << 20), time.perf_counter() + float(sys.argv[2])
    while time.perf_counter() < until:
        stream.sendall(block)
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


class _Ways:
    """The same text given to the kernel in this process, as ucloud-firewall does, and by nft: milliseconds of each."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._kernel = namespace.do(Kernel)

    def empty(self) -> None:
        self._kernel.load(_NOTHING)

    def ours(self, render: Callable[[], Iterable[Batch]]) -> float:
        return _ms(lambda: self._kernel.load(render()))

    def by_nft(self, batches: Iterable[Batch]) -> float:
        text = "".join(batch.text for batch in batches)
        return _ms(lambda: self._namespace.run("nft", "-f", "-", given=text))


def measure_changes(ports: int, rounds: int) -> None:
    """Print how long it takes to load all ports, and to add and remove one: rendered and loaded."""
    nft = NftRenderer()
    all_ports = [_port(number) for number in range(ports)]
    policy = _policy(all_ports)
    others = {"": _port(ports), ", with groups": _port(ports, (Permission(Protocol.TCP, (1, 9)),))}
    steps = [f"{ports:,} ports, first load", *(f"one {what}{name}" for name in others for what in ("more", "less"))]
    ours: dict[str, list[float]] = {name: [] for name in steps}
    by_nft: dict[str, list[float]] = {name: [] for name in steps}
    with Namespace() as namespace:
        ways = _Ways(namespace)
        for _ in range(rounds):
            ways.empty()
            by_nft[steps[0]].append(ways.by_nft(nft.load(policy)))
            ways.empty()
            ours[steps[0]].append(ways.ours(lambda: nft.load(policy)))
            for name, port in others.items():
                larger = _policy([*all_ports, port])
                for what, before, after in (("more", policy, larger), ("less", larger, policy)):
                    step, back = f"one {what}{name}", nft.change(after, before)
                    by_nft[step].append(ways.by_nft(nft.change(before, after)))
                    ways.ours(lambda batches=back: batches)  # type: ignore[misc]
                    ours[step].append(ways.ours(partial(nft.change, before, after)))
    rows = [Row(step, ours[step], by_nft[step], "" if step is steps[0] else "< 5") for step in steps]
    notes = ["the ratio is to `nft -f -` with the same text"]
    report.show("Rules of ports: rendered and loaded", "ms", rows, form=",.1f", notes=notes)


def measure_packets(ports: int, rounds: int) -> None:
    """Print how many packets a guest sends in a second of a core, and how fast a stream is, without rules and with."""
    nft = NftRenderer()
    sender, receiver = _port(0), _port(1)
    filtered = _port(1, (Permission(),))
    others = [_port(number) for number in range(2, ports)]
    rules = nft.load(_policy([sender, receiver, *others]))
    grouped = nft.load(_policy([sender, filtered, *others]))
    # By name: what is loaded, and whether the second wall stands.
    ways = {
        f"rules, {ports:,} ports": (rules, False),
        "rules, second wall": (rules, True),
        "rules, groups": (grouped, False),
        "rules, groups, second wall": (grouped, True),
    }
    packets: dict[str, list[float]] = {name: [] for name in ("no rules", *ways)}
    bits: dict[str, list[float]] = {name: [] for name in packets}
    with Namespace() as namespace:
        kernel = namespace.do(Kernel)
        namespace.bridge("ucbr1", "02:75:63:00:a9:fe")
        from_, to = (_plug(namespace, *each) for each in ((sender, receiver), (receiver, sender)))
        try:
            for _ in range(rounds):
                for name, (batches, has_wall) in {"no rules": (_NOTHING, False), **ways}.items():
                    namespace.sysctl(bridge__bridge_nf_call_ip6tables=int(batches is grouped))
                    kernel.load(batches)
                    with _second_wall(namespace, sender, receiver) if has_wall else nullcontext():
                        packets[name].append(_send(namespace, from_, receiver))
                        bits[name].append(_stream(namespace, from_, to, receiver) / 1e9)
        finally:
            for guest in (from_, to):
                guest.kill()
                guest.wait()
    for title, unit, found in (
        ("Small packets from guest to guest", "packets per s of a core", packets),
        ("A TCP stream from guest to guest", "Gbit/s", bits),
    ):
        bare = found["no rules"]
        rows = [Row(name, values, bare if values is not bare else ()) for name, values in found.items()]
        report.show(title, unit, rows, form=",.0f" if found is packets else ",.1f")


@contextmanager
def _second_wall(namespace: Namespace, *ports: PortRights) -> Iterator[None]:
    """Have the second wall on the taps and the bridge."""
    built = threading.Event()
    built.set()  # it is built on what is there, and listens for nothing
    namespace.do(lambda: SecondWall().run(built))
    try:
        yield
    finally:
        for link in ("ucbr1", *(port.tap for port in ports)):
            namespace.run("tc", "qdisc", "delete", "dev", link, "clsact")


def _plug(namespace: Namespace, port: PortRights, other: PortRights) -> "subprocess.Popen[bytes]":
    """Plug a guest into the bridge, who knows another one; returns a process in whose namespace it is."""
    # Its own namespace ends with it.
    guest = namespace.do(lambda: subprocess.Popen(["unshare", "--net", "sleep", "600"]))
    outside = namespace.run("readlink", "/proc/thread-self/ns/net")
    where = ("readlink", f"/proc/{guest.pid}/ns/net")
    wait_for("the guest's namespace", lambda: namespace.run(*where) != outside, _READY_S)
    namespace.ip(
        f"link add {port.tap} type veth peer name eth0 address {port.mac} netns {guest.pid}",
        f"link set {port.tap} master ucbr1 addrgenmode none up",
    )
    inside = _inside(guest)
    namespace.run(*inside, "ip", "link", "set", "eth0", "up")
    namespace.run(*inside, "ip", "address", "add", f"{port.ipv6[0]}/64", "dev", "eth0", "nodad")
    namespace.run(*inside, "ip", "neighbour", "add", str(other.ipv6[0]), "lladdr", other.mac, "dev", "eth0")
    return guest


def _inside(guest: "subprocess.Popen[bytes]") -> list[str]:
    return ["nsenter", "--net", "--target", str(guest.pid)]


def _send(namespace: Namespace, guest: "subprocess.Popen[bytes]", receiver: PortRights) -> float:
    """Packets that get to the other end in a second of a core's time: the bridge works in that of the sender."""
    before = _arrived(namespace, receiver)
    command = [*_inside(guest), sys.executable, "-c", _SENDER, str(receiver.ipv6[0]), str(_PACKETS)]
    took_s = float(namespace.run(*command))
    return (_arrived(namespace, receiver) - before) / took_s


def _arrived(namespace: Namespace, receiver: PortRights) -> int:
    (link,) = json.loads(namespace.run("ip", "-json", "-statistics", "link", "show", "dev", receiver.tap))
    return int(link["stats64"]["tx"]["packets"])


def _stream(
    namespace: Namespace, from_: "subprocess.Popen[bytes]", to: "subprocess.Popen[bytes]", receiver: PortRights
) -> float:
    """Bits a second of one stream of TCP; both ends share the cores with the bridge."""
    taker = subprocess.Popen([*_inside(to), sys.executable, "-c", _TAKER], stdout=subprocess.PIPE, text=True)
    try:
        assert taker.stdout is not None
        taker.stdout.readline()
        namespace.run(*_inside(from_), sys.executable, "-c", _GIVER, str(receiver.ipv6[0]), str(_STREAM_S))
        return float(taker.communicate(timeout=30)[0])
    finally:
        taker.kill()
        taker.wait()


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

"""How long ucloud-net takes to have 500 networks on a host, and what it takes while nothing happens.

    python -m bench.networks [--networks 500] [--rounds 10] [--idle-s 60] [--flooding multicast|unicast]

Two hosts in namespaces: on one works a real ucloud-net, on the other a single `ip -batch` makes the same bridges, VXLAN
links, addresses and routes. That is the baseline: what the kernel takes, with nobody who looks whether it is right.
"""

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from secrets import token_hex

import requests

from bench import memory, records
from bench.process import end_cleanly
from bench.report import Row, show
from common import keys
from common.schemas.network import GATEWAY_MAC, NetworkActual, NetworkRequest, NetworkStatus
from common.schemas.port import Port, eui64
from common.schemas.vm import Placement, Specs, VmRequest
from common.store import Delete, EtcdOptions, Store, present
from devcloud.etcd import EtcdCluster
from devcloud.network import Network
from devcloud.waiting import wait_for
from ucloud_net.shape import addresses, links_of

_HOST, _BY_HAND = "h1", "h2"
_POOL = IPv6Network("fd75:636c::/40")
_GROUPS = IPv6Address("ff05::")
_MTU = 1430
_READY_S = 300.0
_LOOK_EVERY_S = 0.002
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Bench:
    """Both hosts, etcd, and what the control plane would write there."""

    def __init__(self, cloud: Network, etcd: EtcdCluster, directory: Path, flooding: str) -> None:
        self._cloud = cloud
        self._store = Store(EtcdOptions(etcd.endpoints))
        self._log = directory / "ucloud-net.log"
        self._address = cloud.host_address(1)
        self._settings = {
            "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
            "UCLOUD_HEALTH_ADDRESS": self._address,
            "UCLOUD_HOST_NAME": _HOST,
            "UCLOUD_NET_UNDERLAY": "eth0",
            "UCLOUD_NET_FLOODING": flooding,
        }

    # --- what is ordered ----------------------------------------------------------------------------------------------

    def order(self, numbers: range) -> None:
        """A VM on each of these networks."""
        records.write(self._store, (pair for number in numbers for pair in _records(number)))

    def withdraw(self, number: int) -> None:
        """That VM is to be here no more."""
        key = keys.placement(_HOST, f"vm-{number}")
        network = keys.network(f"net-{number}")
        self._store.commit([present(key)], [Delete(key), Delete(network)])

    def wait_active(self, number: int) -> None:
        """Wait until a network is built."""

        def is_active() -> bool:
            entry = self._store.get(keys.network_status(_HOST, f"net-{number}"))
            return entry is not None and NetworkStatus.read(entry.key, entry.value).actual is NetworkActual.ACTIVE

        wait_for(f"network {number} active, see {self._log}", is_active, _READY_S, _LOOK_EVERY_S)

    def wait_gone(self, number: int) -> None:
        """Wait until nothing is left of a network."""
        key = keys.network_status(_HOST, f"net-{number}")
        wait_for(f"network {number} gone", lambda: self._store.get(key) is None, _READY_S, _LOOK_EVERY_S)

    def wait_all_active(self, count: int) -> None:
        """Wait until as many networks are built."""

        def are_active() -> bool:
            entries = self._store.list(keys.network_statuses(_HOST)).entries
            found = [NetworkStatus.read(entry.key, entry.value).actual for entry in entries]
            return found.count(NetworkActual.ACTIVE) == count

        wait_for(f"{count} networks active, see {self._log}", are_active, _READY_S, 0.05)

    # --- the daemon ---------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[int]:
        """Have ucloud-net run; gives the process id, and ends it as a crash does."""
        variables = [f"{name}={value}" for name, value in self._settings.items()]
        enter = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self._cloud.namespace(_HOST)]
        command = [*enter, "env", *variables, sys.executable, "-m", "ucloud_net"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process.pid
        finally:
            process.kill()
            process.wait()

    def wait_quiet(self, looks: int) -> None:
        """Wait until the daemon has looked at as many networks, and has nothing to do."""

        def is_quiet() -> bool:
            numbers = self._metrics()
            looked = numbers.get("ucloud_reconcile_seconds_count", -1.0)
            return looked >= looks and numbers["ucloud_queue_length"] == 0

        wait_for(f"nothing to do, see {self._log}", is_quiet, _READY_S, 0.02)

    def _metrics(self) -> dict[str, float]:
        try:
            text = requests.get(f"http://[{self._address}]:9706/metrics", timeout=10).text
        except requests.RequestException:
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    # --- by hand ------------------------------------------------------------------------------------------------------

    def by_hand(self, commands: Iterator[str]) -> float:
        """Have one `ip` do all of it on the other host; returns the seconds it took."""
        host = self._cloud.namespace(_BY_HAND)
        text = "\n".join(commands) + "\n"
        began = time.perf_counter()
        subprocess.run(["ip", "-n", host, "-batch", "-"], input=text, text=True, check=True)
        return time.perf_counter() - began

    def prepare_by_hand(self) -> None:
        """Let the other host have as many multicast groups."""
        host = self._cloud.namespace(_BY_HAND)
        command = ["ip", "netns", "exec", host, "sysctl", "-qw", "net.core.optmem_max=1048576"]
        subprocess.run(command, check=True)

    def make(self, number: int) -> Iterator[str]:
        """The commands that make a network."""
        network, port = _network(number), _port(number)
        bridge, vxlan = links_of(number)
        yield f"link add {bridge} address {GATEWAY_MAC} mtu {_MTU} type bridge mcast_snooping 0"
        yield f"link set {bridge} addrgenmode none alias net-{number} up"
        yield (
            f"link add {vxlan} mtu {_MTU} type vxlan id {number} group {_GROUPS + number}"
            f" local {self._cloud.host_address(2)} dev eth0 dstport 4789 ttl 64"
        )
        yield f"link set {vxlan} addrgenmode none alias net-{number} master {bridge} up"
        for address in addresses(network):
            yield f"address add {address} dev {bridge} nodad"
        for destination in (network.prefix, port.ipv6):
            yield f"route add {destination} dev {bridge} metric {65536 + number}"


def _unmake(number: int) -> Iterator[str]:
    for link in reversed(links_of(number)):
        yield f"link delete {link}"


def _prefix(number: int) -> IPv6Network:
    return IPv6Network((int(_POOL.network_address) + (number << 64), 64))


def _port(number: int) -> Port:
    port_id = f"{number:010x}"
    return Port(id=port_id, network=f"net-{number}", ipv6=eui64(_prefix(number), port_id))


def _network(number: int) -> NetworkRequest:
    uuid = f"net-{number}"
    return NetworkRequest(uuid=uuid, owner="ann", name=uuid, vni=number, prefix=_prefix(number), created_at=_NOW)


def _records(number: int) -> Iterator[records.Pair]:
    network = _network(number)
    request = VmRequest(
        uuid=f"vm-{number}", owner="ann", name=f"vm-{number}", specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=1),
        image="image", created_at=_NOW, ports=(_port(number),),
    )  # fmt: skip
    yield records.pair(keys.network(network.uuid), network)
    placement = Placement(epoch=1, generation=1, request=request, placed_at=_NOW)
    yield records.pair(keys.placement(_HOST, request.uuid), placement)


def measure(bench: Bench, networks: int, rounds: int, idle_s: float) -> None:
    """Measure and print."""
    first, more = range(1, networks + 1), networks + 1
    began = time.perf_counter()
    with bench.running() as pid:
        bench.wait_quiet(0)
        empty_s = time.perf_counter() - began
        none_mb, none_cpu = memory.usage(pid).rss_mb, _idle_percent(pid, idle_s)
        bench.prepare_by_hand()
        by_hand_s = bench.by_hand(command for number in first for command in bench.make(number))
        began, before_s = time.perf_counter(), memory.cpu_s(pid)
        bench.order(first)
        bench.wait_all_active(networks)
        built_s = time.perf_counter() - began
        bench.wait_quiet(networks)
        built_cpu_s = memory.cpu_s(pid) - before_s
        changes = [_change(bench, more) for _ in range(rounds)]
    began = time.perf_counter()
    with bench.running() as pid:
        bench.wait_quiet(networks)
        start_s, start_cpu_s = time.perf_counter() - began, memory.cpu_s(pid)
        many_mb, many_cpu = memory.usage(pid).rss_mb, _idle_percent(pid, idle_s)
    title = f"ucloud-net and {networks} networks on a host"
    show(title, "s", [
        Row(f"ip -batch makes {networks}", [by_hand_s]),
        Row(f"ucloud-net makes {networks}", [built_s], [by_hand_s]),
        Row("its processor time", [built_cpu_s]),
        Row("start with none, until it is well", [empty_s]),
        Row(f"start with {networks} in place, until all are looked at", [start_s], [empty_s]),
        Row("its processor time", [start_cpu_s]),
    ], form=",.2f")  # fmt: skip
    by_hand_more, more_ms, by_hand_less, less_ms = (list(each) for each in zip(*changes, strict=True))
    show(f"{title}: one more, one less", "ms", [
        Row("ip -batch, one more", by_hand_more),
        Row("ucloud-net, one more: from the order to the status", more_ms, by_hand_more),
        Row("ip -batch, one less", by_hand_less),
        Row("ucloud-net, one less: from the order to the status", less_ms, by_hand_less),
    ], form=",.0f")  # fmt: skip
    show(f"{title}: nothing happens", "", [
        Row("MB resident, with none", [none_mb]),
        Row(f"MB resident, with {networks}", [many_mb], [none_mb]),
        Row("% of a core, with none", [none_cpu]),
        Row(f"% of a core, with {networks}", [many_cpu], [none_cpu]),
    ], form=",.2f", notes=[f"over {idle_s:g} s, in which it looks at everything once"])  # fmt: skip


def _change(bench: Bench, number: int) -> tuple[float, float, float, float]:
    """One more and one less, by hand and by ucloud-net: milliseconds."""
    by_hand_more = bench.by_hand(bench.make(number))
    began = time.perf_counter()
    bench.order(range(number, number + 1))
    bench.wait_active(number)
    more = time.perf_counter() - began
    bench.wait_quiet(0)
    by_hand_less = bench.by_hand(_unmake(number))
    began = time.perf_counter()
    bench.withdraw(number)
    bench.wait_gone(number)
    less = time.perf_counter() - began
    bench.wait_quiet(0)
    return by_hand_more * 1000, more * 1000, by_hand_less * 1000, less * 1000


def _idle_percent(pid: int, idle_s: float) -> float:
    """What a process takes of a core while nothing happens; RuntimeError when it ends meanwhile."""
    before = memory.cpu_s(pid)
    descriptor = os.pidfd_open(pid)
    try:
        if select.select([descriptor], [], [], idle_s)[0]:
            raise RuntimeError(f"process {pid} ended while it was measured")
    finally:
        os.close(descriptor)
    return (memory.cpu_s(pid) - before) / idle_s * 100


def main() -> None:
    """Measure with real hosts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--idle-s", type=float, default=60)
    parser.add_argument("--flooding", choices=("multicast", "unicast"), default="multicast")
    arguments = parser.parse_args()
    end_cleanly()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        cloud = Network(f"net-bench-{token_hex(2)}", token_hex(5))
        stack.callback(cloud.remove)
        cloud.create()
        for number, host in enumerate((_HOST, _BY_HAND), 1):
            cloud.create_host(host, number)
        etcd = stack.enter_context(EtcdCluster(Path(name), address=cloud.control_address))
        bench = Bench(cloud, etcd, Path(name), arguments.flooding)
        measure(bench, arguments.networks, arguments.rounds, arguments.idle_s)


if __name__ == "__main__":
    main()

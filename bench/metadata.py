"""Requests a second that ucloud-meta answers guests, beside the bare HTTP server of Python's library on the same host.

A host in a namespace with 500 networks, all of the same prefixes, and a VM on each, of which one has a guest: a
namespace with wrk in it. How often a VM may ask is set so high that it does not count.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from secrets import token_hex

import requests

from bench import memory, records, wrk
from bench.process import end_cleanly
from bench.report import Row, show
from common import keys
from common.schemas.network import GATEWAY, GATEWAY_MAC, METADATA_V4, METADATA_V6, NetworkRequest
from common.schemas.port import Port, eui64
from common.schemas.vm import Placement, Specs, VmRequest
from common.store import EtcdOptions, Store
from devcloud.etcd import EtcdCluster
from devcloud.network import Network
from devcloud.waiting import wait_for

NETWORKS = 500
ROUNDS = 8
LOAD_S = 2.0
_WARM_UP_S = 1.0
_READY_S = 120.0
_HOST = "h1"
_PREFIX = IPv6Network("2001:db8:7::/64")
_IPV4 = IPv4Network("10.7.0.0/24")
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_BARE_PORT = 8080
_CONNECTIONS = 6
"""What a port may have at once."""
_BARE, _ID, _JSON, _BARE_NEW, _ID_NEW = (
    "bare http.server",
    "instance-id",
    "network_data.json",
    "bare http.server, new connections",
    "instance-id, new connections",
)
_ID_PATH = "/latest/meta-data/instance-id"


def main() -> None:
    """Measure and print."""
    end_cleanly()
    wrk.need()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        network = Network(f"meta-bench-{token_hex(2)}", token_hex(5))
        stack.callback(network.remove)
        network.create()
        network.create_host(_HOST, 1)
        etcd = stack.enter_context(EtcdCluster(directory, address=network.control_address))
        _write(etcd, range(1, NETWORKS + 1))
        with _running(network, "ucloud_meta", _environment(network, etcd), directory) as pid:
            _wait_served(network, 0)
            few_mb = memory.usage(pid).rss_mb
            started = time.monotonic()
            _make_bridges(network)
            _wait_served(network, NETWORKS)
            followed_s = time.monotonic() - started
        started = time.monotonic()
        pid = stack.enter_context(_running(network, "ucloud_meta", _environment(network, etcd), directory))
        _wait_served(network, NETWORKS)
        served_s = time.monotonic() - started
        many_mb = memory.usage(pid).rss_mb
        bare_pid = stack.enter_context(_running(network, "bench.bare_http", {}, directory, str(_BARE_PORT)))
        loads = _loads(network, pid, bare_pid)
        for load in loads:
            _wait_answering(load)
            wrk.send(load, directory, _WARM_UP_S)
        rounds = [_round(loads, directory) for _ in range(ROUNDS)]
        loaded_mb = memory.usage(pid).rss_mb
    _show(rounds)
    show(
        f"ucloud-meta with {NETWORKS} networks",
        "",
        [
            Row("MB without bridges", [few_mb]),
            Row("MB with all of them", [many_mb]),
            Row("MB after the load", [loaded_mb]),
            Row("s from the start until all are served", [served_s]),
            Row("s until bridges that come are all served", [followed_s]),
        ],
        form=",.1f",
    )


def _environment(network: Network, etcd: EtcdCluster) -> dict[str, str]:
    return {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_HEALTH_ADDRESS": network.host_address(1),
        "UCLOUD_HOST_NAME": _HOST,
        "UCLOUD_META_REQUESTS_PER_S": "1000000",
    }


@contextmanager
def _running(network: Network, module: str, settings: dict[str, str], directory: Path, *more: str) -> Iterator[int]:
    """Run a module on the host; gives the process id."""
    variables = [f"{name}={value}" for name, value in settings.items()]
    command = ["setpriv", "--pdeathsig", "KILL", *_inside(network.namespace(_HOST)), "env", *variables]
    with (directory / f"{module}.log").open("ab") as log:
        process = subprocess.Popen([*command, sys.executable, "-m", module, *more], stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _inside(namespace: str) -> list[str]:
    return ["ip", "netns", "exec", namespace]


def _port(number: int) -> Port:
    port_id = f"{number:010x}"
    return Port(id=port_id, network=f"net-{number}", ipv6=eui64(_PREFIX, port_id), ipv4=_IPV4[5])


def _write(etcd: EtcdCluster, numbers: range) -> None:
    """A VM on each network."""
    store = Store(EtcdOptions(etcd.endpoints))

    def everything() -> Iterator[records.Pair]:
        for number in numbers:
            network = NetworkRequest(
                uuid=f"net-{number}", owner="ann", name=f"net-{number}", vni=number, prefix=_PREFIX, ipv4=_IPV4,
                isolated=True, created_at=_NOW,
            )  # fmt: skip
            request = VmRequest(
                uuid=f"vm-{number}", owner="ann", name=f"vm-{number}", specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=1),
                image="image", created_at=_NOW, ports=(_port(number),), ssh_keys=("ssh-ed25519 AAAA ann",),
            )  # fmt: skip
            placement = Placement(epoch=1, generation=1, request=request, placed_at=_NOW)
            yield records.pair(keys.network(network.uuid), network)
            yield records.pair(keys.placement(_HOST, request.uuid), placement)

    records.write(store, everything())
    store.close()


def _ip(namespace: str, commands: Iterator[str]) -> None:
    text = "\n".join(commands) + "\n"
    subprocess.run(["ip", "-n", namespace, "-batch", "-"], input=text, text=True, check=True)


def _make_bridges(network: Network) -> None:
    host = network.namespace(_HOST)
    settings = ["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0", "net.ipv4.conf.all.arp_ignore=1"]
    settings += [f"net.bridge.bridge-nf-call-{table}=0" for table in ("arptables", "iptables", "ip6tables")]
    subprocess.run([*_inside(host), "sysctl", "-eqw", *settings], check=True)

    def commands() -> Iterator[str]:
        for number in range(1, NETWORKS + 1):
            bridge = f"ucbr{number}"
            yield f"link add {bridge} address {GATEWAY_MAC} type bridge mcast_snooping 0"
            yield f"link set {bridge} addrgenmode none up"
            yield f"address add {GATEWAY}/64 dev {bridge} nodad"
            yield f"address add {METADATA_V6}/128 dev {bridge} nodad"
            yield f"address add {METADATA_V4}/32 dev {bridge} scope link"
            yield f"route add {_PREFIX} dev {bridge} metric {number}"
            yield f"route add {_IPV4} dev {bridge} metric {number}"

    _ip(host, commands())


def _make_guest(network: Network, number: int) -> list[str]:
    """Plug a guest in; returns what a command begins with that runs in it."""
    port, namespace = _port(number), network.namespace(f"guest-{number}")
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    inside = [
        "link set lo up",
        f"link add eth0 address {port.mac} type veth peer name {port.tap} netns {network.namespace(_HOST)}",
        "link set eth0 up",
        f"address add {port.ipv4}/24 dev eth0",
        f"route add {METADATA_V4} dev eth0",
    ]
    _ip(namespace, iter(inside))
    _ip(network.namespace(_HOST), iter([f"link set {port.tap} addrgenmode none master ucbr{number} up"]))
    return _inside(namespace)


def _wait_served(network: Network, wanted: int) -> None:
    url = f"http://[{network.host_address(1)}]:9709/metrics"

    def is_served() -> bool:
        try:
            text = requests.get(url, timeout=10).text
        except requests.RequestException:
            return False
        return f"\nucloud_meta_networks {wanted:.1f}\n" in text

    wait_for(f"{wanted} networks served", is_served, _READY_S)


def _wait_answering(load: wrk.Load) -> None:
    command = [*load.enter, "curl", "-sf", "--noproxy", "*", "-m", "5", f"{load.base_url}{load.lines[0]}"]

    def look() -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    wait_for(load.name, look, _READY_S)


def _loads(network: Network, pid: int, bare_pid: int) -> list[wrk.Load]:
    enter = _make_guest(network, 1)
    told, bare = f"http://{METADATA_V4}", f"http://{METADATA_V4}:{_BARE_PORT}"

    def load(name: str, of: int, url: str, path: str, *, reconnects: bool = False) -> wrk.Load:
        return wrk.Load(name, of, url, [path], connections=_CONNECTIONS, enter=enter, reconnects=reconnects)

    return [
        load(_BARE, bare_pid, bare, "/"),
        load(_ID, pid, told, _ID_PATH),
        load(_JSON, pid, told, "/openstack/latest/network_data.json"),
        load(_BARE_NEW, bare_pid, bare, "/", reconnects=True),
        load(_ID_NEW, pid, told, _ID_PATH, reconnects=True),
    ]


def _round(loads: list[wrk.Load], directory: Path) -> dict[str, wrk.Outcome]:
    return {load.name: wrk.send(load, directory, LOAD_S) for load in loads}


def _show(rounds: list[dict[str, wrk.Outcome]]) -> None:
    rates = {name: [each[name].per_second for each in rounds] for name in rounds[0]}
    baselines = {_BARE: _BARE, _ID: _BARE, _JSON: _BARE, _BARE_NEW: _BARE_NEW, _ID_NEW: _BARE_NEW}
    show(
        f"Metadata: one guest of {NETWORKS} networks, {_CONNECTIONS} connections",
        "requests/s",
        [Row(name, rates[name], rates[base]) for name, base in baselines.items()],
        notes=[f"{ROUNDS} rounds of {LOAD_S:g} s each in turn; the load generator shares the cores"],
    )
    p99_ms = {name: [each[name].p99_ms for each in rounds] for name in rounds[0]}
    show(
        "99 of 100 are answered within",
        "ms",
        [Row(name, p99_ms[name], p99_ms[base]) for name, base in baselines.items()],
        form=",.1f",
    )
    cpu_us = {name: [each[name].cpu_us for each in rounds] for name in rounds[0]}
    show(
        "Processor time of the server for an answer",
        "us",
        [Row(name, cpu_us[name], cpu_us[base]) for name, base in baselines.items()],
    )


if __name__ == "__main__":
    main()

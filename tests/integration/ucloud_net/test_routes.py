"""Real routers learn where VMs are: bird on two hosts and on a router, with routing/'s files, and somebody outside."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common import keys
from common.schemas.network import NetworkRequest
from common.schemas.vm import Placement, Role
from common.store import Compare, Operation, Put, unchanged
from devcloud.bird import Bird
from devcloud.waiting import wait_for
from tests.integration.ucloud_net.probe import ping
from tests.integration.ucloud_net.world import HEAL_S, Guest, Host, World, ip, run, show

_NUMBER = 0xFE
_POOL = "fd75:636c::/32"
_LEARN_S = 15.0
_FOLLOW_S = 2.0


@dataclass
class Routed:
    """The world, its router, and somebody outside, who knows nothing but the router."""

    world: World
    directory: Path
    birds: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def router(self) -> str:
        return self.world.cloud.namespace("router")

    @property
    def outside(self) -> str:
        return self.world.cloud.namespace("outside")

    def build(self) -> None:
        cloud = self.world.cloud
        cloud.create_host("router", _NUMBER)
        subprocess.run(["ip", "netns", "add", self.outside], check=True)
        run(self.router, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        ip(self.router, "link", "add", "out", "type", "veth", "peer", "name", "eth0", "netns", self.outside)
        for namespace, link, address in (
            (self.router, "out", "2001:db8:f::1"),
            (self.outside, "eth0", "2001:db8:f::2"),
        ):
            ip(namespace, "link", "set", link, "up")
            ip(namespace, "addr", "add", f"{address}/64", "dev", link, "nodad")
        ip(self.outside, "-6", "route", "add", "default", "via", "2001:db8:f::1")
        bird = Bird(self.directory / "router")
        bird.write_router(_POOL, cloud.hosts)
        self._start("router", bird, self.router)
        for host in self.world.hosts:
            self.start(host)

    def start(self, host: Host) -> None:
        bird = Bird(self.directory / host.name)
        bird.write_host(int(host.name[1:]), self.world.cloud.host_address(_NUMBER))
        self._start(host.name, bird, host.namespace)

    def _start(self, name: str, bird: Bird, namespace: str) -> None:
        enter = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", namespace]
        self.birds[name] = subprocess.Popen([*enter, *bird.command])

    def remove(self) -> None:
        for bird in self.birds.values():
            bird.kill()
            bird.wait()
        for namespace in (self.router, self.outside):
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        for host in self.world.hosts:
            subprocess.run(["ip", "-n", host.namespace, "-6", "route", "flush", "proto", "bird"], check=False)
            # The next router has another MAC address.
            subprocess.run(["ip", "-n", host.namespace, "-6", "neigh", "flush", "dev", "eth0"], check=False)

    def routes(self) -> dict[str, str]:
        """What the router has learnt: the names of the hosts, by destination."""
        names = {host.address: host.name for host in self.world.hosts}
        names |= {self._link_local(host): host.name for host in self.world.hosts}
        found = show(self.router, "-6", "route", "show", "proto", "bird")
        return {each["dst"]: names[each["gateway"]] for each in found if "gateway" in each}

    @staticmethod
    def _link_local(host: Host) -> str:
        (link,) = show(host.namespace, "-6", "addr", "show", "dev", "eth0", "scope", "link")
        return str(next(each["local"] for each in link["addr_info"] if each))

    def wait_routes(self, wanted: dict[str, str], timeout_s: float = _LEARN_S) -> float:
        """Wait until the router has learnt just this; returns the seconds it took."""
        began = time.monotonic()
        wait_for(f"routes {wanted}", lambda: self.routes() == wanted, timeout_s)
        return time.monotonic() - began

    def wait_reached(self, address: str, timeout_s: float = HEAL_S) -> None:
        wait_for(f"{address} reached from outside", lambda: ping(self.outside, address, 100, 1.0), timeout_s)


@pytest.fixture
def routed(world: World) -> Iterator[Routed]:
    """See Routed."""
    with tempfile.TemporaryDirectory() as directory:
        made = Routed(world, Path(directory))
        try:
            made.build()
            yield made
        finally:
            made.remove()


def _route_to(namespace: str, address: str) -> dict[str, str]:
    (found,) = show(namespace, "-6", "route", "show", "match", address, "proto", "bird")
    return found


def _move(world: World, guest: Guest, to: Host) -> Guest:
    """Have a guest arrive on another host, and give it the order to run it there, as the scheduler does."""
    port = {"id": guest.port.id, "ipv6": guest.port.ipv6, "prefixes": guest.port.prefixes}
    arrived = world.plug(to, guest.network, role=Role.INCOMING, vm=guest.vm, **port)
    ip(guest.namespace, "link", "set", "eth0", "down")
    compares: list[Compare] = []
    operations: list[Operation] = []
    for host, role in ((guest.host, Role.LEFT), (to, Role.RUN)):
        key = keys.placement(host.name, guest.vm)
        entry = world.store.get(key)
        assert entry is not None
        compares.append(unchanged(key, entry.mod_revision))
        placement = Placement.read(key, entry.value)
        operations.append(Put(key, placement.model_copy(update={"role": role}).to_json()))
    world.store.commit(compares, operations)
    return arrived


def test_a_router_learns_of_each_vm_by_its_host_and_of_nothing_else(routed: Routed) -> None:
    world = routed.world
    one, two = world.hosts
    red, blue = world.make_network(), world.make_network()
    a = world.plug(one, red)
    b = world.plug(two, red, prefixes=["fd75:636c:99::/64"])
    c = world.plug(one, blue)
    # Prefixes that nobody may announce: a tenant's own, and one that is not the cloud's.
    d = world.plug(one, world.make_network("fd75:636c:7::/64", isolated=True))
    e = world.plug(one, world.make_network("fd66:6::/64"))
    wanted = {a.address: "h1", c.address: "h1", b.address: "h2", "fd75:636c:99::/64": "h2"}
    routed.wait_routes(wanted)
    for host in world.hosts:
        wait_for("a default route", lambda h=host: show(h.namespace, "-6", "route", "show", "default"), _LEARN_S)  # type: ignore[misc]
    ip(b.namespace, "addr", "add", "fd75:636c:99::1/128", "dev", "lo")
    for address in (a.address, b.address, c.address, "fd75:636c:99::1"):
        routed.wait_reached(address)
    # By way of the router, as the host of c has b's network, too, but not b.
    c.wait_reaches(b.address)
    c.wait_reaches("fd75:636c:99::1")
    for guest in (d, e):
        assert not ping(routed.outside, guest.address, 100, 0.5)
    assert {"dst": _POOL, "type": "unreachable"}.items() <= _route_to(routed.router, "fd75:636c:5::5").items()
    assert routed.routes() == wanted


def test_a_route_follows_the_vm_and_goes_with_it(routed: Routed) -> None:
    world = routed.world
    one, two = world.hosts
    network: NetworkRequest = world.make_network()
    a = world.plug(one, network, prefixes=["fd75:636c:99::/64"])
    b = world.plug(one, network)
    routed.wait_routes({a.address: "h1", "fd75:636c:99::/64": "h1", b.address: "h1"})
    routed.wait_reached(a.address)
    moved = _move(world, a, two)
    took_s = routed.wait_routes({a.address: "h2", "fd75:636c:99::/64": "h2", b.address: "h1"}, _FOLLOW_S)
    routed.wait_reached(a.address)
    world.withdraw(one, a.vm)
    world.unplug(a)
    # Its guest has ended, and nobody has told this host yet.
    world.unplug(moved)
    gone_s = routed.wait_routes({b.address: "h1"}, _FOLLOW_S)
    print(f"followed after {took_s:.2f} s, gone after {gone_s:.2f} s")
    world.withdraw(two, a.vm)


def test_the_routes_of_a_host_that_falls_silent_go_and_come_back(routed: Routed) -> None:
    world = routed.world
    one, two = world.hosts
    network = world.make_network()
    a, b = world.plug(one, network), world.plug(two, network)
    routed.wait_routes({a.address: "h1", b.address: "h2"})
    router = Bird(routed.directory / "router")
    wait_for("both watched by BFD", lambda: router.ask("show", "bfd", "sessions").count(" Up ") == 2, _LEARN_S)
    routed.birds["h1"].send_signal(signal.SIGSTOP)
    routed.wait_routes({b.address: "h2"}, _FOLLOW_S)
    routed.birds["h1"].kill()
    routed.birds["h1"].wait()
    assert a.reaches(b.address)
    routed.start(one)
    routed.wait_routes({a.address: "h1", b.address: "h2"})
    routed.wait_reached(a.address)

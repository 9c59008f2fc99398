"""Forged frames from a real tap: each is dropped and counted, its honest twin passes; without rules they arrive."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from common.schemas.network import GATEWAY_MAC
from common.schemas.port import eui64, mac_of
from tests.integration.ucloud_firewall import frames as f
from tests.integration.ucloud_firewall.forgeries import (
    ADDRESS,
    ADDRESS4,
    ADDRESS4_B,
    LINK,
    METADATA,
    PREFIX,
    ROUTED,
    UNKNOWN,
    A,
    B,
    C,
    Forgery,
    forgeries,
    honest,
)
from tests.integration.ucloud_firewall.namespace import Namespace, Wire
from ucloud_firewall.kernel import Kernel
from ucloud_firewall.nft import NftRenderer
from ucloud_firewall.rights import BridgeRights, Policy, PortRights

FORGERIES = forgeries()
HONEST = honest()
SOON_S = 5.0


def rights(port: str, ipv4: str | None = None) -> PortRights:
    return PortRights(
        tap=f"tap{port}",
        bridge="ucbr5",
        mac=mac_of(port),
        ipv6=(eui64(PREFIX, port), eui64(LINK, port)),
        ipv4=(IPv4Address(ipv4),) if ipv4 else (),
        prefixes=(ROUTED,) if port == A else (),
    )


POLICY = Policy(
    ports={each.tap: each for each in (rights(A, ADDRESS4), rights(B, ADDRESS4_B), rights(C))},
    bridges={"ucbr5": BridgeRights("ucbr5", 1, isolated=False)},
)


@dataclass
class World:
    """A bridge with guests on it, another host, and this one."""

    namespace: Namespace
    kernel: Kernel
    guests: dict[str, Wire]
    far: Wire
    here: Wire

    def receivers(self, sender: str) -> list[Wire]:
        """Who could get what `sender` sends to everybody."""
        return [*(wire for port, wire in self.guests.items() if port not in (sender, UNKNOWN)), self.far, self.here]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Namespace() as namespace:
        namespace.bridge("ucbr5", GATEWAY_MAC, "fe80::a9fe:a9fe/64", "fd00:ec2::254/128", "169.254.169.254/32")
        namespace.sysctl(bridge__bridge_nf_call_iptables=0, bridge__bridge_nf_call_ip6tables=0)
        kernel = namespace.do(Kernel)
        kernel.load(NftRenderer().load(POLICY))
        guests = {port: namespace.tap(f"tap{port}", "ucbr5") for port in (A, B, C, UNKNOWN)}
        yield World(namespace, kernel, guests, namespace.far("ucvx5", "ucbr5"), namespace.watch("ucbr5"))


def _send(world: World, port: str, frame: bytes) -> list[Wire]:
    """Send a frame and then an honest one; once that has arrived, returns who has got the first, too."""
    receivers = world.receivers(port)
    for wire in receivers:
        wire.forget()
    world.guests[port].send(frame)
    sentinel = HONEST["udp"][1]
    world.guests[A].send(sentinel)
    for wire in receivers:
        if wire is not world.guests[A]:
            assert wire.has(sentinel, SOON_S)
    return [wire for wire in receivers if wire.has(frame)]


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_what_is_forged_is_dropped_and_counted(world: World, forgery: Forgery) -> None:
    before = world.kernel.counts(f"dropped_{forgery.reason}").get(f"tap{forgery.port}", 0)
    assert not _send(world, forgery.port, forgery.frame)
    assert world.kernel.counts(f"dropped_{forgery.reason}")[f"tap{forgery.port}"] == before + 1


@pytest.mark.parametrize("name", HONEST)
def test_what_is_honest_passes_and_is_counted(world: World, name: str) -> None:
    port, frame = HONEST[name]
    before = world.kernel.counts("leaving")[f"tap{port}"]
    receivers = world.receivers(port)
    for wire in receivers:
        wire.forget()
    world.guests[port].send(frame)
    assert all(wire.has(frame, SOON_S) for wire in receivers)
    assert world.kernel.counts("leaving")[f"tap{port}"] == before + 1


def test_nothing_reaches_a_port_that_nobody_knows(world: World) -> None:
    sent = [frame for _, frame in HONEST.values()]
    sent.append(f.ethernet(f.ALL_NODES_MAC, mac_of("0c00000001"), f.IP6, HONEST["udp"][1][14:]))
    world.guests[UNKNOWN].forget()
    for frame in sent[:-1]:
        world.guests[A].send(frame)
    world.far.send(sent[-1])
    world.namespace.run(
        "python3", "-c", "import socket as s; u = s.socket(s.AF_INET6, s.SOCK_DGRAM)\n"
        "u.sendto(b'from the host', ('ff02::1', 4000, 0, s.if_nametoindex('ucbr5')))",
    )  # fmt: skip
    assert world.guests[B].find(lambda frame: b"from the host" in frame, SOON_S)
    assert not world.guests[UNKNOWN].find(lambda frame: frame in sent or b"from the host" in frame, 0.1)


def test_frames_for_the_bridge_alone_do_not_reach_this_host(world: World) -> None:
    """Those to 01:80:c2:00:00:0x go past the bridge, to the tap's own interface."""
    server = world.namespace.do(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    with server:
        server.bind(("::", 4001))
        server.settimeout(0.1)
        body = f.udp6(ADDRESS, METADATA, 4000, 4001)
        frames = [
            f.ethernet(f"01:80:c2:00:00:{last}", mac_of(A), f.IP6, f.ipv6(ADDRESS, METADATA, f.UDP, body))
            for last in ("00", "03", "0e")
        ]
        for frame in frames:
            world.guests[A].send(frame)
        with pytest.raises(TimeoutError):
            server.recv(100)
        assert world.kernel.named_counters()["stray"] > 0
        world.namespace.run("nft", "flush ruleset")
        try:
            world.guests[A].send(frames[-1])
            assert server.recv(100) == b"ucloud"
        finally:
            world.kernel.load(NftRenderer().load(POLICY))


def test_there_are_enough_of_them() -> None:
    assert len(FORGERIES) >= 40
    assert {forgery.honest for forgery in FORGERIES} <= HONEST.keys()


def test_without_rules_they_arrive(world: World) -> None:
    world.namespace.run("nft", "flush ruleset")
    try:
        for forgery in FORGERIES:
            assert _send(world, forgery.port, forgery.frame), forgery.name
    finally:
        world.kernel.load(NftRenderer().load(POLICY))

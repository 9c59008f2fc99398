"""VMs with ports: guests on bridges, with a real libvirtd and QEMU; one boot proves much."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Network
from pathlib import Path

import pytest

from common.schemas.network import NetworkRequest
from common.schemas.port import Port, eui64
from common.schemas.vm import Actual, MoveState, Requested
from devcloud.waiting import wait_for
from tests.integration.ucloud_vm.pair import (
    MOVE_S,
    Pair,
    Vm,
    boot,
    wait_beat,
    wait_move,
)
from tests.integration.ucloud_vm.rig import BLANK, BOOT_S, Rig
from ucloud_vm.nics import NO_BRIDGE
from ucloud_vm.planning.plugging import KEEPS

MTU = 1430


def a_network(number: int) -> NetworkRequest:
    return NetworkRequest(
        uuid=f"6b1c7c1e-0000-4000-8000-{number:012x}",
        owner="admin",
        name=f"net{number}",
        vni=number,
        prefix=IPv6Network((0xFD75_636C << 96 | number << 64, 64)),
        created_at=datetime.now(UTC),
    )


def a_port(network: NetworkRequest, number: int) -> Port:
    port_id = f"a0000000{number:02x}"
    return Port(id=port_id, network=network.uuid, ipv6=eui64(network.prefix, port_id))


@dataclass(frozen=True)
class Wires:
    """Two networks that etcd knows, and a port on each."""

    front: NetworkRequest
    back: NetworkRequest
    one: Port
    two: Port


@pytest.fixture
def wires(rig: Rig) -> Iterator[Wires]:
    front, back = a_network(71), a_network(72)
    for network in (front, back):
        rig.add_network(network)
    yield Wires(front, back, a_port(front, 1), a_port(back, 2))
    remove_bridges(rig)


def remove_bridges(*rigs: Rig) -> None:
    for rig in rigs:
        for bridge in rig.links("ucbr"):
            rig.ip(f"link delete {bridge}")


@contextmanager
def answering(rig: Rig, network: NetworkRequest, metadata: dict[str, str]) -> Iterator[None]:
    """Somebody answers the guests on a network."""
    arguments = ["tests.integration.ucloud_vm.responder", network.bridge, str(network.prefix), json.dumps(metadata)]
    command = ["ip", "netns", "exec", rig.host.network.namespace(rig.host.name), sys.executable, "-m", *arguments]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        yield
        process.terminate()


def waiting_for(network: NetworkRequest) -> str:
    return f"waiting for network {network.uuid}: {NO_BRIDGE}"


def wait_said(rig: Rig, vm: str, text: str) -> None:
    """Wait until the guest has written something to its serial line."""
    log = rig.serial_log(vm)
    wait_for(f"{text!r} from the guest", lambda: log.exists() and text in log.read_text(errors="replace"), BOOT_S)


def wait_answer(rig: Rig, address: str, timeout_s: float = 30) -> None:
    """Wait until the guest answers to an address."""
    namespace = rig.host.network.namespace(rig.host.name)
    ping = ["ip", "netns", "exec", namespace, "busybox", "ping", "-c1", "-W1", address]

    def answers() -> bool:
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0

    wait_for(f"an answer of {address}", answers, timeout_s)


def log_in(rig: Rig, key: Path, address: str) -> str:
    """Log in to the guest with a key; returns the name that it has."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=30")
    arguments = [part for option in options for part in ("-o", option)]
    return rig.inside("ssh", *arguments, "-i", str(key), f"root@{address}", "hostname").strip()


def test_a_guest_waits_for_its_bridge_lives_on_it_and_gets_and_loses_ports(
    rig: Rig, wires: Wires, tmp_path: Path
) -> None:
    vm, one, two = rig.new_vm(), wires.one, wires.two
    rig.order(vm, Requested.RUNNING, 1, ports=(one,))
    rig.wait_status(vm, Actual.DEPLOYING, 1, waiting_for(wires.front))
    assert rig.qemu_pids(vm) == set()

    rig.add_bridge(wires.front, MTU)
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    metadata = {
        "/2009-04-04/": "meta-data\nuser-data",
        "/2009-04-04/meta-data/": "hostname\npublic-keys/",
        "/2009-04-04/meta-data/hostname": "web",
        "/2009-04-04/meta-data/public-keys/0/openssh-key": key.with_suffix(".pub").read_text(),
        "/2009-04-04/user-data": "#!/bin/sh\necho UCGUEST hello from $(hostname) > /dev/console\n",
    }
    with answering(rig, wires.front, metadata):
        status = rig.wait_status(vm, Actual.RUNNING, 1)
        assert status.addresses == (str(one.ipv6),)
        ((tap, line),) = rig.links("tap").items()
        assert tap == one.tap
        assert f"mtu {MTU}" in line
        assert f"master {wires.front.bridge}" in line
        wait_said(rig, vm, f"UCGUEST nic eth0 {one.mac}")
        wait_said(rig, vm, f"UCGUEST addresses eth0={one.ipv6}/128")
        wait_answer(rig, f"{one.link_local}%{wires.front.bridge}")
        wait_answer(rig, str(one.ipv6))
        wait_said(rig, vm, "UCGUEST metadata http://[fd00:ec2::254]/2009-04-04 web keys 1")
        wait_said(rig, vm, "UCGUEST hello from web")
        wait_said(rig, vm, "UCGUEST user-data exit 0")
        assert log_in(rig, key, str(one.ipv6)) == "web"

    # A second one, as soon as it has a bridge.
    (pid,) = rig.qemu_pids(vm)
    rig.order(vm, Requested.RUNNING, 2, ports=(one, two))
    rig.wait_status(vm, Actual.RUNNING, 2, waiting_for(wires.back))
    rig.add_bridge(wires.back, MTU)
    wait_said(rig, vm, f"UCGUEST nic eth1 {two.mac}")
    wait_answer(rig, f"{two.link_local}%{wires.back.bridge}")
    wait_for("both addresses", lambda: rig.wait_status(vm, Actual.RUNNING, 2).addresses[1:] == (str(two.ipv6),), 20)
    rig.restart("ucloud-vm")
    rig.wait_gone("trouble", lambda: not rig.is_well())
    assert set(rig.links("tap")) == {one.tap, two.tap}

    # The first one goes, and all that it had here.
    rig.order(vm, Requested.RUNNING, 3, ports=(two,))
    wait_said(rig, vm, "UCGUEST nic-gone eth0")
    rig.wait_gone("tap of it", lambda: one.tap in rig.links("tap"))
    wait_for("its address gone", lambda: rig.wait_status(vm, Actual.RUNNING, 3).addresses == (str(two.ipv6),), 20)
    wait_answer(rig, f"{two.link_local}%{wires.back.bridge}")
    assert rig.qemu_pids(vm) == {pid}
    status = rig.wait_status(vm, Actual.RUNNING, 3)
    assert status.reason == ""
    rig.delete(vm, 4)
    assert rig.links("tap") == {}


def test_a_guest_that_keeps_a_port_is_told_of_and_loses_it_when_it_is_off(rig: Rig, wires: Wires) -> None:
    """It has no system, so it answers nothing."""
    vm = rig.new_vm()
    rig.add_bridge(wires.front, MTU)
    rig.order(vm, Requested.RUNNING, 1, BLANK, ports=(wires.one,))
    rig.wait_status(vm, Actual.RUNNING, 1)
    rig.order(vm, Requested.RUNNING, 2, BLANK)
    assert rig.wait_status(vm, Actual.RUNNING, 2, KEEPS).addresses == ()
    assert set(rig.links("tap")) == {wires.one.tap}
    rig.order(vm, Requested.STOPPED, 3, BLANK, force=True)
    rig.wait_status(vm, Actual.STOPPED, 3)
    assert rig.links("tap") == {}
    assert "<interface" not in rig.virsh("dumpxml", f"ucloud-{vm}")
    rig.order(vm, Requested.STOPPED, 4, BLANK, ports=(wires.two,))
    wait_for("its next card", lambda: wires.two.tap in rig.virsh("dumpxml", f"ucloud-{vm}"), 20)
    rig.delete(vm, 5)


def test_a_network_that_nobody_knows_is_told_and_keeps_nothing_from_being_deleted(rig: Rig) -> None:
    vm, unknown = rig.new_vm(), a_network(73)
    rig.order(vm, Requested.RUNNING, 1, BLANK, ports=(a_port(unknown, 3),))
    wait_for("the reason", lambda: f"there is no network {unknown.uuid}" in reason_of(rig, vm), 30)
    rig.delete(vm, 2)


@contextmanager
def listening_for_announcements(rig: Rig) -> Iterator[Callable[[], str]]:
    """Yields what waits for the MAC address that QEMU announces on the host, so that bridges learn where it is."""
    rarp = "socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x8035)"  # RFC 903
    script = f"import socket; link = socket.socket({rarp}); print(flush=True); print(link.recv(99)[6:12].hex(':'))"
    namespace = rig.host.network.namespace(rig.host.name)
    command = ["ip", "netns", "exec", namespace, "timeout", str(MOVE_S), sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield lambda: process.stdout.readline().strip() if process.stdout else ""
        process.terminate()


def reason_of(rig: Rig, vm: str) -> str:
    status = rig.status(vm)
    return status.reason if status else ""


def test_a_guest_moves_with_its_port(rig: Rig, second_rig: Rig, wires: Wires) -> None:
    second_rig.start("ucloud-vm")
    try:
        move_with_port(Pair(rig, second_rig), wires)
    finally:
        second_rig.kill("ucloud-vm")
        remove_bridges(second_rig)


def move_with_port(pair: Pair, wires: Wires) -> None:
    source, target, port = pair.one, pair.two, wires.one
    source.add_bridge(wires.front, MTU)
    vm = Vm(source.new_vm(), source, ports=(port,))
    boot(vm)
    wait_answer(source, f"{port.link_local}%{wires.front.bridge}")
    boot_id, count = wait_beat(vm)

    move = pair.begin(vm)
    wait_for("its reason", lambda: waiting_for(wires.front) in reason_of(target, vm.uuid), 30)
    target.add_bridge(wires.front, MTU)
    wait_move(target, vm.uuid, MoveState.READY)
    with listening_for_announcements(target) as announced:
        pair.finish(vm, pair.send(move))
        assert announced() == port.mac
    assert source.links("tap") == {}
    table = target.inside("bridge", "fdb", "show", "br", wires.front.bridge)
    assert f"{port.mac} dev {port.tap} master {wires.front.bridge}" in table
    assert f"master {wires.front.bridge}" in target.links("tap")[port.tap]
    wait_answer(target, f"{port.link_local}%{wires.front.bridge}", 10)
    assert wait_beat(vm, count)[0] == boot_id
    arrived = target.wait_status(vm.uuid, Actual.RUNNING, vm.generation, timeout_s=MOVE_S)
    assert arrived.addresses == (str(port.ipv6),)
    pair.remove(vm)
    assert target.links("tap") == {}

"""Guests on networks that span hosts: who reaches whom, what a move keeps, what a daemon's death costs, what is left.

Three guests: "left" and "right" are on one network, on hosts of their own; "stranger" is on another one with the same
prefix, and has the same address there as "right". All are on a third network, too, by which the tests log in.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any

import pytest

from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.people import USER
from devcloud.waiting import wait_for
from tests.system import world
from tests.system.conftest import kept_logs

PREFIX = IPv6Network("fd00:db8:1::/64")
SAME = str(PREFIX[0x10])
"""The address of both "right" and "stranger"."""
UP_S = 180.0
HEAL_S = 30.0
DAEMONS = ("ucloud-net", "ucloud-firewall", "ucloud-ipam", "ucloud-meta")


@dataclass
class People:
    """The user's cloud, and the guests by name."""

    cloud: Cloud
    addresses: dict[str, str] = field(default_factory=dict)
    """By which the tests log in."""

    def ucloud(self, *arguments: str) -> str:
        """What the user's command prints."""
        return first_vm.ucloud(self.cloud, *arguments, user=USER)

    def show(self, name: str) -> dict[str, Any]:
        """A VM."""
        shown: dict[str, Any] = json.loads(self.ucloud("vm", "show", name, "-o", "json"))
        return shown

    def host_of(self, name: str) -> str:
        """Where a VM is."""
        return str(self.show(name)["hostname"]).rpartition("/")[2]

    def create(self, name: str, host: str, plug: str) -> None:
        """A VM on a host, on the network "home" and another one."""
        specs = ("--cpu", "1", "--ram", "128MiB", "--ssd", "1")
        options = ("--image", first_vm.IMAGE, *specs, "--network", "home", "--network", plug)
        self.ucloud("vm", "create", name, *options, "--host-label", f"number={host}")
        self.addresses[name] = self.show(name)["ports"][0]["ipv6"]
        self.reach(name)

    def reach(self, name: str) -> None:
        """Have the tests' packets to a VM go to where it is."""
        self.cloud.reach(self.addresses[name], self.host_of(name))

    def run(self, name: str, command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Have a guest run a command."""
        ssh = first_vm.ssh(self.cloud, self.addresses[name])
        return subprocess.run([*ssh, command], capture_output=True, text=True, check=False, timeout=timeout_s)

    def output(self, name: str, command: str) -> str:
        """What a command prints in a guest; it must end well."""
        done = self.run(name, command)
        assert done.returncode == 0, f"{command} on {name}: {done.stdout} {done.stderr}"
        return done.stdout

    def reaches(self, name: str, address: str) -> bool:
        """Whether a guest is answered."""
        return self.run(name, f"ping -c 1 -W 2 {address}").returncode == 0

    def links(self, host: str) -> set[str]:
        """What a host has of networks and ports."""
        command = self.cloud.enter(host, "ip", "-j", "link")
        listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return {each["ifname"] for each in listed if each["ifname"].startswith(("ucbr", "ucvx", "tap"))}


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    cloud = Cloud(f"nets-{os.getpid()}", Shape(hosts=3, networks=True))
    try:
        cloud.up()
        first_vm.import_image(cloud)
        for host in cloud.hosts:
            first_vm.ucloud(cloud, "host", "set", host.name, "--label", f"number={host.name}")
        people = People(cloud)
        people.ucloud("network", "create", "home")
        for name in ("one", "other"):
            people.ucloud("network", "create", name, "--isolated", "--prefix", str(PREFIX), "--ipv4", "10.1.0.0/24")
        first_vm.add_ssh_key(cloud, lambda _: None)
        people.create("left", "h1", "one,ipv4=10.1.0.17")
        people.create("right", "h2", f"one,ipv4=10.1.0.16,ipv6={SAME}")
        people.create("stranger", "h3", f"other,ipv4=10.1.0.16,ipv6={SAME}")
        for name in people.addresses:
            wait_for(f"{name} to let its owner in", lambda name=name: people.run(name, "true").returncode == 0, UP_S)  # type: ignore[misc]
        yield people
    finally:
        kept_logs(cloud)
        cloud.down()


def test_a_guest_is_told_who_it_is(people: People) -> None:
    assert people.output("left", "hostname").strip() == "left"
    told = people.output("left", "wget -q -O - http://[fd00:ec2::254]/latest/meta-data/instance-id")
    assert told.strip() == people.show("left")["uuid"]


@pytest.mark.parametrize("address", [SAME, "10.1.0.16"])
def test_guests_of_a_network_reach_one_another_across_hosts_and_nobody_else(people: People, address: str) -> None:
    wait_for("an answer", lambda: people.reaches("left", address), UP_S)
    who = "ping -c 2 -W 2 {} > /dev/null; ip neigh show {}"
    told = people.output("left", who.format(address, address))
    macs = {name: people.show(name)["ports"][1]["mac"] for name in ("right", "stranger")}
    assert macs["right"] in told
    assert macs["stranger"] not in told


def test_packets_as_large_as_the_network_takes_pass_and_larger_ones_do_not_leave(people: People) -> None:
    mtu = int(people.output("left", "cat /sys/class/net/eth1/mtu"))
    fits = mtu - 48  # IPv6 and ICMPv6
    assert people.run("left", f"ping -c 2 -W 2 -s {fits} {SAME}").returncode == 0


def test_a_move_keeps_addresses_and_connections(people: People) -> None:
    people.output("left", f"(ping -i 0.2 -c 600 {SAME} > /tmp/pings 2>&1 &) ; true")
    people.ucloud("vm", "set", "right", "--no-host-labels")
    first_vm.ucloud(people.cloud, "vm", "migrate", people.show("right")["uuid"], "--to", "h3")
    assert people.host_of("right") == "h3"
    people.reach("right")
    wait_for("an answer after the move", lambda: people.reaches("left", SAME), HEAL_S)
    assert people.show("right")["ports"][1]["ipv6"] == SAME
    assert people.output("right", "hostname").strip() == "right"
    assert people.reaches("left", SAME)
    people.output("left", "killall -INT ping; true")
    # It is on the host of the stranger now, with the same address, and is told from it.
    told = people.output("stranger", "wget -q -O - http://[fd00:ec2::254]/latest/meta-data/hostname")
    assert told.strip() == "stranger"


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_that_is_killed_is_missed_by_nobody(people: People, daemon: str) -> None:
    before = people.links("h1")
    pid = people.cloud.kill(f"{daemon}@h1")
    assert people.reaches("left", SAME)
    people.cloud.wait_restarted(f"{daemon}@h1", pid)
    assert people.reaches("left", SAME)
    assert people.links("h1") == before


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "ip link del {vxlan}",
        "for b in $(ls /sys/class/net | grep ucbr); do ip -6 addr flush dev $b; done",
        "for x in $(ls /sys/class/net | grep ucvx); do bridge fdb flush dev $x; done",
    ],
)
def test_what_somebody_breaks_is_mended(people: People, damage: str) -> None:
    vxlan = next(name for name in people.links("h1") if name.startswith("ucvx"))
    subprocess.run(people.cloud.enter("h1", "sh", "-c", damage.format(vxlan=vxlan)), check=True, capture_output=True)
    wait_for("an answer", lambda: people.reaches("left", SAME), HEAL_S)
    assert vxlan in people.links("h1")


def test_nothing_is_left_of_what_is_deleted(people: People) -> None:
    for name in ("left", "right", "stranger"):
        people.ucloud("vm", "delete", name)
    wait_for("no link of a network", lambda: not any(people.links(host.name) for host in people.cloud.hosts), UP_S)
    for name in ("one", "other", "home"):
        people.ucloud("network", "delete", name)
    assert not world.vm_keys(people.cloud)
    list_rules = people.cloud.enter("h1", "nft", "list", "ruleset")
    rules = subprocess.run(list_rules, check=True, capture_output=True, text=True).stdout
    assert not re.search(r'"tap[0-9a-f]{10}"', rules)

"""Guests on networks that span hosts: who reaches whom, what a move keeps, what damage costs, what is left.

Three guests: "left" and "right" are on one network, on hosts of their own; "stranger" is on another one with the same
prefix, and has the same address there as "right". All are on a third network, too, by which the tests log in.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from typing import Any

import pytest

from common import keys
from common.store import EtcdOptions, Store
from devcloud import first_vm
from devcloud.cloud import Cloud, Shape
from devcloud.errors import DeadlineExceeded
from devcloud.people import USER
from devcloud.waiting import wait_for
from tests.system import world
from tests.system.conftest import running_cloud
from tests.system.taps import Tap, longest_gap_s, silence_ends_s

PREFIX = IPv6Network("fd00:db8:1::/64")
SAME = str(PREFIX[0x10])
"""The address of both "right" and "stranger"."""
FOREIGN = str(PREFIX[0xBAD])
"""An address that nobody has."""
GATEWAY = "fe80::a9fe:a9fe"
UP_S = 180.0
MOVED_S = 30.0
HEAL_S = 3.0
SILENCE_S = 0.5
"""Of answers that come each 0.1 s: what is longer than what a busy machine does to a guest."""
DAEMONS = ("ucloud-net", "ucloud-firewall", "ucloud-ipam", "ucloud-meta")
LOOKS = {
    "links": "ip -brief link | sed 's/@.*//; s/ .*//'",
    "addresses": "ip -brief address | sed 's/@[^ ]*//; s/ [A-Z]* / /'",
    "routes": "for v in 4 6; do ip -$v route show table all; done | sed '/^anycast /d'",
    "rules of routing": "for v in 4 6; do ip -$v rule; done | sed '/lookup 7693164/d'",
    "neighbours": "ip neighbour show nud permanent; bridge fdb show | sed '/ dev eth0 /d'",
    "multicast groups": "ip -6 maddr show dev eth0 | sed -n '/ff05::2$/d; /ff05:/p'",
    "firewall": r"""nft --stateless list ruleset | sed 's/"tap[0-9a-f]*" counter *[,}]//g' |
                    sed -n '/"tap[0-9a-f]\|uc..[0-9]\|_g_\|members/p'""",
    "traffic control": "tc qdisc; tc filter show dev eth0 ingress; tc filter show dev eth0 egress",
}
"""All that a host has of networks and ports, but for what is about none of them and stays for the next ones.

The kernel keeps the counts of dropped frames for seven days, and forgets them by itself.
"""
OF_NETWORKS = (
    keys.NETWORK, keys.STATUS_NETWORK, keys.ENDPOINT, keys.VNI, keys.PREFIX, keys.ADDRESS, keys.PORT,
    keys.SECURITY_GROUP, keys.GROUP_MEMBER, keys.GROUP_USE,
)  # fmt: skip


@dataclass
class People:
    """The user's cloud, and the guests by name."""

    cloud: Cloud
    addresses: dict[str, str] = field(default_factory=dict)
    """By which the tests log in."""
    before: dict[str, str] = field(default_factory=dict)
    """What there was before all networks, see `everything`."""

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

    def on_host(self, host: str, script: str) -> str:
        """What a script prints on a host."""
        command = self.cloud.enter(host, "sh", "-c", script)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def tap(self, name: str, *sources: str) -> Tap:
        """The tap that a VM has on the second of its networks."""
        return Tap(self.cloud, self.host_of(name), f"tap{self.show(name)['ports'][1]['id']}", *sources)

    def everything(self) -> dict[str, str]:
        """All that hosts and etcd have of networks and VMs, and who has it."""
        found = {f"{what} of {host.name}": self.on_host(host.name, look)
                 for host in self.cloud.hosts for what, look in LOOKS.items()}  # fmt: skip
        store = Store(EtcdOptions(self.cloud.etcd_endpoints))
        try:
            named = [entry.key for entry in store.list(keys.ROOT).entries]
        finally:
            store.close()
        found["etcd"] = "\n".join(key for key in named if key.startswith(OF_NETWORKS) or "/name/" in key)
        return found


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with running_cloud("nets", Shape(hosts=3, networks=True)) as cloud:
        first_vm.import_image(cloud)
        for host in cloud.hosts:
            first_vm.ucloud(cloud, "host", "set", host.name, "--label", f"number={host.name}")
        first_vm.add_ssh_key(cloud, lambda _: None)
        people = People(cloud)
        people.before = people.everything()
        people.ucloud("network", "create", "home")
        for name in ("one", "other"):
            people.ucloud("network", "create", name, "--isolated", "--prefix", str(PREFIX), "--ipv4", "10.1.0.0/24")
        people.create("left", "h1", "one,ipv4=10.1.0.17")
        people.create("right", "h2", f"one,ipv4=10.1.0.16,ipv6={SAME}")
        people.create("stranger", "h3", f"other,ipv4=10.1.0.16,ipv6={SAME}")
        for name in people.addresses:
            wait_for(f"{name} to let its owner in", lambda name=name: people.run(name, "true").returncode == 0, UP_S)  # type: ignore[misc]
        yield people


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


ECHO = "nc -l -p 7000 -e cat < /dev/null > /dev/null 2>&1 & true"
"""One connection is taken, and all that comes by it sent back."""
COUNT = f"""
(while [ ! -e /tmp/enough ]; do n=$((n + 1)); echo $n; echo $n > /tmp/sent; usleep 50000; done |
 nc {SAME} 7000 > /tmp/echoed) < /dev/null > /dev/null 2>&1 & true"""
"""Lines 1, 2, 3 ... go out by one connection."""


def test_a_move_keeps_addresses_and_connections(people: People) -> None:
    def echoed() -> int:
        return int(people.output("left", "wc -l < /tmp/echoed"))

    people.output("right", ECHO)
    people.output("left", COUNT)
    wait_for("lines come back", lambda: echoed() > 20, UP_S)
    with people.tap("left", SAME) as tap:
        people.output("left", f"ping -i 0.1 {SAME} > /tmp/pings 2>&1 < /dev/null & true")
        people.ucloud("vm", "set", "right", "--no-host-labels")
        first_vm.ucloud(people.cloud, "vm", "migrate", people.show("right")["uuid"], "--to", "h3")
        assert people.host_of("right") == "h3"
        people.reach("right")
        moved = echoed()
        wait_for("more lines come back", lambda: echoed() > moved + 20, MOVED_S)
        people.output("left", "killall -INT ping; touch /tmp/enough")
        gap_s = longest_gap_s(tap.arrivals(SAME))
    lost = next(line for line in people.output("left", "cat /tmp/pings").splitlines() if "transmitted" in line)
    print(f"while it moved: {lost}; longest silence {gap_s:.2f} s")
    wait_for("the end of the connection", lambda: not people.run("left", "pidof nc").stdout, MOVED_S)
    sent = int(people.output("left", "cat /tmp/sent"))
    assert people.output("left", "cat /tmp/echoed").split() == [str(number) for number in range(1, sent + 1)]
    assert people.show("right")["ports"][1]["ipv6"] == SAME
    assert people.output("right", "hostname").strip() == "right"
    # It is on the host of the stranger now, with the same address, and is told from it.
    told = people.output("stranger", "wget -q -O - http://[fd00:ec2::254]/latest/meta-data/hostname")
    assert told.strip() == "stranger"


@pytest.fixture
def traffic(people: People) -> Iterator[tuple[Tap, Tap]]:
    """ "left" pings "right" and the gateway, and sends "right" packets with a foreign source; the taps of both."""
    # It says which source it means: the foreign address is nearer to that of "right".
    own = people.show("left")["ports"][1]["ipv6"]
    pings = (f"-i 0.1 -I {own} {SAME}", f"-i 0.1 -I eth1 {GATEWAY}", f"-i 0.02 -I {FOREIGN} {SAME}")
    people.output("left", f"ip -6 addr add {FOREIGN}/128 dev eth1 2> /dev/null; true")
    with people.tap("left", SAME, GATEWAY, FOREIGN) as left, people.tap("right", FOREIGN) as right:
        people.output("left", "".join(f"ping -q {each} < /dev/null > /dev/null 2>&1 & " for each in pings) + "true")
        wait_for("all of it", lambda: min(map(len, (left.arrivals(SAME), left.arrivals(GATEWAY),
                                                    left.departures(FOREIGN)))) > 10, UP_S)  # fmt: skip
        yield left, right
        people.output("left", f"killall ping; ip -6 addr del {FOREIGN}/128 dev eth1")


def _mended(tap: Tap, broken: float) -> dict[str, float]:
    """How long after it was broken the last silence of each of those that answer was over."""
    everybody = {"right": SAME, "the gateway": GATEWAY}

    def answers(address: str) -> bool:
        now = time.monotonic()
        return now > broken + HEAL_S and sum(moment > now - 1 for moment in tap.arrivals(address)) >= 5

    for name, address in everybody.items():
        wait_for(f"answers of {name}", lambda address=address: answers(address), UP_S)  # type: ignore[misc]
    return {name: silence_ends_s(tap.arrivals(each), broken, SILENCE_S) for name, each in everybody.items()}


def _assert_healed(people: People, traffic: tuple[Tap, Tap], what: str, damage: Callable[[], object]) -> None:
    left, right = traffic
    sent = len(left.departures(FOREIGN))
    broken = time.monotonic()
    damage()
    mended = _mended(left, broken)
    print(f"{what}: {', '.join(f'{name} answers after {took_s:.2f} s' for name, took_s in mended.items())}")
    assert max(mended.values()) < HEAL_S
    assert len(left.departures(FOREIGN)) > sent + 20
    assert not right.arrivals(FOREIGN)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_that_is_killed_is_missed_by_nobody(people: People, traffic: tuple[Tap, Tap], daemon: str) -> None:
    before = people.on_host("h1", LOOKS["links"])
    pid = people.cloud.pid(f"{daemon}@h1")
    _assert_healed(people, traffic, f"kill -9 {daemon}", lambda: people.cloud.kill(f"{daemon}@h1"))
    people.cloud.wait_restarted(f"{daemon}@h1", pid)
    assert people.on_host("h1", LOOKS["links"]) == before


@pytest.mark.parametrize(
    "damage",
    [
        "nft flush ruleset",
        "ip link del {bridge}",
        "ip link del {vxlan}",
        "ip -6 addr flush dev {bridge}",
        "bridge fdb flush dev {vxlan}",
        "bridge fdb flush dev {bridge}",
    ],
)
def test_what_somebody_breaks_is_mended(people: People, traffic: tuple[Tap, Tap], damage: str) -> None:
    before = people.on_host("h1", LOOKS["links"])
    tap = f"tap{people.show('left')['ports'][1]['id']}"
    bridge = json.loads(people.on_host("h1", f"ip -j link show {tap}"))[0]["master"]
    command = damage.format(bridge=bridge, vxlan=bridge.replace("ucbr", "ucvx"))
    _assert_healed(people, traffic, damage, lambda: people.on_host("h1", command))
    assert sorted(people.on_host("h1", LOOKS["links"]).split()) == sorted(before.split())


def test_nothing_is_left_of_what_is_deleted(people: People) -> None:
    for name in ("left", "right", "stranger"):
        people.ucloud("vm", "delete", name)
    for name in ("one", "other", "home"):
        people.ucloud("network", "delete", name)
    assert not world.vm_keys(people.cloud)

    def left() -> dict[str, str]:
        return {what: there for what, there in people.everything().items() if there != people.before[what]}

    try:
        wait_for("all as it was", lambda: not left(), MOVED_S)
    except DeadlineExceeded:
        assert left() == {what: people.before[what] for what in left()}

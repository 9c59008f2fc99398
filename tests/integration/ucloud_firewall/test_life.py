"""ucloud-firewall begins, ends, is killed, and somebody else empties its tables: what is forged never passes."""

import threading
import time

import pytest

from common import keys
from common.schemas.network import GATEWAY_MAC
from devcloud.waiting import wait_for
from tests.integration.ucloud_firewall import frames as f
from tests.integration.ucloud_firewall.namespace import Wire
from tests.integration.ucloud_firewall.rig import Rig, echo, network, port, udp

NET = network(5)
FIRST, SECOND = port(1, NET, ipv4="10.5.0.1"), port(2, NET, ipv4="10.5.0.2")
HEALED_S = 3.0
_QUIET_S = 0.3
GOOD = f.ethernet(SECOND.mac, FIRST.mac, f.IP6, udp(FIRST, SECOND, 53))
FORGED = f.ethernet(SECOND.mac, FIRST.mac, f.IP6, udp(port(9, NET), SECOND, 53))


class Sender:
    """Sends a forged frame and a good one in turn, all the time, and counts what arrives."""

    def __init__(self, sender: Wire, receiver: Wire) -> None:
        self._sender, self._receiver = sender, receiver
        self._stop = threading.Event()
        self.forged = self.good = self.sent = 0
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._count)]

    def __enter__(self) -> "Sender":
        self._receiver.forget()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        while not self._stop.wait(0.0002):
            self._sender.send(FORGED)
            self._sender.send(GOOD)
            self.sent += 1

    def _count(self) -> None:
        while (frame := self._receiver.find(lambda _: True, _QUIET_S)) or not self._stop.is_set():
            self.forged += frame == FORGED
            self.good += frame == GOOD
            self._receiver.drop_seen()


@pytest.fixture
def guests(rig: Rig) -> tuple[Wire, Wire]:
    """Two guests on one network, that may talk."""
    rig.make(NET)
    wires = []
    for each in (FIRST, SECOND):
        rig.place(each)
        wires.append(rig.plug(each))
    rig.wait_healthy()
    rig.is_let(FIRST, SECOND, udp(FIRST, SECOND, 53))
    return wires[0], wires[1]


def test_a_port_comes_up_closed_and_closes_when_its_vm_goes(rig: Rig) -> None:
    rig.make(NET)
    rig.place(FIRST)
    rig.plug(FIRST)
    rig.plug(SECOND)
    rig.wait_healthy()
    assert not rig.passes(FIRST, SECOND, udp(FIRST, SECOND, 53), 0.3)
    assert not rig.passes(SECOND, FIRST, udp(SECOND, FIRST, 53), 0.3)
    rig.place(SECOND)
    rig.is_let(FIRST, SECOND, udp(FIRST, SECOND, 53))
    rig.is_let(SECOND, FIRST, udp(SECOND, FIRST, 53))
    rig.remove(SECOND)
    rig.is_not_let(SECOND, FIRST, udp(SECOND, FIRST, 53))
    rig.is_not_let(FIRST, SECOND, udp(FIRST, SECOND, 53))


@pytest.mark.parametrize(
    "command",
    [
        "flush ruleset",
        "delete table bridge ucloud",
        "delete table inet ucloud",
        "flush table bridge ucloud",
        "flush chain bridge ucloud first",
        "insert rule bridge ucloud first accept",
        "delete chain bridge ucloud received",
    ],
)
def test_what_somebody_else_does_to_the_tables_is_undone(rig: Rig, guests: tuple[Wire, Wire], command: str) -> None:
    before = rig.namespace.run("nft", "--stateless", "list ruleset")
    rig.namespace.run("nft", command)
    began = time.monotonic()
    wait_for("the rules are back", lambda: rig.namespace.run("nft", "--stateless", "list ruleset") == before, HEALED_S)
    took = time.monotonic() - began
    assert took < HEALED_S
    print(f"{command}: healed in {took:.3f} s")
    assert not rig.passes(FIRST, SECOND, FORGED[14:], 0.2)
    rig.is_let(FIRST, SECOND, udp(FIRST, SECOND, 53))


def test_nothing_forged_passes_while_the_tables_are_emptied(rig: Rig, guests: tuple[Wire, Wire]) -> None:
    rig.wait_second_wall()
    with Sender(*guests) as sender:
        for _ in range(40):  # one that is on its way at the wrong moment is rare
            rig.namespace.run("nft", "flush ruleset")
            wait_for("the rules are back", lambda: "ucloud" in rig.namespace.run("nft", "list tables"), HEALED_S)
    assert sender.forged == 0
    assert sender.good > 0


def test_without_the_daemon_emptied_tables_close_everything(rig: Rig, guests: tuple[Wire, Wire]) -> None:
    rig.wait_second_wall()
    far = rig.far(NET)
    rig.namespace.do(rig.daemon.kill)
    rig.namespace.run("nft", "flush ruleset")
    everybody = f.ethernet(f.ALL_NODES_MAC, FIRST.mac, f.IP6, GOOD[14:])
    for frame in (GOOD, FORGED, everybody):
        guests[0].send(frame)
    far.forget()
    assert not rig.passes(FIRST, SECOND, FORGED[14:], 0.3)
    assert not rig.passes(FIRST, SECOND, udp(FIRST, SECOND, 53), 0.3)
    assert not far.find(lambda frame: frame in (GOOD, FORGED, everybody), 0.1)
    rig.namespace.do(rig.daemon.start)
    rig.wait_healthy()
    rig.is_let(FIRST, SECOND, udp(FIRST, SECOND, 53))


def test_what_this_host_says_itself_gets_to_guests_by_the_bridge_and_past_it(
    rig: Rig, guests: tuple[Wire, Wire]
) -> None:
    """DHCP is answered right into the tap, past the bridge and its rules."""
    rig.wait_second_wall()
    answer = f.ethernet(FIRST.mac, GATEWAY_MAC, f.IP6, udp(SECOND, FIRST, 546, sport=547))
    rig.namespace.run("python3", "-c", "import socket as s; p = s.socket(s.AF_PACKET, s.SOCK_RAW)\n"
                      f"p.bind(('{FIRST.tap}', 0)); p.send(bytes.fromhex('{answer.hex()}'))")  # fmt: skip
    assert guests[0].has(answer, 5)
    rig.namespace.run("python3", "-c", "import socket as s; u = s.socket(s.AF_INET6, s.SOCK_DGRAM)\n"
                      "u.sendto(b'from the host', ('ff02::1', 4000, 0, s.if_nametoindex('ucbr5')))")  # fmt: skip
    assert guests[0].find(lambda frame: b"from the host" in frame, 5)


def test_tables_of_others_are_left_alone(rig: Rig, guests: tuple[Wire, Wire]) -> None:
    rig.namespace.run("nft", "add table inet mine; add table bridge mine; add chain bridge mine c")
    rig.namespace.run("nft", "flush chain bridge mine c")
    rig.namespace.run("nft", "flush ruleset")
    rig.namespace.run("nft", "add table inet mine")
    wait_for("the rules are back", lambda: "ucloud" in rig.namespace.run("nft", "list tables"), HEALED_S)
    assert "table inet mine" in rig.namespace.run("nft", "list tables")


@pytest.mark.parametrize("how", ["kill", "end"])
def test_nothing_forged_passes_while_it_is_started_anew(rig: Rig, guests: tuple[Wire, Wire], how: str) -> None:
    handles = rig.namespace.run("nft", "--handle", "list chains bridge")
    with Sender(*guests) as sender:
        for _ in range(3):
            rig.namespace.do(rig.daemon.kill if how == "kill" else rig.daemon.end)
            rig.namespace.do(rig.daemon.start)
            rig.wait_healthy()
    assert sender.forged == 0
    assert sender.sent > 100
    assert sender.good >= sender.sent - 2
    # What was loaded was kept: nothing was written anew.
    assert rig.namespace.run("nft", "--handle", "list chains bridge") == handles


def test_what_changed_while_it_was_away_is_made_good_by_differences(rig: Rig, guests: tuple[Wire, Wire]) -> None:
    handles = rig.namespace.run("nft", "--handle", "list chains bridge")
    rig.namespace.do(rig.daemon.kill)
    rig.remove(SECOND)
    third = port(3, NET)
    rig.place(third)
    rig.plug(third)
    rig.namespace.do(rig.daemon.start)
    rig.wait_healthy()
    rig.is_let(FIRST, third, udp(FIRST, third, 53))
    rig.is_not_let(FIRST, SECOND, udp(FIRST, SECOND, 53))
    assert rig.namespace.run("nft", "--handle", "list chains bridge") == handles


def test_rules_that_were_changed_while_it_was_away_are_replaced(rig: Rig, guests: tuple[Wire, Wire]) -> None:
    rig.namespace.do(rig.daemon.kill)
    rig.namespace.run("nft", "insert rule bridge ucloud from_tap accept")
    assert rig.passes(FIRST, SECOND, FORGED[14:], 0.5)
    rig.namespace.do(rig.daemon.start)
    rig.wait_healthy()
    assert not rig.passes(FIRST, SECOND, FORGED[14:], 0.3)


def test_without_etcd_known_ports_go_on_and_tables_heal(rig: Rig, guests: tuple[Wire, Wire]) -> None:
    rig.relay.close()
    rig.namespace.run("nft", "flush ruleset")
    wait_for("the rules are back", lambda: "ucloud" in rig.namespace.run("nft", "list tables"), HEALED_S)
    rig.is_let(FIRST, SECOND, udp(FIRST, SECOND, 53))
    assert not rig.passes(FIRST, SECOND, FORGED[14:], 0.2)
    rig.namespace.do(rig.daemon.kill)
    rig.namespace.do(rig.daemon.start)
    wait_for("the daemon answers", lambda: rig.namespace.do(rig.daemon.health), 30)
    assert rig.passes(FIRST, SECOND, udp(FIRST, SECOND, 53), 1)
    rig.namespace.run("nft", "flush ruleset")
    wait_for("the rules are back", lambda: "ucloud" in rig.namespace.run("nft", "list tables"), HEALED_S)
    assert not rig.passes(FIRST, SECOND, udp(FIRST, SECOND, 53), 0.3)  # nobody knows any more what may pass


def test_a_placement_that_can_not_be_read_leaves_what_is_there(rig: Rig, guests: tuple[Wire, Wire]) -> None:
    rig.namespace.do(rig.daemon.kill)
    rig.put(keys.placement("h1", f"vm-{SECOND.id}"), b"rubbish")
    rig.namespace.do(rig.daemon.start)
    wait_for("the daemon answers", lambda: rig.namespace.do(rig.daemon.health), 30)
    assert rig.passes(FIRST, SECOND, udp(FIRST, SECOND, 53), 1)
    wait_for("adopted", lambda: "are kept" in rig.log().rpartition("ended")[2], 10)
    assert rig.passes(FIRST, SECOND, udp(FIRST, SECOND, 53), 1)
    rig.place(SECOND)
    rig.wait_healthy()
    rig.is_let(SECOND, FIRST, echo(SECOND, FIRST))


def test_isolated_networks_have_no_way_out(rig: Rig) -> None:
    closed, open_ = network(6, isolated=True), network(7)
    rig.make(NET, closed, open_)
    rig.namespace.sysctl(ipv6__conf__all__forwarding=1, ipv4__ip_forward=1)
    inside, outside, other = port(1, closed), port(2, NET), port(3, open_)
    for each in (inside, outside, other):
        rig.place(each)
        rig.plug(each)
        rig.namespace.ip(f"neighbour replace {each.ipv6} lladdr {each.mac} dev ucbr{each.network[4:]}")
    rig.wait_healthy()
    assert rig.is_routed(outside, other, udp(outside, other, 53))
    assert not rig.is_routed(inside, other, udp(inside, other, 53), 0.3)
    assert not rig.is_routed(other, inside, udp(other, inside, 53), 0.3)
    assert rig.metric("ucloud_firewall_stray_frames_total", reason="isolated") >= 2

"""Guests ask for names at the bridge of their network."""

import socket
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.reversename
import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for
from tests.integration.ucloud_ipam.rig import DEADLINE_S, Guest, Rig, ip
from tests.integration.ucloud_ipam.upstream import Upstream

OTHER_PORT = "00000000ff"
ABROAD = {
    ("v6.example.", "AAAA"): ("2001:db8:f::1",),
    ("v4.example.", "A"): ("192.0.2.1",),
    ("1.2.0.192.in-addr.arpa.", "PTR"): ("v4.example.",),
    ("long.example.", "TXT"): tuple(f'"{number:200d}"' for number in range(8)),
}


def _records(message: dns.message.Message) -> set[str]:
    return {record.to_text() for rrset in message.answer for record in rrset}


def _guest(rig: Rig, vni: int, prefix: str, name: str, ipv4: str | None = None, isolated: bool = False) -> Guest:
    """A guest with its address, in a network of its own."""
    port = rig.port(rig.network(vni, prefix, ipv4, isolated), f"{vni:010x}")
    rig.place(name, port)
    guest = rig.plug(port)
    guest.configure()
    return guest


@pytest.fixture
def abroad(store: Store, etcd: EtcdCluster, tmp_path: Path) -> Iterator[tuple[Rig, Upstream]]:
    """A host whose daemon asks others for names: one that does not answer, and one that does. It has a NAT64."""
    settings = {"UCLOUD_DNS_FORWARDERS": "127.0.0.1, ::1", "UCLOUD_DNS_DNS64_PREFIX": "2001:db8:64::/96"}
    with Rig(store, etcd.endpoints[0], tmp_path, settings) as rig:
        upstream = Upstream(rig.host, ABROAD)
        rig.start()
        yield rig, upstream
        upstream.close()


def test_a_guest_finds_the_others_of_its_network_by_name(rig: Rig) -> None:
    guest = _guest(rig, 1, "2001:db8:1::/64", "web", "10.1.0.0/24")
    address = str(guest.port.ipv6)
    for over_tcp in (False, True):
        answer = guest.ask("web.ucloud.internal", "AAAA", over_tcp)
        assert (_records(answer), bool(answer.flags & dns.flags.AA)) == ({address}, True)
    assert _records(guest.ask("web.ucloud.internal", "A", server="169.254.169.254")) == {str(guest.port.ipv4)}
    assert _records(guest.ask(dns.reversename.from_address(address).to_text(), "PTR")) == {"web.ucloud.internal."}
    assert _records(guest.ask("metadata.ucloud.internal", "AAAA")) == {"fd00:ec2::254"}
    assert guest.ask("db.ucloud.internal", "AAAA").rcode() == dns.rcode.NXDOMAIN
    assert guest.ask("example.com", "AAAA").rcode() == dns.rcode.REFUSED


def test_names_come_and_go_with_their_vms(rig: Rig) -> None:
    guest = _guest(rig, 1, "2001:db8:1::/64", "web")
    other = rig.port(rig._networks["net-1"], OTHER_PORT)

    def is_known() -> bool:
        return bool(_records(guest.ask("db.ucloud.internal", "AAAA")))

    assert not is_known()
    rig.place("db", other)
    wait_for("the new VM has a name", is_known, DEADLINE_S)
    rig.remove("db", other)
    wait_for("the name is gone", lambda: not is_known(), DEADLINE_S)


def test_networks_with_the_same_addresses_never_see_each_others_names(rig: Rig) -> None:
    one = _guest(rig, 1, "fd00:1::/64", "one", isolated=True)
    two = rig.port(rig.network(2, "fd00:1::/64", isolated=True), OTHER_PORT)
    rig.place("two", two)
    other = rig.plug(two)
    other.configure()
    for guest, known, unknown in ((one, "one", "two"), (other, "two", "one")):
        for over_tcp in (False, True):
            found = guest.ask(f"{known}.ucloud.internal", "AAAA", over_tcp)
            assert _records(found) == {str(guest.port.ipv6)}
            assert guest.ask(f"{unknown}.ucloud.internal", "AAAA", over_tcp).rcode() == dns.rcode.NXDOMAIN


def test_other_names_are_asked_of_others(abroad: tuple[Rig, Upstream]) -> None:
    rig, upstream = abroad
    guest = _guest(rig, 1, "2001:db8:1::/64", "web")
    assert _records(guest.ask("v6.example", "AAAA")) == {"2001:db8:f::1"}
    assert guest.ask("none.example", "A").rcode() == dns.rcode.NXDOMAIN
    assert guest.ask("long.example", "TXT").flags & dns.flags.TC
    assert len(_records(guest.ask("long.example", "TXT", over_tcp=True))) == 8
    assert _records(guest.ask("web.ucloud.internal", "AAAA")) == {str(guest.port.ipv6)}
    assert guest.ask("secret.ucloud.internal", "AAAA").rcode() == dns.rcode.NXDOMAIN
    assert not any("ucloud" in name for name, _ in upstream.asked)


def test_names_with_only_ipv4_addresses_get_some_of_the_nat64(abroad: tuple[Rig, Upstream]) -> None:
    guest = _guest(abroad[0], 1, "2001:db8:1::/64", "web")
    assert _records(guest.ask("v4.example", "AAAA")) == {"2001:db8:64::c000:201"}
    assert _records(guest.ask("v4.example", "A")) == {"192.0.2.1"}
    assert _records(guest.ask("v6.example", "AAAA")) == {"2001:db8:f::1"}
    assert guest.ask("none.example", "AAAA").rcode() == dns.rcode.NXDOMAIN
    reverse = dns.reversename.from_address("2001:db8:64::c000:201").to_text()
    assert _records(guest.ask(reverse, "PTR")) == {"1.2.0.192.in-addr.arpa.", "v4.example."}
    assert abroad[0].end() == 0


def test_who_asks_without_end_keeps_nobody_from_asking(rig: Rig) -> None:
    guest = _guest(rig, 1, "2001:db8:1::/64", "web")
    other = _guest(rig, 2, "2001:db8:2::/64", "db")
    assert _records(guest.ask("web.ucloud.internal", "AAAA"))
    connections = [guest.connect() for _ in range(20)]
    assert 0 < guest.flood_names("web.ucloud.internal", 3000) < 2000
    assert _records(other.ask("db.ucloud.internal", "AAAA")) == {str(other.port.ipv6)}
    assert _records(other.ask("db.ucloud.internal", "AAAA", over_tcp=True)) == {str(other.port.ipv6)}
    assert sum(_is_closed(connection) for connection in connections) >= 12
    for connection in connections:
        connection.close()


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_bridge_that_is_made_anew_is_answered_on_again(rig: Rig) -> None:
    guest = _guest(rig, 1, "2001:db8:1::/64", "web")
    assert _records(guest.ask("web.ucloud.internal", "AAAA"))
    ip(rig.host, "link delete ucbr1")
    rig.build(rig._networks["net-1"])
    ip(rig.host, f"link set {guest.port.tap} master ucbr1")
    wait_for("names are answered", lambda: _records(guest.ask("web.ucloud.internal", "AAAA", timeout_s=1)), DEADLINE_S)


def test_names_are_told_while_etcd_is_away(rig: Rig) -> None:
    guest = _guest(rig, 1, "2001:db8:1::/64", "web")
    assert _records(guest.ask("web.ucloud.internal", "AAAA"))
    rig.cut_off()

    def is_told_though_it_could_not_be_read() -> bool:
        told = _records(guest.ask("web.ucloud.internal", "AAAA"))
        assert told == {str(guest.port.ipv6)}
        return "can't read the names" in rig.log.read_text()

    wait_for("the names can't be read", is_told_though_it_could_not_be_read, DEADLINE_S, interval_s=0.5)
    assert is_told_though_it_could_not_be_read()
    guest.solicit()
    guest.configure()

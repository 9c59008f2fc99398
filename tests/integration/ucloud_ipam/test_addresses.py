"""Guests configure themselves by what they are told: the kernel, dhclient and udhcpc do as they do anywhere."""

from pathlib import Path

from devcloud.waiting import wait_for
from tests.integration.ucloud_ipam.rig import DEADLINE_S, Guest, Rig, router_of

PORT_1, PORT_2, PORT_3 = "0000000001", "0000000002", "0000000003"


def _gets_address(guest: Guest) -> None:
    address = str(guest.port.ipv6)
    wait_for(f"the guest has {address}", lambda: address in guest.addresses(), DEADLINE_S)


def _gets_router(guest: Guest) -> None:
    wait_for("the guest has a router", lambda: router_of(guest), DEADLINE_S)


def _gets_what_is_on_link(guest: Guest) -> None:
    """Its network, the name server and the metadata server: all there is without a router."""
    expected = {(destination, "") for destination in ("fd00:1::/64", "fd00:ec2::253", "fd00:ec2::254")}
    wait_for("the guest knows what is on link", lambda: expected < guest.routes(), DEADLINE_S)


def _read(told: Path) -> dict[str, str]:
    """What a client was told, by the names that it gives it."""
    lines = (line.partition("=") for line in told.read_text().splitlines())
    return {name: value.strip("'") for name, _, value in lines}


def test_a_guest_has_a_router_and_the_mtu_and_makes_up_no_address(rig: Rig) -> None:
    port = rig.port(rig.network(1, "2001:db8:1::/64"), PORT_1)
    rig.place("a", port)
    guest = rig.plug(port)
    _gets_router(guest)
    assert guest.mtu() == 1430
    assert ("2001:db8:1::/64", "") in guest.routes()
    assert guest.addresses() == {}


def test_a_guest_that_is_installed_anew_gets_its_address_at_once(rig: Rig) -> None:
    port = rig.port(rig.network(1, "2001:db8:1::/64"), PORT_1, prefixes=("2001:db8:ff::/56",))
    rig.place("a", port)
    guest = rig.plug(port)
    _gets_router(guest)
    for duid_type in ("LL", "LLT"):
        told = guest.start_dhclient(duid_type)
        _gets_address(guest)
        lease = _read(told)
        assert lease["new_dhcp6_name_servers"] == "fd00:ec2::253"
        assert lease["new_dhcp6_domain_search"] == "ucloud.internal."
    told = guest.start_dhclient("LL", "-P")
    wait_for("a prefix is delegated", lambda: told.exists() and _read(told).get("new_ip6_prefix"), DEADLINE_S)
    assert _read(told)["new_ip6_prefix"] == "2001:db8:ff::/56"


def test_a_guest_gets_its_ipv4_address(rig: Rig) -> None:
    port = rig.port(rig.network(1, "2001:db8:1::/64", "10.1.0.0/24"), PORT_1)
    rig.place("a", port)
    guest = rig.plug(port)
    told = guest.start_udhcpc()
    wait_for("the guest has an IPv4 address", lambda: str(port.ipv4) in guest.addresses(), DEADLINE_S)
    assert guest.addresses()[str(port.ipv4)]["prefixlen"] == 24
    lease = _read(told)
    assert "router" not in lease
    assert lease["staticroutes"] == "169.254.169.254/32 0.0.0.0"
    assert (lease["mtu"], lease["domain"], lease["hostname"]) == ("1430", "ucloud.internal", "a")
    assert lease["dns"] == "169.254.169.254"


def test_who_has_no_port_here_is_told_nothing(rig: Rig) -> None:
    network = rig.network(1, "2001:db8:1::/64", "10.1.0.0/24")
    known, unknown = rig.port(network, PORT_1), rig.port(network, PORT_2)
    stranger = rig.plug(unknown)
    rig.place("a", known)
    _gets_router(rig.plug(known))
    stranger.solicit()
    told6 = stranger.start_dhclient("LL")
    _gets_router(rig.plug_again(known))
    assert (router_of(stranger), stranger.addresses(), told6.exists()) == (False, {}, False)
    rig.place("b", unknown)
    _gets_router(stranger)
    _gets_address(stranger)


def test_networks_with_the_same_prefix_are_told_apart(rig: Rig) -> None:
    networks = [rig.network(vni, "fd00:1::/64", isolated=True) for vni in (1, 2)]
    ports = [rig.port(network, PORT_1[:-1] + str(network.vni)) for network in networks]
    guests = []
    for port in ports:
        rig.place(f"vm{port.id[-1]}", port)
        guests.append(rig.plug(port))
    for guest in guests:
        guest.start_dhclient("LL")
    for guest in guests:
        _gets_address(guest)
        assert set(guest.addresses()) == {str(guest.port.ipv6)}
        _gets_what_is_on_link(guest)
        assert not router_of(guest)


def test_a_daemon_that_is_killed_answers_again(rig: Rig) -> None:
    port = rig.port(rig.network(1, "2001:db8:1::/64"), PORT_1)
    rig.place("a", port)
    guest = rig.plug(port)
    _gets_router(guest)
    rig.kill()
    guest.solicit()
    guest.start_dhclient("LL")
    rig.start()
    _gets_router(guest)
    _gets_address(guest)
    assert rig.end() == 0


def test_ports_and_taps_come_and_go(rig: Rig) -> None:
    network = rig.network(1, "2001:db8:1::/64")
    first, second = rig.port(network, PORT_1), rig.port(network, PORT_2)
    rig.place("a", first)
    _gets_router(rig.plug(first))
    guest = rig.plug(second)  # its tap is there before its port is known
    rig.place("b", second)
    _gets_router(guest)
    rig.remove("b", second)
    rig.wait_logged(f"not listening to {second.tap}")
    guest.solicit()
    third = rig.port(network, PORT_3)
    rig.place("c", third)
    _gets_router(rig.plug(third))
    assert not router_of(guest)


def test_a_guest_that_moves_back_has_a_new_tap(rig: Rig) -> None:
    port = rig.port(rig.network(1, "2001:db8:1::/64"), PORT_1)
    rig.place("a", port)
    guest = rig.plug(port)
    _gets_router(guest)
    for _ in range(3):
        guest = rig.plug_again(port)
        _gets_router(guest)


def test_a_guest_that_floods_is_not_heard_for_a_while(rig: Rig) -> None:
    network = rig.network(1, "2001:db8:1::/64")
    loud, quiet = rig.port(network, PORT_1), rig.port(network, PORT_2)
    rig.place("a", loud)
    rig.place("b", quiet)
    noisy = rig.plug(loud)
    _gets_router(noisy)
    assert noisy.flood(count=500) < 150
    guest = rig.plug(quiet)
    _gets_router(guest)
    guest.start_dhclient("LL")
    _gets_address(guest)


def test_who_forges_or_tags_its_frames_is_not_answered(rig: Rig) -> None:
    port = rig.port(rig.network(1, "2001:db8:1::/64"), PORT_1)
    rig.place("a", port)
    guest = rig.plug(port)
    _gets_router(guest)
    assert guest.flood(3, mac="02:00:00:00:00:02") == 0
    assert guest.flood(3, tag=b"\x81\x00\x00\x05") == 0
    assert guest.flood(3) == 3

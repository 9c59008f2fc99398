"""Who is answered as whom: guests of networks that have the same prefixes, and the same addresses."""

import pytest

from common.schemas.vm import Role
from devcloud.waiting import wait_for
from tests.integration.ucloud_meta.world import ADDRESSES, DEADLINE_S, World, port, request


@pytest.fixture
def two(world: World) -> World:
    """Two networks with the same prefix, with their bridges; the daemon runs."""
    world.networks(1, 2)
    world.bridge(1, 2)
    world.daemon.start()
    return world


def test_each_guest_is_told_of_itself_at_each_address(two: World) -> None:
    ports = port(1, 1), port(2, 1), port(3, 2)
    for name, its in zip("abc", ports, strict=True):
        two.place(request(name, its))
    for name, its in zip("abc", ports, strict=True):
        two.answered(two.guest(its), name)


def test_the_same_address_on_another_network_is_another_vm(two: World) -> None:
    here, there = port(1, 1, address=9), port(2, 2, address=9)
    two.place(request("here", here))
    two.place(request("there", there))
    guests = two.guest(here), two.guest(there)
    for _ in range(2):
        two.answered(guests[0], "here")
        two.answered(guests[1], "there")


def test_a_guest_on_two_networks_is_one_vm(two: World) -> None:
    first, second = port(1, 1), port(2, 2)
    two.place(request("both", first, second))
    two.place(request("one", port(3, 2)))
    two.answered(two.guest(first), "both")
    on_second = two.guest(second)
    two.answered(on_second, "both")
    assert on_second.get("/latest/meta-data/network/interfaces/macs/").body == f"{first.mac}/\n{second.mac}/"
    assert on_second.get("/latest/meta-data/mac").body == first.mac


def test_who_is_not_a_port_here_is_told_nothing(two: World) -> None:
    known, elsewhere = port(1, 1), port(2, 1)
    two.place(request("known", known))
    two.answered(two.guest(known), "known")
    stranger = two.guest(elsewhere)
    for path in ("/", "/latest/meta-data/", "/latest/user-data", "/openstack/latest/meta_data.json", "/none"):
        reply = stranger.get(path)
        assert (reply.status, reply.body) == (403, "403 Forbidden\n")
    assert stranger.get("/latest/api/token", "-XPUT", "-HX-aws-ec2-metadata-token-ttl-seconds: 60").status == 403


def test_the_mac_of_a_port_counts_on_its_own_network_alone(two: World) -> None:
    its = port(1, 1)
    two.place(request("known", its))
    two.place(request("neighbour", port(2, 2)))
    two.answered(two.guest(its), "known")
    elsewhere = port(3, 2)
    impostor = two.guest(elsewhere, mac=its.mac)
    assert {impostor.who(address) for address in ADDRESSES} == {"403"}


def test_the_address_of_another_port_is_not_enough(two: World) -> None:
    two.place(request("known", port(1, 1, address=9)))
    two.place(request("other", port(2, 1)))
    thief = two.guest(port(2, 1, address=9))
    # Not by what it took; where it speaks from its own link-local address it is who it is.
    wait_for("served", lambda: thief.who(ADDRESSES[1]) == "other", DEADLINE_S)
    assert thief.who(ADDRESSES[0]) == thief.who(ADDRESSES[2]) == "403"


@pytest.mark.parametrize("goes", [Role.LEFT, None])
def test_a_vm_that_leaves_the_host_gets_nothing_any_more(two: World, goes: Role | None) -> None:
    its, other = request("goes", port(1, 1)), request("stays", port(2, 1))
    two.place(its)
    two.place(other)
    guest, stays = two.guest(its.ports[0]), two.guest(other.ports[0])
    two.answered(guest, "goes")
    two.answered(stays, "stays")
    if goes:
        two.place(its, goes)
    else:
        two.unplace(its.uuid)
    wait_for("nothing", lambda: guest.who() == "403", DEADLINE_S)
    assert {guest.who(address) for address in ADDRESSES} == {"403"}
    two.answered(stays, "stays")
    two.place(its)
    two.answered(guest, "goes")


def test_the_zone_is_the_label_of_the_host_or_the_cloud(two: World) -> None:
    its = port(1, 1)
    two.place(request("known", its))
    guest = two.guest(its)
    two.answered(guest, "known")
    path = "/latest/meta-data/placement/availability-zone"
    assert guest.get(path).body == "cloud-1"
    two.label({"zone": "room-2"})
    wait_for("another zone", lambda: guest.get(path).body == "room-2", DEADLINE_S)
    two.label({})
    wait_for("no label", lambda: guest.get(path).body == "cloud-1", DEADLINE_S)

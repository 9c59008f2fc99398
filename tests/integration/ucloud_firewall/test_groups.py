"""Security groups: what they let in and out, between guests of one bridge, routed, and with equal addresses."""

from ipaddress import IPv6Network

from common.schemas.network import Direction, Protocol
from tests.integration.ucloud_firewall.rig import (
    Rig,
    echo,
    let,
    network,
    port,
    solicit,
    syn,
    syn_ack,
    udp,
    udp_v4,
)

GROUP, OTHER = "0000-a", "0000-b"
NET = network(5)
CLIENT, SERVER, MEMBER = port(1, NET, ipv4="10.5.0.1"), port(2, NET, GROUP, ipv4="10.5.0.2"), port(3, NET, OTHER)


def _start(rig: Rig, *ports: object) -> None:
    rig.make(NET)
    for each in (CLIENT, SERVER):
        rig.place(each)
        rig.plug(each)


def test_what_no_rule_lets_in_stays_out_and_what_answers_passes(rig: Rig) -> None:
    rig.allow(GROUP)
    _start(rig)
    rig.wait_healthy()
    rig.is_let(CLIENT, SERVER, solicit(CLIENT, SERVER))
    for packet in (udp(CLIENT, SERVER, 53), syn(CLIENT, SERVER, 22), echo(CLIENT, SERVER), udp_v4(CLIENT, SERVER, 53)):
        assert not rig.passes(CLIENT, SERVER, packet, 0.2)
    # An answer is one to what was asked: by the same ports, and by nobody else.
    rig.is_let(SERVER, CLIENT, udp(SERVER, CLIENT, 53, sport=5353))
    rig.is_let(CLIENT, SERVER, udp(CLIENT, SERVER, 5353, sport=53))
    assert not rig.passes(CLIENT, SERVER, udp(CLIENT, SERVER, 5354, sport=53), 0.2)
    rig.is_let(SERVER, CLIENT, udp_v4(SERVER, CLIENT, 53, sport=5353))
    rig.is_let(CLIENT, SERVER, udp_v4(CLIENT, SERVER, 5353, sport=53))
    rig.is_let(SERVER, CLIENT, syn(SERVER, CLIENT, 80))
    rig.is_let(CLIENT, SERVER, syn_ack(CLIENT, SERVER, 80))
    rig.is_let(SERVER, CLIENT, echo(SERVER, CLIENT))
    rig.is_let(CLIENT, SERVER, echo(CLIENT, SERVER, 129))
    assert rig.metric("ucloud_firewall_dropped_frames_total", port=SERVER.id, reason="in") > 0
    assert rig.metric("ucloud_firewall_passed_frames_total", port=CLIENT.id) > 0


def test_rules_by_protocol_port_and_prefix_come_and_go(rig: Rig) -> None:
    rig.allow(GROUP)
    _start(rig)
    rig.wait_healthy()
    attempts = {
        "tcp": (let(Protocol.TCP, (20, 25)), syn(CLIENT, SERVER, 22), syn(CLIENT, SERVER, 26)),
        "udp": (let(Protocol.UDP, (53, 53)), udp(CLIENT, SERVER, 53), udp(CLIENT, SERVER, 54)),
        "all of udp": (let(Protocol.UDP), udp(CLIENT, SERVER, 53, 4001), syn(CLIENT, SERVER, 53)),
        "ping": (let(Protocol.ICMP), echo(CLIENT, SERVER), udp(CLIENT, SERVER, 128)),
        "prefix": (let(prefix=str(NET.prefix)), udp(CLIENT, SERVER, 53, 4002), udp_v4(CLIENT, SERVER, 53)),
        "ipv4": (let(prefix="10.5.0.1/32"), udp_v4(CLIENT, SERVER, 53), udp(CLIENT, SERVER, 53, 4003)),
    }
    for rule, good, bad in attempts.values():
        rig.allow(GROUP, rule)
        rig.is_let(CLIENT, SERVER, good)
        assert not rig.passes(CLIENT, SERVER, bad, 0.1)
        rig.allow(GROUP)
        rig.is_not_let(CLIENT, SERVER, good)
    rig.allow(GROUP, let(prefix="2001:db8:99::/48"))
    assert not rig.passes(CLIENT, SERVER, udp(CLIENT, SERVER, 53), 0.5)


def test_a_rule_that_goes_takes_its_connections_along_and_no_others(rig: Rig) -> None:
    rules = [let(Protocol.UDP, (53, 53)), let(Protocol.UDP, (54, 54))]
    rig.allow(GROUP, *rules)
    _start(rig)
    rig.wait_healthy()
    for dport in (53, 54):
        rig.is_let(CLIENT, SERVER, udp(CLIENT, SERVER, dport))
        rig.is_let(SERVER, CLIENT, udp(SERVER, CLIENT, 4000, sport=dport))
        rig.is_let(CLIENT, SERVER, udp(CLIENT, SERVER, dport))
    rig.is_let(SERVER, CLIENT, udp(SERVER, CLIENT, 99, sport=1234))
    rig.is_let(CLIENT, SERVER, udp(CLIENT, SERVER, 1234, sport=99))
    rig.allow(GROUP, rules[0])
    # Its answers would keep it up: it is the client's side that ends.
    rig.is_not_let(CLIENT, SERVER, udp(CLIENT, SERVER, 54))
    rig.is_let(CLIENT, SERVER, udp(CLIENT, SERVER, 53))
    assert rig.passes(CLIENT, SERVER, udp(CLIENT, SERVER, 1234, sport=99))
    assert "not:" not in rig.log()


def test_members_of_a_group_are_let_in_for_as_long_as_they_are_members(rig: Rig) -> None:
    rig.allow(OTHER, let())
    rig.allow(GROUP, let(Protocol.UDP, (7000, 7000), group=OTHER))
    _start(rig)
    rig.wait_healthy()
    assert not rig.passes(CLIENT, SERVER, udp(CLIENT, SERVER, 7000), 0.2)
    rig.place(MEMBER)
    rig.plug(MEMBER)
    rig.is_let(MEMBER, SERVER, udp(MEMBER, SERVER, 7000))
    rig.is_let(SERVER, MEMBER, udp(SERVER, MEMBER, 4000, sport=7000))
    assert not rig.passes(MEMBER, SERVER, udp(MEMBER, SERVER, 7001), 0.2)
    rig.place(MEMBER.model_copy(update={"security_groups": ()}))
    rig.write(rig.memberships_end(MEMBER))
    rig.is_not_let(MEMBER, SERVER, udp(MEMBER, SERVER, 7000))


def test_what_a_guest_may_send_is_all_until_a_rule_says_what(rig: Rig) -> None:
    rig.allow(GROUP, let(Protocol.UDP, (9, 9)))
    _start(rig)
    rig.wait_healthy()
    rig.is_let(SERVER, CLIENT, udp(SERVER, CLIENT, 9999))
    out = let(Protocol.UDP, (80, 80), direction=Direction.OUT)
    rig.allow(GROUP, let(Protocol.UDP, (9, 9)), out)
    rig.is_not_let(SERVER, CLIENT, udp(SERVER, CLIENT, 9999))
    rig.is_let(SERVER, CLIENT, udp(SERVER, CLIENT, 80))
    rig.is_let(CLIENT, SERVER, udp(CLIENT, SERVER, 9))
    rig.is_let(SERVER, CLIENT, udp(SERVER, CLIENT, 4000, sport=9))  # an answer
    rig.is_let(SERVER, CLIENT, solicit(SERVER, CLIENT))
    assert rig.metric("ucloud_firewall_dropped_frames_total", port=SERVER.id, reason="out") > 0


def test_equal_addresses_in_two_networks_are_two_connections(rig: Rig) -> None:
    prefix = "fd00:1::/64"
    first, second = network(6, isolated=True, prefix=prefix), network(7, isolated=True, prefix=prefix)
    rig.make(first, second)
    rig.allow(GROUP)
    client, server = port(1, first, ipv4="10.0.0.1"), port(2, first, GROUP, ipv4="10.0.0.2")
    twins = [port(0xA1, second, ipv4="10.0.0.1"), port(0xA2, second, GROUP, ipv4="10.0.0.2")]
    twins = [twin.model_copy(update={"ipv6": each.ipv6}) for twin, each in zip(twins, (client, server), strict=True)]
    for each in (client, server, *twins):
        rig.place(each)
        rig.plug(each)
    rig.wait_healthy()
    rig.is_let(server, client, udp(server, client, 53, sport=5353))
    rig.is_let(server, client, udp_v4(server, client, 53, sport=5353))
    assert not rig.passes(twins[0], twins[1], udp(twins[0], twins[1], 5353, sport=53), 0.3)
    assert not rig.passes(twins[0], twins[1], udp_v4(twins[0], twins[1], 5353, sport=53), 0.3)
    rig.is_let(client, server, udp(client, server, 5353, sport=53))
    rig.is_let(client, server, udp_v4(client, server, 5353, sport=53))


def test_a_port_with_a_group_that_does_not_exist_gets_nothing(rig: Rig) -> None:
    _start(rig)
    rig.wait_healthy()
    rig.is_let(SERVER, CLIENT, udp(SERVER, CLIENT, 53))
    assert not rig.passes(CLIENT, SERVER, udp(CLIENT, SERVER, 54), 0.3)


def test_a_group_that_can_not_be_read_leaves_ports_as_they_are(rig: Rig) -> None:
    rig.allow(GROUP, let(Protocol.UDP, (53, 53)))
    _start(rig)
    rig.wait_healthy()
    rig.is_let(CLIENT, SERVER, udp(CLIENT, SERVER, 53))
    rig.put("/v1/security-group/" + GROUP, b"rubbish")
    rig.put("/v1/security-group/" + OTHER, b"rubbish")
    rig.place(MEMBER)
    rig.plug(MEMBER)
    assert not rig.passes(MEMBER, CLIENT, udp(MEMBER, CLIENT, 53), 0.5)  # it never was known
    assert rig.passes(CLIENT, SERVER, udp(CLIENT, SERVER, 53, sport=4010))
    rig.allow(OTHER)
    rig.is_let(MEMBER, CLIENT, udp(MEMBER, CLIENT, 53))


def test_what_is_routed_is_filtered_by_the_same_rules(rig: Rig) -> None:
    other = network(6)
    rig.make(NET, other)
    rig.namespace.sysctl(ipv6__conf__all__forwarding=1)
    rig.allow(GROUP, let(Protocol.UDP, (53, 53)), let(Protocol.UDP, (54, 54), group=OTHER))
    near, far, member = port(2, NET, GROUP), port(1, other), port(3, other, OTHER)
    rig.allow(OTHER, let())
    for each in (near, far, member):
        rig.place(each)
        rig.plug(each)
        rig.namespace.ip(f"neighbour replace {each.ipv6} lladdr {each.mac} dev ucbr{each.network[4:]}")
    rig.wait_healthy()
    assert rig.is_routed(far, near, udp(far, near, 53))
    assert not rig.is_routed(far, near, udp(far, near, 54), 0.3)
    assert rig.is_routed(member, near, udp(member, near, 54))
    assert rig.is_routed(near, far, udp(near, far, 4242, sport=99))
    assert rig.is_routed(far, near, udp(far, near, 99, sport=4242))  # an answer
    assert IPv6Network("2001:db8:5::/64") == NET.prefix

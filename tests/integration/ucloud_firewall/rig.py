"""A host with ucloud-firewall on it, in a namespace; the test is the scheduler, the API and ucloud-net."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path

from common import keys
from common.schemas.network import (
    GATEWAY_MAC,
    AddressHolder,
    Direction,
    NetworkRequest,
    Protocol,
    Rule,
    SecurityGroup,
)
from common.schemas.port import Port, eui64, mac_of
from common.schemas.vm import Placement, Specs, VmRequest
from common.store import Delete, Operation, Put, Store, unchanged
from devcloud.errors import DeadlineExceeded
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.relay import Relay
from tests.integration.ucloud_firewall import frames as f
from tests.integration.ucloud_firewall.namespace import Namespace, Wire

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOST = "h1"
SOON_S = 10.0
_ACK, _SYN = 0x10, 0x02


def network(number: int, *, isolated: bool = False, prefix: str | None = None) -> NetworkRequest:
    """Network `net-<number>` with this VNI."""
    return NetworkRequest(
        uuid=f"net-{number}", owner="ann", name=f"n{number}", vni=number, isolated=isolated, created_at=NOW,
        prefix=IPv6Network(prefix or f"2001:db8:{number:x}::/64"), ipv4=None,
    )  # fmt: skip


def port(number: int, on: NetworkRequest, *groups: str, ipv4: str | None = None) -> Port:
    """Port `number` on a network."""
    port_id = f"{number:010x}"
    return Port(
        id=port_id, network=on.uuid, ipv6=eui64(on.prefix, port_id), ipv4=IPv4Address(ipv4) if ipv4 else None,
        security_groups=groups,
    )  # fmt: skip


class Rig:
    """The host, and what a test asks of it."""

    def __init__(self, store: Store, endpoint: str, directory: Path) -> None:
        self.store = store
        self.namespace = Namespace()
        listener = self.namespace.do(lambda: socket.create_server(("::1", 0), family=socket.AF_INET6))
        etcd = f"[::1]:{listener.getsockname()[1]}"
        self.relay = Relay(listener, endpoint)
        self.namespace.sysctl(bridge__bridge_nf_call_iptables=0, bridge__bridge_nf_call_ip6tables=0)
        environment = {"UCLOUD_ETCD_ENDPOINTS": etcd, "UCLOUD_HOST_NAME": HOST}
        self._log = directory / "firewall.log"
        self.daemon = self.namespace.do(lambda: DaemonProcess("ucloud_firewall", self._log, environment))
        self.guests: dict[str, Wire] = {}
        self._far: dict[int, Wire] = {}

    def close(self) -> None:
        """End all of it."""
        self.namespace.do(self.daemon.close)
        self.relay.close()
        self.namespace.__exit__(None, None, None)

    def log(self) -> str:
        """What the daemon has said."""
        return self._log.read_text()

    def wait_healthy(self) -> None:
        """Wait until the daemon is well: all that is placed is known to the kernel."""
        self.namespace.do(self.daemon.wait_healthy)

    def metric(self, name: str, **labels: str) -> float:
        """See DaemonProcess."""
        return self.namespace.do(lambda: self.daemon.metric(name, **labels))

    # --- what others write --------------------------------------------------------------------------------------------

    def put(self, key: str, value: bytes) -> None:
        """Write a key as it is."""
        self.write([Put(key, value)])

    def write(self, operations: list[Operation]) -> None:
        """Do all of this at once, whatever is there."""
        entries = {each.key: self.store.get(each.key) for each in operations}
        compares = [unchanged(key, entry.mod_revision if entry else 0) for key, entry in entries.items()]
        self.store.commit(compares, [each for each in operations if isinstance(each, Put) or entries[each.key]])

    def make(self, *networks: NetworkRequest) -> None:
        """The API has networks, and ucloud-net has built them here."""
        for each in networks:
            self.put(keys.network(each.uuid), each.to_json())
            self.namespace.bridge(each.bridge, GATEWAY_MAC, "fe80::a9fe:a9fe/64", "fd00:ec2::254/128",
                                  f"{each.prefix[1]}/64")  # fmt: skip
            self._far[each.vni] = self.namespace.far(each.vxlan, each.bridge)

    def place(self, each: Port) -> None:
        """Order a VM here that has this port; its tap is made afterwards, if it is not there."""
        specs = Specs.of(cpu=1, ram_mib=64, ssd_mib=1)
        request = VmRequest(uuid=f"vm-{each.id}", owner="ann", name="vm", specs=specs, image="i", created_at=NOW,
                            ports=(each,))  # fmt: skip
        placement = Placement(epoch=1, generation=1, request=request, placed_at=NOW)
        operations: list[Operation] = [Put(keys.placement(HOST, request.uuid), placement.to_json())]
        holder = AddressHolder(vm=request.uuid, port=each.id, name="vm").to_json()
        for group in each.security_groups:
            operations += [Put(keys.group_member(group, str(own), each.id), holder) for own in each.addresses()]
        self.write(operations)

    def remove(self, each: Port) -> None:
        """The VM goes, and with it its memberships."""
        self.write([Delete(keys.placement(HOST, f"vm-{each.id}")), *self.memberships_end(each)])

    def memberships_end(self, each: Port) -> list[Operation]:
        """It is in no group any more."""
        named = ((group, str(own)) for group in each.security_groups for own in each.addresses())
        return [Delete(keys.group_member(group, address, each.id)) for group, address in named]

    def plug(self, each: Port) -> Wire:
        """libvirt makes the tap."""
        self.guests[each.id] = self.namespace.tap(each.tap, f"ucbr{each.network.removeprefix('net-')}")
        return self.guests[each.id]

    def far(self, on: NetworkRequest) -> Wire:
        """The other hosts of a network."""
        return self._far[on.vni]

    def wait_second_wall(self) -> None:
        """Wait until the second wall stands at all links that are there."""

        def stands() -> bool:
            taps = [f"tap{port_id}" for port_id in self.guests]
            filters = (self.namespace.run("tc", "filter", "show", "dev", tap, "egress") for tap in taps)
            return all("ucloud" in each for each in filters)

        wait_for("the second wall", stands, SOON_S)

    def allow(self, group: str, *rules: Rule) -> None:
        """A security group has these rules."""
        record = SecurityGroup(uuid=group, owner="ann", name="g", rules=rules, created_at=NOW)
        self.put(keys.security_group(group), record.to_json())

    # --- what guests do -----------------------------------------------------------------------------------------------

    def passes(self, sender: Port, receiver: Port, packet: bytes, within_s: float = 0.0) -> bool:
        """Whether an IP packet gets from one guest to another, sent again and again for some time."""
        kind = f.IP6 if packet[0] >> 4 == 6 else f.IP4
        frame = f.ethernet(receiver.mac, sender.mac, kind, packet)
        self.guests[receiver.id].forget()

        def send() -> bool:
            self.guests[sender.id].send(frame)
            return self.guests[receiver.id].has(frame, 0.05)

        return _eventually(send, within_s)

    def is_routed(self, sender: Port, receiver: Port, packet: bytes, within_s: float = SOON_S) -> bool:
        """Whether an IPv6 packet gets to a guest of another network by this host."""
        frame = f.ethernet(GATEWAY_MAC, sender.mac, f.IP6, packet)
        self.guests[receiver.id].forget()

        def send() -> bool:
            self.guests[sender.id].send(frame)
            # The hop limit is another one by then.
            return self.guests[receiver.id].find(lambda seen: seen[22:] == packet[8:], 0.05) is not None

        return _eventually(send, within_s)

    def is_let(self, sender: Port, receiver: Port, packet: bytes) -> None:
        """It gets there, soon."""
        assert self.passes(sender, receiver, packet, SOON_S)

    def is_not_let(self, sender: Port, receiver: Port, packet: bytes) -> None:
        """Soon it does not get there any more."""
        wait_for("the packet to be dropped", lambda: not self.passes(sender, receiver, packet), SOON_S)


def _eventually(look: Callable[[], bool], within_s: float) -> bool:
    try:
        return wait_for("it", look, within_s)
    except DeadlineExceeded:
        return False


def udp(sender: Port, receiver: Port, dport: int, sport: int = 4000) -> bytes:
    """A datagram from one port to another."""
    source, to = str(sender.ipv6), str(receiver.ipv6)
    return f.ipv6(source, to, f.UDP, f.udp6(source, to, sport, dport))


def udp_v4(sender: Port, receiver: Port, dport: int, sport: int = 4000) -> bytes:
    """The same in IPv4."""
    return f.ipv4(str(sender.ipv4), str(receiver.ipv4), f.UDP, f.udp4(sport, dport))


def _tcp(sender: Port, receiver: Port, sport: int, dport: int, flags: int) -> bytes:
    source, to = str(sender.ipv6), str(receiver.ipv6)
    return f.ipv6(source, to, f.TCP, f.tcp6(source, to, sport, dport, flags))


def syn(sender: Port, receiver: Port, dport: int, sport: int = 4000) -> bytes:
    """What opens a TCP connection."""
    return _tcp(sender, receiver, sport, dport, _SYN)


def syn_ack(sender: Port, receiver: Port, sport: int, dport: int = 4000) -> bytes:
    """What answers it."""
    return _tcp(sender, receiver, sport, dport, _SYN | _ACK)


def echo(sender: Port, receiver: Port, kind: int = 128) -> bytes:
    """A ping (128), or what answers it (129)."""
    source, to = str(sender.ipv6), str(receiver.ipv6)
    return f.ipv6(source, to, f.ICMP6, f.icmp6(source, to, kind, b"\1\2\0\1"))


def solicit(sender: Port, receiver: Port) -> bytes:
    """Asks where the receiver is."""
    source, to = str(sender.ipv6), str(receiver.ipv6)
    return f.ipv6(source, to, f.ICMP6, f.neighbor(source, to, 135, to, f.option(1, mac_of(sender.id))))


def let(protocol: Protocol = Protocol.ANY, ports: tuple[int, int] | None = None, **others: object) -> Rule:
    """A rule for what arrives, if not said otherwise."""
    first, last = ports or (None, None)
    return Rule.model_validate(
        {"direction": Direction.IN, "protocol": protocol, "first_port": first, "last_port": last, **others}
    )

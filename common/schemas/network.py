"""A network: a layer 2 of its own for the VMs on it, on whichever hosts they are; and what they may receive and send.

What a host needs to know of a network never changes as long as it exists, and it exists as long as any port is on it.
So a host reads it once.
"""

from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from common.schemas.port import PortId
from common.schemas.record import Part, Record
from common.schemas.vm import OwnerName

NetworkName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)]
"""A DNS label (RFC 1123), because it becomes one."""
SecurityGroupName = NetworkName

GATEWAY_MAC = "02:75:63:00:a9:fe"
"""Of every network's bridge on every host: a guest that moves keeps its gateway."""
GATEWAY = IPv6Address("fe80::a9fe:a9fe")
"""The router of every network, and one of the addresses of `http://metadata`."""
METADATA_V6 = IPv6Address("fd00:ec2::254")
METADATA_V4 = "169.254.169.254"
NOCLOUD = "nocloud"
"""The directory of `http://metadata` that is a seed of cloud-init's NoCloud: guests learn of it from their firmware."""
DNS_V6 = IPv6Address("fd00:ec2::253")
"""The name server of every network."""
VXLAN_OVERHEAD = 70
"""Octets that a frame grows by on an IPv6 underlay: Ethernet 14, IPv6 40, UDP 8, VXLAN 8 (RFC 7348)."""
MIN_MTU = 1280
"""RFC 8200, section 5."""


def _is_64(prefix: IPv6Network) -> IPv6Network:
    if prefix.prefixlen != 64:
        raise ValueError("a prefix of 64 bits is required")
    return prefix


Prefix64 = Annotated[IPv6Network, AfterValidator(_is_64)]
Vni = Annotated[int, Field(ge=1, le=2**24 - 1)]


class NetworkRequest(Record):
    """`/v1/network/<uuid>`, written by ucloud_api. What hosts care for, all but `name` and `public`, is for ever."""

    uuid: str
    owner: OwnerName
    name: NetworkName
    vni: Vni
    """Its VXLAN network identifier (RFC 7348), which no other network has."""
    prefix: Prefix64
    ipv4: IPv4Network | None = None
    mtu: Annotated[int, Field(ge=MIN_MTU, le=9000)] | None = None
    """None: as much as the underlay takes."""
    isolated: bool = False
    """It has no way out. Only isolated networks may have prefixes that others have."""
    public: bool = False
    """Everybody may plug VMs into it."""
    created_at: datetime

    @property
    def bridge(self) -> str:
        """Its bridge on each host."""
        return f"ucbr{self.vni}"

    @property
    def vxlan(self) -> str:
        """Its VXLAN link on each host."""
        return f"ucvx{self.vni}"


class NetworkActual(StrEnum):
    """How far a network is on a host."""

    BUILDING = "BUILDING"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"
    """The reason says what failed; it is tried again."""


class NetworkStatus(Record):
    """What a host has of a network; `/v1/status/network/<host>/<uuid>`, written by ucloud_net on that host."""

    actual: NetworkActual
    reason: str = ""
    since: datetime
    mtu: int = 0
    """What guests may send at most; 0: not known yet."""
    endpoint: IPv6Address | None = None
    """Where this host takes the network's VXLAN packets."""


class Endpoint(Record):
    """Where a host takes a network's VXLAN packets; `/v1/endpoint/<uuid>/<host>`, written by ucloud_net there."""

    address: IPv6Address


class AddressHolder(Record):
    """Which port holds an address; `/v1/address/<network>/<address>`, charged and released with the VM.

    Names are answered from here: `name` is that of the VM.
    """

    vm: str
    port: PortId
    name: str


class Direction(StrEnum):
    """Of a rule, as seen from the VM."""

    IN = "in"
    OUT = "out"


class Protocol(StrEnum):
    """What a rule speaks of. ICMP is ICMPv6 in IPv6; what neighbour discovery needs always passes."""

    ANY = "any"
    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


class Rule(Part):
    """What may pass, with all that answers it. Without `prefix` and `group`: from, or to, anywhere."""

    direction: Direction = Direction.IN
    protocol: Protocol = Protocol.ANY
    first_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    last_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    prefix: IPv6Network | IPv4Network | None = None
    group: str | None = None
    """The uuid of a security group: from, or to, its members."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.first_port is None) != (self.last_port is None):
            raise ValueError("first_port and last_port: both or neither")
        if self.first_port and self.last_port and self.first_port > self.last_port:
            raise ValueError("first_port: at most last_port")
        if self.first_port and self.protocol not in (Protocol.TCP, Protocol.UDP):
            raise ValueError("protocol: tcp or udp is required where ports are named")
        if self.prefix is not None and self.group is not None:
            raise ValueError("prefix, group: one of them at most")
        return self


class SecurityGroup(Record):
    """`/v1/security-group/<uuid>`, written by ucloud_api.

    A port with groups receives what a rule of any of them lets in, and sends everything, unless there is a rule that
    says what it may send.
    """

    uuid: str
    owner: OwnerName
    name: SecurityGroupName
    rules: Annotated[tuple[Rule, ...], Field(max_length=64)] = ()
    created_at: datetime

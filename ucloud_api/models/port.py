"""Ports of VMs: what is taken to plug a VM into a network, and what is shown of it."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Annotated

from pydantic import Field

from common.schemas.network import NetworkName, SecurityGroupName
from common.schemas.port import MOST_PORTS, PortId
from ucloud_api.models.address import V4WishIn, V6In
from ucloud_api.models.shared import In, Out, ThingPath

_MOST = 8
NETWORKS = f"The networks that it is plugged into, at most {MOST_PORTS} ports; that of its first network device first."


class PortIn(In):
    """A port: the network that a VM is plugged into, and what it has there."""

    network: Annotated[NetworkName, Field(description="The name or the uuid of a network.")]
    ipv6: Annotated[
        V6In | None,
        Field(description="Its address, one of the network's prefix; made from its MAC address if left out."),
    ] = None
    ipv4: Annotated[
        V4WishIn, Field(description="True: an IPv4 address that is free; or which one, of the network's IPv4 prefix.")
    ] = False
    prefixes: Annotated[
        int, Field(strict=True, ge=0, le=_MOST, description="How many /64s are to be routed to it: 0 to 8.")
    ] = 0
    security_groups: Annotated[
        tuple[SecurityGroupName, ...],
        Field(
            max_length=_MOST,
            description="The names or uuids of its security groups, at most 8. "
            "Without any, all that is not forged passes.",
        ),
    ] = ()


class PortPath(ThingPath):
    """The path of a VM's port."""

    id: Annotated[PortId, Field(description="The port's id: 10 hexadecimal digits.")]


class Named(Out):
    """A thing, and what it is called (null: it is not known now)."""

    uuid: str
    name: str | None


class PortOut(Out):
    """Where a VM is plugged in, and what it may call itself there."""

    id: str
    network: Named
    mac: str
    ipv6: IPv6Address
    ipv4: IPv4Address | None
    prefixes: tuple[IPv6Network, ...]
    security_groups: tuple[Named, ...]

"""A VM's port on a network: what its guest may call itself there.

A port's id is 40 random bits. All that must be unique for it is made of them: its MAC address is 02 and the id, its
tap's name is "tap" and the id, and each of its IPv6 addresses that the cloud chose ends in the EUI-64 of its MAC. So
SLAAC, DHCPv6 and a static configuration agree, and whoever reads a name in the kernel knows the port.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Annotated

from pydantic import Field, StringConstraints

from common.schemas.record import Part

PortId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{10}$")]
MOST_PORTS = 8
"""Of a VM."""


class Port(Part):
    """Where a VM is plugged into the network `network`; `prefixes` are routed to it as a whole."""

    id: PortId
    network: str
    """The network's uuid."""
    ipv6: IPv6Address
    ipv4: IPv4Address | None = None
    prefixes: Annotated[tuple[IPv6Network, ...], Field(max_length=8)] = ()
    security_groups: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    """Their uuids. Without any, all that is not forged passes."""

    @property
    def mac(self) -> str:
        """Its MAC address, as Linux writes it."""
        return mac_of(self.id)

    @property
    def tap(self) -> str:
        """The name of its tap, on whichever host it is."""
        return f"tap{self.id}"

    @property
    def link_local(self) -> IPv6Address:
        """The link-local address of its guest."""
        return eui64(IPv6Network("fe80::/64"), self.id)

    def addresses(self) -> Iterator[IPv6Address | IPv4Address]:
        """All that are reserved for it in its network."""
        yield self.ipv6
        if self.ipv4:
            yield self.ipv4


def mac_of(port_id: str) -> str:
    """The MAC address of a port: a locally administered one (IEEE 802, 02 in its first octet)."""
    digits = f"02{port_id}"
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def eui64(prefix: IPv6Network, port_id: str) -> IPv6Address:
    """The address of a port in a /64, from the modified EUI-64 of its MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(f"00{port_id}")  # 02 with the universal/local bit turned
    return prefix[int.from_bytes(octets[:3] + b"\xff\xfe" + octets[3:], "big")]

"""What a guest is told of itself and of its network: all of it follows from its port, its network and the settings.

Pure: no I/O, no clock, no randomness.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from common.local_ports import LocalPort
from common.schemas.network import MIN_MTU, NetworkRequest
from common.schemas.port import Port

HIGHEST_MTU = 65535


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guest behind one tap may know."""

    mac: bytes
    ipv6: IPv6Address
    prefix: IPv6Network
    """On link."""
    routed: tuple[IPv6Network, ...]
    """What is routed to it as a whole, for it to hand on."""
    ipv4: IPv4Address | None
    ipv4_prefix: IPv4Network | None
    """None exactly where `ipv4` is."""
    isolated: bool
    """There is no way out of its network."""
    mtu: int
    hostname: str
    domain: str


def facts_of(local: LocalPort, network: NetworkRequest, domain: str, link_mtu: int) -> Facts:
    """What the guest of `local` is told, whose tap and bridge take frames of `link_mtu` octets."""
    port = local.port
    ipv4 = port.ipv4 if network.ipv4 else None
    mtu = min(link_mtu, network.mtu or link_mtu, HIGHEST_MTU)
    return Facts(
        mac=mac_octets(port),
        ipv6=port.ipv6,
        prefix=network.prefix,
        routed=port.prefixes,
        ipv4=ipv4,
        ipv4_prefix=network.ipv4 if ipv4 else None,
        isolated=network.isolated,
        mtu=max(mtu, MIN_MTU),
        hostname=local.name,
        domain=domain,
    )


def mac_octets(port: Port) -> bytes:
    """The MAC address of a port, as it is in frames."""
    return bytes.fromhex(port.mac.replace(":", ""))

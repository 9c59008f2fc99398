"""The names of one network: its VMs, and the metadata server. Pure.

A name is that of the VM; two VMs that are called the same are both told. What is the cloud's own no VM can be.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import dns.exception
import dns.name
import dns.reversename

from common.schemas.network import METADATA_V4, METADATA_V6, AddressHolder, NetworkRequest

Address = IPv6Address | IPv4Address
_METADATA = "metadata"
_NIBBLES_OF_64 = 16
_REVERSE_V6 = dns.name.from_text("ip6.arpa.")


@dataclass(frozen=True)
class Territory:
    """Which names this network answers for; no other name is its business."""

    domain: dns.name.Name
    prefix: IPv6Network
    ipv4: IPv4Network | None

    def origin(self, name: dns.name.Name) -> dns.name.Name | None:
        """The zone that `name` is in; None: it is somebody else's."""
        if name.is_subdomain(self.domain):
            return self.domain
        reverse = self._reverse()
        if name.is_subdomain(reverse):
            return reverse
        address = address_of(name)
        is_ours = address == METADATA_V6 or (
            isinstance(address, IPv4Address)
            and (address == IPv4Address(METADATA_V4) or (self.ipv4 is not None and address in self.ipv4))
        )
        return name.parent() if is_ours else None

    def _reverse(self) -> dns.name.Name:
        nibbles = self.prefix.network_address.exploded.replace(":", "")[:_NIBBLES_OF_64]
        return dns.name.Name(list(reversed(nibbles))).concatenate(_REVERSE_V6)


@dataclass(frozen=True)
class Zone:
    """What all names of a network stand for."""

    territory: Territory
    addresses: dict[dns.name.Name, tuple[Address, ...]]
    names: dict[Address, dns.name.Name]


def territory_of(network: NetworkRequest, domain: str) -> Territory:
    """What `network` answers for."""
    return Territory(dns.name.from_text(f"{domain}."), network.prefix, network.ipv4)


def zone_of(territory: Territory, held: Iterable[tuple[Address, AddressHolder]]) -> Zone:
    """The zone of a network in which addresses are `held`."""
    addresses: dict[dns.name.Name, tuple[Address, ...]] = defaultdict(tuple)
    names: dict[Address, dns.name.Name] = {}
    for address, holder in held:
        try:
            name = dns.name.from_text(holder.name, territory.domain)
        except dns.exception.DNSException:  # one name that can't be said must not take the others away
            continue
        addresses[name] += (address,)
        names[address] = name
    metadata = dns.name.from_text(_METADATA, territory.domain)
    own: tuple[Address, ...] = (METADATA_V6, *([IPv4Address(METADATA_V4)] if territory.ipv4 else []))
    return Zone(territory, {**addresses, metadata: own}, {**names, **dict.fromkeys(own, metadata)})


def address_of(name: dns.name.Name) -> Address | None:
    """The address that `name`, of ip6.arpa or in-addr.arpa, is the reverse of."""
    try:
        return ip_network(dns.reversename.to_address(name)).network_address
    except (dns.exception.DNSException, ValueError):
        return None

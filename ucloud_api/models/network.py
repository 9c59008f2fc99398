"""Networks: what is taken to make and change one, and the resource."""

from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common.schemas.network import DNS_V6, METADATA_V6, MIN_MTU, NetworkName
from common.schemas.vm import OwnerName
from ucloud_api.models.address import V4PrefixIn, V6PrefixIn
from ucloud_api.models.shared import OWNER, In, ListQuery, Out

_NAME = "A DNS label: 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end."
_PUBLIC = "True: everybody may see it and plug VMs into it. Only an admin may say so."
_PREFIX = (
    "Its IPv6 prefix, a /64 of unique local or, for admins, global addresses; no other network's, unless it is "
    "isolated. One of the cloud's if left out."
)
_IPV4 = "Its IPv4 prefix, /8 to /29, of private addresses (RFC 1918, RFC 6598). Without it there is no IPv4."
_GLOBAL = IPv6Network("2000::/3")
_LOCAL = IPv6Network("fc00::/7")
_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))


def _usable(prefix: IPv6Network) -> IPv6Network:
    if prefix.prefixlen != 64:
        raise PydanticCustomError("prefix", "is not a /64")
    if not (prefix.subnet_of(_GLOBAL) or prefix.subnet_of(_LOCAL)):
        raise PydanticCustomError("prefix", "is not of unique local or global addresses")
    if METADATA_V6 in prefix or DNS_V6 in prefix:
        raise PydanticCustomError("prefix", "is where each network's metadata and name servers are")
    return prefix


def _private(prefix: IPv4Network) -> IPv4Network:
    if not 8 <= prefix.prefixlen <= 29:
        raise PydanticCustomError("prefix", "is too large or too small")
    if not any(prefix.subnet_of(private) for private in _PRIVATE):
        raise PydanticCustomError("prefix", "is not of private addresses")
    return prefix


class NetworkCreate(In):
    """A new network. All but its name, and whether it is public, is for ever."""

    name: Annotated[NetworkName, Field(description=_NAME)]
    owner: Annotated[OwnerName | None, Field(description=OWNER)] = None
    prefix: Annotated[Annotated[V6PrefixIn, AfterValidator(_usable)] | None, Field(description=_PREFIX)] = None
    ipv4: Annotated[Annotated[V4PrefixIn, AfterValidator(_private)] | None, Field(description=_IPV4)] = None
    mtu: Annotated[
        int | None,
        Field(
            strict=True,
            ge=MIN_MTU,
            le=9000,
            description="What its VMs may send at most, in octets: 1280 to 9000. "
            "As much as the hosts' network takes if left out.",
        ),
    ] = None
    isolated: Annotated[bool, Field(strict=True, description="True: it has no way out.")] = False
    public: Annotated[bool, Field(strict=True, description=_PUBLIC)] = False


class NetworkPatch(In):
    """A change of a network; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Annotated[NetworkName | None, Field(description=_NAME)] = None
    public: Annotated[bool | None, Field(strict=True, description=_PUBLIC)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.name is None and self.public is None:
            raise PydanticCustomError("empty", "changes nothing", {"allowed": list(NetworkPatch.model_fields)})
        return self


class NetworkQuery(ListQuery):
    """Which networks to list."""

    name: Annotated[NetworkName | None, Field(description="Only the network of this name, of each owner.")] = None


class NetworkState(StrEnum):
    """What a network is, on all hosts that have it and are alive."""

    UNUSED = "UNUSED"
    """No host has a VM on it."""
    BUILDING = "BUILDING"
    ACTIVE = "ACTIVE"
    ERROR = "ERROR"


class NetworkOnHost(Out):
    """What a host has of a network."""

    host: str
    status: Annotated[str, Field(description="BUILDING, ACTIVE, ERROR; UNKNOWN: the host is silent.")]
    reason: Annotated[str, Field(description="Why it is not ACTIVE.")]
    since: datetime
    mtu: Annotated[int | None, Field(description="What guests there may send at most; null: not known yet.")]
    endpoint: Annotated[IPv6Address | None, Field(description="Where the host takes its VXLAN packets.")]


class Network(Out):
    """A network: a layer 2 of its own, on whichever hosts its VMs are."""

    uuid: str
    name: str
    owner: str
    vni: Annotated[int, Field(description="Its VXLAN network identifier (RFC 7348).")]
    prefix: IPv6Network
    ipv4: IPv4Network | None
    mtu: Annotated[int | None, Field(description="Null: as much as the hosts' network takes.")]
    isolated: bool
    public: bool
    status: Annotated[NetworkState, Field(description="UNUSED: no VM that has a host is on it.")]
    reason: Annotated[str, Field(description="Why it is not, or not yet, as it should be.")]
    hosts: Annotated[
        tuple[NetworkOnHost, ...] | None, Field(description="What each host has of it; null for all but admins.")
    ]
    created_at: datetime


class NetworkList(Out):
    """A page of networks, oldest first."""

    items: tuple[Network, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]

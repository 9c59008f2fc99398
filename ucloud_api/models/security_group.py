"""Security groups: what is taken to make and change one, and the resource."""

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from common.schemas.network import Direction, Protocol, SecurityGroupName
from common.schemas.owner import OwnerName
from ucloud_api.models.address import PrefixIn
from ucloud_api.models.shared import OWNER, In, ListQuery, Out

_NAME = "1 to 63 lower-case letters, digits and hyphens, no hyphen at either end."
_MOST_RULES = 64
_RULES = "What may pass, at most 64 rules. Without any, nothing comes in, and everything goes out."
_PORT = Field(strict=True, ge=1, le=65535, description="With tcp and udp: the first port, 1 to 65535; all if left out.")
_LAST = Field(strict=True, ge=1, le=65535, description="The last port, 1 to 65535; `first_port` if left out.")


class RuleIn(In):
    """What may pass, with all that answers it. Without `prefix` and `group`: from, or to, anywhere."""

    direction: Annotated[Direction, Field(description="As seen from the VM: in or out.")] = Direction.IN
    protocol: Annotated[Protocol, Field(description="any, tcp, udp or icmp, which is ICMPv6, too.")] = Protocol.ANY
    first_port: Annotated[int | None, _PORT] = None
    last_port: Annotated[int | None, _LAST] = None
    prefix: Annotated[PrefixIn | None, Field(description="From, or to, these addresses: an IPv6 or IPv4 prefix.")] = (
        None
    )
    group: Annotated[
        SecurityGroupName | None,
        Field(description="From, or to, the members of a group, by its name or uuid; not together with `prefix`."),
    ] = None

    @field_validator("first_port")
    @classmethod
    def _has_ports(cls, port: int | None, info: ValidationInfo) -> int | None:
        if port is not None and info.data.get("protocol") not in (Protocol.TCP, Protocol.UDP):
            raise PydanticCustomError("alone", "goes with the protocols tcp and udp only")
        return port

    @field_validator("last_port")
    @classmethod
    def _is_behind_first(cls, port: int | None, info: ValidationInfo) -> int | None:
        first = info.data.get("first_port")
        if port is not None and (first is None or port < first):
            raise PydanticCustomError("order", "is not behind first_port")
        return port

    @field_validator("group")
    @classmethod
    def _is_alone(cls, group: str | None, info: ValidationInfo) -> str | None:
        if group is not None and info.data.get("prefix") is not None:
            raise PydanticCustomError("both", "does not go with prefix")
        return group


class SecurityGroupCreate(In):
    """A new security group."""

    name: Annotated[SecurityGroupName, Field(description=_NAME)]
    owner: Annotated[OwnerName | None, Field(description=OWNER)] = None
    rules: Annotated[tuple[RuleIn, ...], Field(max_length=_MOST_RULES, description=_RULES)] = ()


class SecurityGroupPatch(In):
    """A change of a security group; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Annotated[SecurityGroupName | None, Field(description=_NAME)] = None
    rules: Annotated[
        tuple[RuleIn, ...] | None, Field(max_length=_MOST_RULES, description=f"In the place of all it has. {_RULES}")
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.name is None and self.rules is None:
            raise PydanticCustomError("empty", "changes nothing", {"allowed": list(SecurityGroupPatch.model_fields)})
        return self


class SecurityGroupQuery(ListQuery):
    """Which security groups to list."""

    name: Annotated[SecurityGroupName | None, Field(description="Only the group of this name, of each owner.")] = None


class RuleOut(Out):
    """A rule; what is taken for one is the same."""

    direction: Direction
    protocol: Protocol
    first_port: int | None
    last_port: int | None
    prefix: IPv6Network | IPv4Network | None
    group: Annotated[str | None, Field(description="The uuid of a group.")]


class SecurityGroup(Out):
    """A security group: what may pass to and from the ports that are in it."""

    uuid: str
    name: str
    owner: str
    rules: tuple[RuleOut, ...]
    group_names: Annotated[
        dict[str, str], Field(description="What the groups that rules are about are called, by uuid.")
    ]
    created_at: datetime


class SecurityGroupList(Out):
    """A page of security groups, oldest first."""

    items: tuple[SecurityGroup, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]

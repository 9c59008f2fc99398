"""Addresses and prefixes as they are taken: in text alone, and none with a zone."""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

T = TypeVar("T")
_MOST_CHARACTERS = 64


def _from_text(kind: Callable[[str], T], what: str) -> Callable[[Any], T]:
    def parse(value: Any) -> T:
        # pydantic would take numbers and bytes, too; a zone (fe80::1%eth0) means nothing beyond one machine.
        if not isinstance(value, str) or len(value) > _MOST_CHARACTERS or "%" in value:
            raise PydanticCustomError("address", f"is not {what}")
        try:
            return kind(value)
        except ValueError as error:
            raise PydanticCustomError("address", f"is not {what}") from error

    return parse


def _prefix(text: str) -> IPv6Network | IPv4Network:
    return IPv6Network(text) if ":" in text else IPv4Network(text)


def _schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [example]})


V6In = Annotated[IPv6Address, BeforeValidator(_from_text(IPv6Address, "an IPv6 address")), _schema("2001:db8::5")]
V4In = Annotated[IPv4Address, BeforeValidator(_from_text(IPv4Address, "an IPv4 address")), _schema("10.0.0.5")]
V6PrefixIn = Annotated[IPv6Network, BeforeValidator(_from_text(IPv6Network, "an IPv6 prefix")), _schema("fd00:1::/64")]
V4PrefixIn = Annotated[IPv4Network, BeforeValidator(_from_text(IPv4Network, "an IPv4 prefix")), _schema("10.0.0.0/24")]
PrefixIn = Annotated[
    IPv6Network | IPv4Network, BeforeValidator(_from_text(_prefix, "a prefix")), _schema("2001:db8::/32")
]


def _wish(value: Any) -> bool | IPv4Address:
    return value if isinstance(value, bool) else _from_text(IPv4Address, "true, false or an IPv4 address")(value)


V4WishIn = Annotated[
    bool | IPv4Address,
    PlainValidator(_wish),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "examples": ["10.0.0.5"]}]}),
]
"""Whether there is to be an address, or which one."""

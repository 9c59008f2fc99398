"""Sizes of memory and disks: integers in GiB or strings with a unit at the border, MiB within."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from common.errors import InvalidValue

_MIB_PER_UNIT = {"MiB": 1, "GiB": 1024, "TiB": 1024 * 1024}
_PATTERN = r"^[0-9]{1,9} ?(MiB|GiB|TiB)$"
ALLOWED = 'an integer in GiB, or a string with a unit such as "512MiB", "10GiB" or "2TiB"'


def parse_size_mib(value: object) -> int:
    """MiB from an integer in GiB or a string with a unit (MiB, GiB, TiB); InvalidValue for anything else."""
    if isinstance(value, bool):
        raise InvalidValue(f"must be {ALLOWED}")
    if isinstance(value, int):
        return value * 1024
    if isinstance(value, str) and re.fullmatch(_PATTERN, value, re.ASCII):
        unit = value[-3:]
        return int(value[:-3]) * _MIB_PER_UNIT[unit]
    raise InvalidValue(f"must be {ALLOWED}")


def format_size(size_mib: int) -> int | str:
    """The inverse of `parse_size_mib`: an integer where the size is whole GiB, else a string in MiB."""
    return size_mib // 1024 if size_mib % 1024 == 0 else f"{size_mib}MiB"


def human_size(size_mib: int) -> str:
    """A size for a sentence: "64 GiB" or "512 MiB"."""
    return f"{size_mib // 1024} GiB" if size_mib % 1024 == 0 else f"{size_mib} MiB"


def _to_mib(value: Any) -> int:
    return parse_size_mib(value)


_JSON_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _PATTERN}],
    "description": f"A size: {ALLOWED}.",
}

SizeMib = Annotated[int, BeforeValidator(_to_mib), Field(ge=0, le=1024 * 1024 * 1024), WithJsonSchema(_JSON_SCHEMA)]
"""A field that takes a size as users write it and holds MiB."""

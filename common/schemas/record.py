"""What all records in etcd have in common: they are frozen, carry a version, and are read and written as JSON."""

import json
from contextlib import suppress
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import MalformedRecord


class Part(BaseModel):
    """A frozen part of a record."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Record(Part):
    """A record in etcd. `version` is that of the schema it was written with."""

    CURRENT_VERSION: ClassVar[int] = 1

    version: int = 1

    @classmethod
    def upgrade(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Turn the data of an older version (`data["version"]`) into that of the current one."""
        return data

    @classmethod
    def read(cls, key: str, value: bytes) -> Self:
        """The record that `key` holds, older versions upgraded; MalformedRecord when it is none."""
        # As `to_json` writes it: to parse it once, in pydantic, takes half as long. Whatever is wrong is said below.
        if value.startswith(b'{"version":%d,' % cls.CURRENT_VERSION):
            with suppress(ValidationError):
                return cls.model_validate_json(value)
        try:
            data = json.loads(value)
            if not isinstance(data, dict):
                raise MalformedRecord(key, "not a JSON object")
            version = data.get("version")
            if not isinstance(version, int) or version < 1:
                raise MalformedRecord(key, "version: a positive integer is required")
            if version < cls.CURRENT_VERSION:
                data = {**cls.upgrade(data), "version": cls.CURRENT_VERSION}
            return cls.model_validate(data)
        except KeyError as error:
            raise MalformedRecord(key, f"version {version} without {error}") from error
        except ValidationError as error:
            raise MalformedRecord(key, describe(error)) from error
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise MalformedRecord(key, "not JSON") from error

    def to_json(self) -> bytes:
        """The record as it is stored: JSON without the fields that hold nothing."""
        return self.model_dump_json(exclude_none=True).encode()


def describe(error: ValidationError) -> str:
    """A validation error in one line, each problem with its field; the bad values themselves are left out."""
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'record'}: {problem['msg']}" for problem in problems)

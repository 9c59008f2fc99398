"""What the models of all kinds have in common: sizes, paths, and the parameters of lists."""

import functools
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from common.errors import InvalidValue
from common.schemas import size
from common.schemas.owner import OwnerName

SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]+ ?(MiB|GiB|TiB)$"}]
}
MAX_MIB = 1024 * 1024 * 1024


def to_mib(value: object) -> int:
    """A size as users write it, in MiB; an error of pydantic's when it is none."""
    try:
        return size.parse_size_mib(value)
    except InvalidValue as error:
        raise PydanticCustomError("size", "is not a size") from error


SizeIn = Annotated[int, BeforeValidator(to_mib), WithJsonSchema(SIZE_SCHEMA)]
"""Takes a size as users write it, holds MiB."""

SizeOut = int | str
"""An integer in GiB, or a string in MiB where it is not whole GiB."""

USER_NAME = "1 to 63 lower-case letters, digits, dots, hyphens and underscores."
REALM = "A realm: 1 to 128 letters, digits and @ . _ -, a letter, a digit or _ at either end."
OWNER = "The owner: the name of a user, or project:NAME; the caller if left out."


class In(BaseModel):
    """What is taken: a field that is unknown is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The schema; the plain one is made once, as flask-openapi asks for that of a query with each request."""
        return super().model_json_schema(*arguments, **options) if arguments or options else _plain_schema(cls)


@functools.cache
def _plain_schema(model: type[In]) -> dict[str, Any]:
    return super(In, model).model_json_schema()


class Out(BaseModel):
    """What is given."""

    model_config = ConfigDict(frozen=True)


class ThingPath(In):
    """The path of a VM or an image."""

    uuid: Annotated[UUID, Field(description="A uuid such as 123e4567-e89b-42d3-a456-426614174000.")]


class WatchQuery(In):
    """Whether to follow one resource."""

    watch: Annotated[bool, Field(description="1: a stream of server-sent events, one per change.")] = False


class ListQuery(WatchQuery):
    """Which of many, and how many of them."""

    owner: Annotated[OwnerName | None, Field(description="Only what this owner has.")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many: 1 to 1000.")] = 1000
    cursor: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,18}$", description="The `next_cursor` of the page before this one.")
    ] = None

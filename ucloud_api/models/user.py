"""Users: what is taken to make and change one's account, and the resource."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common.schemas import size
from common.schemas.otp import OtpName
from common.schemas.vm import OwnerName
from ucloud_api.models.session import REALM, USER_NAME
from ucloud_api.models.shared import MAX_MIB, In, Out, SizeIn, SizeOut

_COUNT = Field(strict=True, ge=0, le=1_000_000, description="An integer from 0 to 1000000.")
_SIZE = Field(ge=0, le=1024 * MAX_MIB, description=f"0 to 1048576TiB: {size.ALLOWED}.")
_BOOLEAN = "true or false."
_QUOTA = "An object with vms, cpu, ram, ssd, hdd, networks and security_groups; null: no limit."


class QuotaIn(In):
    """The most that may be charged to a user. What is left out stays, or is the default of a new user."""

    vms: Annotated[int | None, _COUNT] = None
    cpu: Annotated[int | None, _COUNT] = None
    ram: Annotated[SizeIn | None, _SIZE] = None
    ssd: Annotated[SizeIn | None, _SIZE] = None
    hdd: Annotated[SizeIn | None, _SIZE] = None
    networks: Annotated[int | None, _COUNT] = None
    security_groups: Annotated[int | None, _COUNT] = None


class UserCreate(In):
    """A new user."""

    name: Annotated[OwnerName, Field(description=USER_NAME)]
    realm: Annotated[OtpName, Field(description=f"{REALM} It says whose one-time tokens are the user's.")] = "ucloud"
    is_admin: Annotated[bool, Field(strict=True, description=_BOOLEAN)] = False
    enabled: Annotated[bool, Field(strict=True, description=_BOOLEAN)] = True
    quota: Annotated[QuotaIn | None, Field(description=_QUOTA)] = QuotaIn()


class UserPatch(In):
    """A change of a user's account; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    realm: Annotated[OtpName | None, Field(description=REALM)] = None
    is_admin: Annotated[bool | None, Field(strict=True, description=_BOOLEAN)] = None
    enabled: Annotated[bool | None, Field(strict=True, description=_BOOLEAN)] = None
    quota: Annotated[QuotaIn | None, Field(description=_QUOTA)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            allowed = ["realm", "is_admin", "enabled", "quota"]
            raise PydanticCustomError("empty", "changes nothing", {"allowed": allowed})
        return self


class UserPath(In):
    """The path of a user."""

    name: Annotated[OwnerName, Field(description=USER_NAME)]


class UserQuery(In):
    """How many users to list."""

    limit: Annotated[int, Field(ge=1, le=1000, description="At most so many: 1 to 1000.")] = 1000
    cursor: Annotated[
        str | None, Field(pattern=r"^[0-9]{1,18}$", description="The `next_cursor` of the page before this one.")
    ] = None


class Quota(Out):
    """Amounts of what a quota limits."""

    vms: int
    cpu: int
    ram: SizeOut
    ssd: SizeOut
    hdd: SizeOut
    networks: int
    security_groups: int


class User(Out):
    """A user: what it may do, the most that it may use, and what it uses."""

    name: str
    realm: str
    is_admin: bool
    enabled: bool
    quota: Annotated[Quota | None, Field(description="Null: no limit.")]
    used: Annotated[Quota, Field(description="The sum of what is charged for its VMs, networks and security groups.")]
    generation: Annotated[int, Field(description="Counts the changes of the account.")]
    created_at: datetime


class UserList(Out):
    """A page of users, oldest first."""

    items: tuple[User, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]

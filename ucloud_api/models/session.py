"""Sessions: what is taken to log in, and what is given for it."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common.schemas.otp import OtpName
from common.schemas.owner import UserName
from ucloud_api.models.shared import REALM, USER_NAME, In, Out
from ucloud_api.models.user import UserPath


class SessionCreate(In):
    """Who somebody claims to be, with a one-time token, a password or both as the proof."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["token"]}, {"required": ["password"]}]})

    name: Annotated[UserName, Field(description=USER_NAME)]
    realm: Annotated[OtpName, Field(description=REALM)] = "ucloud"
    token: Annotated[
        str | None,
        Field(min_length=1, max_length=64, repr=False, description="The one-time token of now, such as 012345."),
    ] = None
    password: Annotated[
        str | None, Field(min_length=1, max_length=1024, repr=False, description="The password, of users of LDAP.")
    ] = None

    @model_validator(mode="after")
    def _proves_something(self) -> Self:
        if self.token is None and self.password is None:
            raise PydanticCustomError("empty", "needs a token or a password", {"allowed": ["token", "password"]})
        return self


class SessionOut(Out):
    """Who is logged in, and until when."""

    user: str
    is_admin: bool
    expires_at: datetime


class SessionCreated(SessionOut):
    """A new session, with its token, which is shown nowhere else."""

    token: Annotated[str, Field(repr=False, description="For `Authorization: Bearer <token>`.")]


class SessionPath(UserPath):
    """The path of a session of a user."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", description="The id of a session: 16 digits, 0 to f.")]


class SessionOfUser(Out):
    """A session that lasts; its token is not shown again."""

    id: str
    created_at: datetime
    expires_at: datetime
    address: Annotated[str, Field(description="Where the login came from.")]
    proofs: Annotated[tuple[str, ...], Field(description="What it was proved by: password, token.")]
    is_this: Annotated[bool, Field(description="It is that of this request.")]


class SessionList(Out):
    """All sessions of a user, oldest first."""

    items: tuple[SessionOfUser, ...]
    next_cursor: Annotated[None, Field(description="Null: there is no other page.")] = None

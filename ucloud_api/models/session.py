"""Sessions: what is taken to log in, and what is given for it."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from common.schemas.otp import OtpName
from common.schemas.owner import UserName
from ucloud_api.models.shared import In, Out

USER_NAME = "1 to 63 lower-case letters, digits, dots, hyphens and underscores."
REALM = "A realm: 1 to 128 letters, digits and @ . _ -, a letter, a digit or _ at either end."


class SessionCreate(In):
    """Who somebody claims to be, with a one-time token as the proof."""

    name: Annotated[UserName, Field(description=USER_NAME)]
    realm: Annotated[OtpName, Field(description=REALM)] = "ucloud"
    token: Annotated[
        str, Field(min_length=1, max_length=64, repr=False, description="The one-time token of now, such as 012345.")
    ]


class SessionOut(Out):
    """Who is logged in, and until when."""

    user: str
    is_admin: bool
    expires_at: datetime


class SessionCreated(SessionOut):
    """A new session, with its token, which is shown nowhere else."""

    token: Annotated[str, Field(repr=False, description="For `Authorization: Bearer <token>`.")]

"""A user's ssh keys: what is taken for one, and the resource."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from common.errors import InvalidValue
from common.schemas.ssh_key import ALLOWED, SshKeyName, parse_ssh_key
from common.schemas.user import Source
from ucloud_api.models.shared import In, Out
from ucloud_api.models.user import UserPath

_NAME = "1 to 63 lower-case letters, digits, dots, hyphens and underscores; a letter or digit at either end."


def _parsed(text: str) -> str:
    try:
        return parse_ssh_key(text)
    except InvalidValue as error:
        raise PydanticCustomError("ssh_key", str(error)) from error


class SshKeyCreate(In):
    """A new ssh key."""

    name: Annotated[SshKeyName, Field(description=_NAME)]
    key: Annotated[str, AfterValidator(_parsed), Field(description=ALLOWED)]


class SshKeyPath(UserPath):
    """The path of a user's ssh key."""

    key_name: Annotated[SshKeyName, Field(description=_NAME)]


class SshKey(Out):
    """A public ssh key of a user."""

    name: str
    owner: str
    key: Annotated[str, Field(description="A line of an authorized_keys file.")]
    fingerprint: Annotated[str, Field(description="As `ssh-keygen -l` shows it.")]
    source: Annotated[Source, Field(description="embedded: it was added here; ldap: it is in LDAP, and read there.")]
    created_at: datetime


class SshKeyList(Out):
    """All ssh keys of a user, by name."""

    items: tuple[SshKey, ...]
    next_cursor: Annotated[None, Field(description="Null: there is no other page.")] = None

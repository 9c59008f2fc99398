"""Projects: what is taken to make and change one, its members, and the resource."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from common.schemas.owner import ProjectName, UserName
from common.schemas.role import MemberRole
from ucloud_api.models.shared import USER_NAME, In, Out
from ucloud_api.models.user import Quota, QuotaIn

_NAME = USER_NAME
_ROLE = "owner, member or reader."
_QUOTA = "An object with vms, cpu, ram, ssd and hdd; null: no limit."


class ProjectCreate(In):
    """A new project."""

    name: Annotated[ProjectName, Field(description=_NAME)]
    owner: Annotated[UserName | None, Field(description="Its first owner: a user; the caller if left out.")] = None
    quota: Annotated[QuotaIn | None, Field(description=_QUOTA)] = QuotaIn()


class ProjectPatch(In):
    """A change of a project."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    quota: Annotated[QuotaIn | None, Field(description=_QUOTA)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "changes nothing", {"allowed": ["quota"]})
        return self


class ProjectPath(In):
    """The path of a project."""

    name: Annotated[ProjectName, Field(description=_NAME)]


class MemberCreate(In):
    """Who becomes a member, and as what."""

    user: Annotated[UserName, Field(description="The name of a user.")]
    role: Annotated[MemberRole, Field(description=_ROLE)] = MemberRole.MEMBER


class MemberPatch(In):
    """What a member becomes."""

    role: Annotated[MemberRole, Field(description=_ROLE)]


class MemberPath(ProjectPath):
    """The path of a member of a project."""

    user: Annotated[UserName, Field(description=USER_NAME)]


class Member(Out):
    """A member of a project."""

    user: str
    role: MemberRole


class Project(Out):
    """A project: who is in it, the most that it may use, and what it uses."""

    name: str
    owner: Annotated[str, Field(description='What its things are owned by: "project:NAME".')]
    role: Annotated[MemberRole | None, Field(description="What the caller is in it; null: an admin from outside.")]
    members: Annotated[tuple[Member, ...], Field(description="By name.")]
    quota: Annotated[Quota | None, Field(description="Null: no limit.")]
    used: Annotated[Quota, Field(description="The sum of what is charged for its VMs.")]
    generation: Annotated[int, Field(description="Counts its changes.")]
    created_at: datetime


class ProjectList(Out):
    """A page of projects, oldest first."""

    items: tuple[Project, ...]
    next_cursor: Annotated[str | None, Field(description="The cursor of the next page; null: there is none.")]

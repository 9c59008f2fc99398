"""A project: users who have things together, and a quota for what these take."""

from datetime import datetime
from enum import StrEnum

from common.schemas.owner import ProjectName, UserName, project_owner
from common.schemas.record import Record
from common.schemas.user import Quota

MOST_MEMBERS = 256
"""Of a project: all of them are in one record."""


class MemberRole(StrEnum):
    """What a member of a project may do."""

    OWNER = "owner"
    """All that a member may, say who is in it, and delete it."""
    MEMBER = "member"
    """See, make, change and delete its things, and use its consoles."""
    READER = "reader"
    """See its things."""

    @property
    def may_change(self) -> bool:
        """Whether it may do more with things than see them."""
        return self is not MemberRole.READER


def stronger(one: MemberRole, other: MemberRole) -> MemberRole:
    """The one of two roles that may do more."""
    return min(one, other, key=list(MemberRole).index)


class Project(Record):
    """`/v1/project/<name>`, written by ucloud_api. One of its members is an owner, always."""

    name: ProjectName
    members: dict[UserName, MemberRole]
    quota: Quota | None = None
    """The most that may be charged to it; None: there is no limit."""
    generation: int = 1
    created_at: datetime

    @property
    def owner(self) -> str:
        """The owner that its things have."""
        return project_owner(self.name)

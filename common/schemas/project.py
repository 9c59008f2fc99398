"""A project: users who have things together, and a quota for what these take."""

from datetime import datetime

from common.schemas.owner import ProjectName, UserName, project_owner
from common.schemas.record import Record
from common.schemas.role import MemberRole
from common.schemas.user import Quota

MOST_MEMBERS = 256
"""Of a project: all of them are in one record."""


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

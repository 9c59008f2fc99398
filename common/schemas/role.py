"""What somebody is in a project."""

from enum import StrEnum


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

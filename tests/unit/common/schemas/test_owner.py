"""Who owns things."""

import pytest
from pydantic import TypeAdapter, ValidationError

from common.schemas.owner import OwnerName, UserName, project_of, project_owner
from common.schemas.role import MemberRole, stronger

USERS, OWNERS = TypeAdapter(UserName), TypeAdapter(OwnerName)


def test_a_project_is_an_owner_and_no_user() -> None:
    owner = project_owner("web")
    assert OWNERS.validate_python(owner) == "project:web"
    assert (project_of(owner), project_of("web")) == ("web", None)
    with pytest.raises(ValidationError):
        USERS.validate_python(owner)


@pytest.mark.parametrize(
    "name", ["", "project:", "project:project:x", "project:a/b", "a:b", ":a", "Project:a", "project:.."]
)
def test_what_is_no_owner(name: str) -> None:
    with pytest.raises(ValidationError):
        OWNERS.validate_python(name)


def test_the_longest_project_is_as_long_as_the_longest_user() -> None:
    longest = "x" * 63
    assert OWNERS.validate_python(project_owner(USERS.validate_python(longest)))
    with pytest.raises(ValidationError):
        USERS.validate_python(longest + "x")
    with pytest.raises(ValidationError):
        OWNERS.validate_python(longest + "x")


def test_of_two_roles_the_one_that_may_more_counts() -> None:
    assert (
        stronger(MemberRole.READER, MemberRole.OWNER)
        == stronger(MemberRole.OWNER, MemberRole.MEMBER)
        == MemberRole.OWNER
    )
    assert stronger(MemberRole.MEMBER, MemberRole.READER) is MemberRole.MEMBER
    assert [role.may_change for role in MemberRole] == [True, True, False]

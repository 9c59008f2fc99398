"""Which groups put whom into which projects."""

import pytest

from common.directory import ProjectGroups
from common.errors import ConfigurationError
from common.schemas.directory import Group
from common.schemas.role import MemberRole

BASE = "ou=groups,dc=example,dc=com"
PATTERN = f"cn=cloud-{{project}}-{{role}},{BASE}"


def memberships(pattern: str, *dns: str) -> dict[str, MemberRole]:
    return ProjectGroups(pattern).memberships(Group(dn=dn, name="x") for dn in dns)


def test_a_group_says_the_project_and_the_role() -> None:
    found = memberships(PATTERN, f"cn=cloud-web-owner,{BASE}", f"cn=cloud-data-base-reader,{BASE}")
    assert found == {"data-base": MemberRole.READER, "web": MemberRole.OWNER}


@pytest.mark.parametrize(
    "dn", [f"CN=Cloud-Web-Member,{BASE.upper()}", "cn=cloud-web-member, ou=groups, dc=example, dc=com"]
)
def test_names_are_compared_as_a_directory_does(dn: str) -> None:
    assert memberships(PATTERN, dn) == {"web": MemberRole.MEMBER}


@pytest.mark.parametrize(
    "dn",
    [
        f"cn=cloud-web-admin,{BASE}",
        f"cn=cloud--owner,{BASE}",
        f"cn=web-owner,{BASE}",
        f"cn=xcloud-web-owner,{BASE}",
        f"ou=cloud-web-owner,{BASE}",
        "cn=cloud-web-owner,ou=mine,dc=example,dc=com",
        f"cn=cloud-web-owner,ou=mine,{BASE}",
        f"cn=cloud-..-owner,{BASE}",
        f"cn=cloud-we/b-owner,{BASE}",
        f"cn=cloud-project:web-owner,{BASE}",
        "no DN",
        "",
    ],
)
def test_other_groups_say_nothing(dn: str) -> None:
    assert memberships(PATTERN, dn) == {}


def test_of_two_roles_the_stronger_one_counts() -> None:
    dns = [f"cn=cloud-web-{role},{BASE}" for role in ("reader", "owner", "member")]
    assert memberships(PATTERN, *dns) == {"web": MemberRole.OWNER}


def test_without_a_role_they_are_members() -> None:
    assert memberships(f"cn={{project}},{BASE}", f"cn=web,{BASE}") == {"web": MemberRole.MEMBER}


def test_without_a_pattern_nobody_is_in_a_project() -> None:
    assert memberships("", f"cn=cloud-web-owner,{BASE}", "") == {}


@pytest.mark.parametrize(
    "pattern",
    [
        "no DN",
        f"cn=cloud-web,{BASE}",
        f"cn={{project}}{{project}},{BASE}",
        f"cn={{project}}-{{role}}-{{role}},{BASE}",
        f"cn=cloud,ou={{project}},{BASE}",
        f"cn={{project}},ou={{role}},{BASE}",
    ],
)
def test_what_is_no_pattern_is_refused_by_its_setting(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[ldap\] project_groups"):
        ProjectGroups(pattern)

"""Which groups of a directory put their members into projects, told by a pattern of their DNs.

A group is known by its whole DN, as the admins' group is: whoever may make groups elsewhere in the directory gives
nobody a project by it.
"""

import re
from collections.abc import Iterable

from common.directory.embedded import is_name
from common.directory.names import parts
from common.errors import ConfigurationError
from common.schemas.directory import Group
from common.schemas.role import MemberRole, stronger

_PROJECT, _ROLE = "{project}", "{role}"


class ProjectGroups:
    """The groups that a pattern means: `cn=cloud-{project}-{role},ou=groups,dc=example,dc=com`."""

    def __init__(self, pattern: str) -> None:
        """Empty: there are none. ConfigurationError where it is no such pattern."""
        wanted = parts(pattern) if pattern else ()
        if wanted is None:
            raise ConfigurationError("[ldap] project_groups: is no DN (RFC 4514)")
        first = wanted[0][1] if wanted else _PROJECT
        if first.count(_PROJECT) != 1 or first.count(_ROLE) > 1 or any("{" in value for _, value in wanted[1:]):
            raise ConfigurationError(
                "[ldap] project_groups: {project} is required once in its first part, {role} is allowed once there"
            )
        self._wanted = wanted
        places = {_PROJECT: "(?P<project>.+)", _ROLE: f"(?P<role>{'|'.join(MemberRole)})"}
        self._name = re.compile("".join(places.get(each, re.escape(each)) for each in re.split(r"(\{\w+\})", first)))

    def memberships(self, groups: Iterable[Group]) -> dict[str, MemberRole]:
        """The roles in projects, by their names, of who is in these groups; the stronger one of two."""
        found: dict[str, MemberRole] = {}
        for group in groups:
            match = self._match(group.dn)
            if match and is_name(project := match["project"]):
                role = MemberRole(match.groupdict().get("role", MemberRole.MEMBER))
                found[project] = stronger(role, found.get(project, role))
        return dict(sorted(found.items()))

    def _match(self, dn: str) -> re.Match[str] | None:
        given = parts(dn)
        if not self._wanted or not given or given[1:] != self._wanted[1:] or given[0][0] != self._wanted[0][0]:
            return None
        return self._name.fullmatch(given[0][1])

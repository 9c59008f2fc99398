"""Who is in which project, and as what: followed from the projects' records."""

import threading
from collections.abc import Callable, Mapping

from common import keys
from common.cache import Cache
from common.schemas.owner import project_owner
from common.schemas.project import Project
from common.schemas.role import MemberRole
from common.schemas.user import Account


class Memberships:
    """The roles of each user, by the owner ("project:web") that a project is. `tell(user)` hears that they changed."""

    def __init__(self, projects: Cache[Project], tell: Callable[[str], None]) -> None:
        self._projects = projects
        self._tell = tell
        self._lock = threading.Lock()
        self._members: dict[str, Mapping[str, MemberRole]] = {}
        self._of_user: dict[str, Mapping[str, MemberRole]] = {}
        self._changed_at: dict[str, int] = {}

    def update(self, key: str) -> None:
        """Look at the key of a project that may have changed."""
        cached = self._projects.get(key)
        with self._lock:
            before = self._members.get(key, {})
            now: Mapping[str, MemberRole] = cached.record.members if cached else {}
            changed = [user for user in before.keys() | now.keys() if before.get(user) != now.get(user)]
            owner = project_owner(key.removeprefix(self._projects.prefix))
            revision = cached.mod_revision if cached else self._projects.revision
            for user in changed:
                roles = {each: role for each, role in self._of_user.get(user, {}).items() if each != owner}
                self._of_user[user] = roles | ({owner: now[user]} if user in now else {})
                self._changed_at[user] = max(revision, self._changed_at.get(user, 0))
            self._members[key] = now
        for user in changed:
            self._tell(user)

    def of(self, user: str) -> Mapping[str, MemberRole]:
        """A user's roles."""
        return self._of_user.get(user, {})

    def changed_at(self, user: str) -> int:
        """The revision since which its roles are as they are, as far as it is known; 0: it never had any."""
        return self._changed_at.get(user, 0)


def extra_memberships(account: Account, projects: Cache[Project]) -> Mapping[str, MemberRole]:
    """The projects that groups of the directory put a user into, by their names: those that there are."""
    return {name: role for name, role in account.memberships.items() if projects.get(keys.project(name))}

"""Who is in which project, as the cache of projects comes to know it."""

from datetime import UTC, datetime
from typing import cast

import pytest

from common import keys
from common.cache import Cache, Cached
from common.schemas.project import Project
from common.schemas.role import MemberRole
from ucloud_api.worker.membership import Memberships


class Projects:
    """A cache of projects, as far as it is asked."""

    prefix = keys.PROJECT
    revision = 0

    def __init__(self) -> None:
        self.known: dict[str, Cached[Project]] = {}

    def get(self, key: str) -> Cached[Project] | None:
        return self.known.get(key)


class World:
    """Projects that change, and who was told."""

    def __init__(self) -> None:
        self.projects = Projects()
        self.told: list[str] = []
        self.memberships = Memberships(cast(Cache[Project], self.projects), self.told.append)

    def put(self, name: str, **members: MemberRole) -> None:
        self.projects.revision += 1
        at = self.projects.revision
        project = Project(name=name, members=members, created_at=datetime.now(UTC))
        self.projects.known[keys.project(name)] = Cached(project, at, at)
        self.memberships.update(keys.project(name))

    def remove(self, name: str) -> None:
        self.projects.revision += 1
        del self.projects.known[keys.project(name)]
        self.memberships.update(keys.project(name))


@pytest.fixture
def world() -> World:
    return World()


def test_roles_come_and_go_with_the_projects(world: World) -> None:
    world.put("web", ann=MemberRole.OWNER, bob=MemberRole.READER)
    world.put("db", bob=MemberRole.OWNER)
    assert world.memberships.of("ann") == {"project:web": MemberRole.OWNER}
    assert world.memberships.of("bob") == {"project:web": MemberRole.READER, "project:db": MemberRole.OWNER}
    world.put("web", ann=MemberRole.OWNER)
    assert world.memberships.of("bob") == {"project:db": MemberRole.OWNER}
    world.remove("db")
    assert world.memberships.of("bob") == {}
    assert world.memberships.of("zoe") == {}


def test_only_those_are_told_whose_rights_changed(world: World) -> None:
    world.put("web", ann=MemberRole.OWNER, bob=MemberRole.READER)
    world.told.clear()
    world.put("web", ann=MemberRole.OWNER, bob=MemberRole.MEMBER)
    assert world.told == ["bob"]
    world.told.clear()
    world.put("web", ann=MemberRole.OWNER, bob=MemberRole.MEMBER)
    assert world.told == []


def test_it_is_known_since_when_somebody_has_the_rights_that_it_has(world: World) -> None:
    world.put("web", ann=MemberRole.OWNER)
    world.put("web", ann=MemberRole.OWNER, bob=MemberRole.READER)
    assert [world.memberships.changed_at(user) for user in ("ann", "bob", "zoe")] == [1, 2, 0]
    world.put("web", ann=MemberRole.OWNER)
    assert world.memberships.changed_at("bob") == 3

"""When a guard acts, by the moments that it is told."""

from pathlib import Path

import pytest

from common import clock
from common.lifeline import Lifeline
from common.settings import FenceSettings
from ucloud_host.guard import Guard

TTL_S = 4.0
GUARD_S = 6.0


class World:
    """A guard, the page that it reads, and the guests that it finds."""

    def __init__(self, directory: Path) -> None:
        self.lifeline = Lifeline(directory, "boot")
        self.guests: list[str] = []
        self.looks = 0
        self.began_at = clock.now()
        self.guard = Guard(self.lifeline, self._end, TTL_S)

    def _end(self) -> list[str]:
        self.looks += 1
        return self.guests


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_while_the_lease_holds_it_shows_that_it_is_there_and_nothing_else(world: World) -> None:
    world.lifeline.renewed_at = 1000.0
    assert world.guard.look(1001.0) == 1002.0
    assert world.guard.look(1005.5) == 1006.0, "the deadline, if that comes first"
    assert world.lifeline.beat_at == 1005.5
    assert (world.looks, world.lifeline.clean_at) == (0, 0)


def test_past_the_deadline_it_ends_guests_until_the_lease_is_back(world: World) -> None:
    world.lifeline.renewed_at = 1000.0
    world.guests = ["a"]
    world.guard.look(1000.0 + GUARD_S)
    assert (world.looks, world.lifeline.clean_at) == (1, 0)
    world.guests = []
    world.guard.look(1006.1)
    assert (world.looks, world.lifeline.clean_at) == (2, 1006.1)
    world.guests = ["b"]  # a start that was under way
    world.guard.look(1006.2)
    assert (world.looks, world.lifeline.clean_at) == (3, 1006.1)
    world.lifeline.renewed_at = 1006.25
    world.guard.look(1006.3)
    assert world.looks == 3


def test_asked_to_it_ends_guests_before_the_deadline_until_a_later_renewal(world: World) -> None:
    world.lifeline.renewed_at = 1000.0
    world.lifeline.asked_at = 1001.0
    world.guard.look(1001.5)
    assert (world.looks, world.lifeline.clean_at) == (1, 1001.5)
    world.lifeline.renewed_at = 1000.9  # it was sent before, and answered now
    world.guard.look(1001.6)
    assert world.looks == 2
    world.lifeline.renewed_at = 1001.7
    world.guard.look(1001.8)
    assert world.looks == 2


def test_a_host_that_never_had_a_lease_has_its_time_from_the_guards_start(world: World) -> None:
    world.guard.look(world.began_at)
    assert world.looks == 0
    world.guard.look(world.began_at + GUARD_S + 60)
    assert world.looks == 1


@pytest.mark.parametrize(
    ("methods", "counts"),
    [
        (("self+storage", "manual"), True),
        (("manual", "storage + self"), True),
        (("self",), True),
        (("storage", "manual"), False),
    ],
)
def test_it_is_wanted_where_a_fence_counts_on_it(methods: tuple[str, ...], counts: bool) -> None:
    assert FenceSettings(methods=methods).counts_on_guard is counts

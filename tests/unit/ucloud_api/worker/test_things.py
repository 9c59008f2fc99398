"""What there is, oldest first, whoever asks; and what changed lately, with nothing left out."""

import random
from typing import Any, cast

import pytest

from common.cache import Cache, Cached
from common.schemas.record import Record
from ucloud_api.worker.journal import Journal
from ucloud_api.worker.things import Audience, Things


class Thing(Record):
    """A record of the test."""

    owner: str
    public: bool = False


class Known:
    """What a cache knows."""

    def __init__(self) -> None:
        self.records: dict[str, Cached[Thing]] = {}
        self.revision = 1
        self.listed_at = 1

    def get(self, key: str) -> Cached[Thing] | None:
        return self.records.get(key)


class World:
    """Things that come and go."""

    def __init__(self, most: int = 100) -> None:
        self.known = Known()
        self.cache = cast(Cache[Thing], self.known)
        self.things = Things(self.cache, lambda thing: Audience(thing.owner, thing.public))
        self.journal = Journal((self.cache,), most)
        self.at: dict[str, int] = {}

    def put(self, name: str, created: int, owner: str = "ann", public: bool = False) -> None:
        self.known.records[f"/{name}"] = Cached(Thing(owner=owner, public=public), created, created)
        self.tell(name)

    def remove(self, name: str) -> None:
        del self.known.records[f"/{name}"]
        self.tell(name)

    def tell(self, name: str, is_over: bool = True) -> None:
        self.journal.touch(self.cache, name, self.things.update(f"/{name}"))
        if is_over:
            self.known.revision += 10
            self.at[name] = self.known.revision

    def since(self, revision: int) -> set[str] | None:
        return self.journal.since(revision)


def test_things_are_in_the_order_of_their_creation() -> None:
    world = World()
    created = random.Random(1).sample(range(1, 5000), 1500)  # noqa: S311
    for number in created:
        world.put(f"t{number}", number, owner="ann" if number % 2 else "bob")
    expected = [f"t{number}" for number in sorted(created)]
    assert list(world.things.of_all()) == expected
    assert list(world.things.of(("ann",))) == [name for name in expected if int(name[1:]) % 2]
    assert list(world.things.of_all(2500)) == [name for name in expected if int(name[1:]) > 2500]
    assert list(world.things.of(("nobody",))) == []
    for name in expected[::2]:
        world.remove(name)
    assert list(world.things.of_all()) == expected[1::2]


def test_what_is_public_is_seen_by_all_once() -> None:
    world = World()
    for number, (owner, public) in enumerate([("ann", True), ("bob", False), ("bob", True), ("ann", False)], 1):
        world.put(f"t{number}", number, owner, public)
    assert list(world.things.seen_by(("ann",))) == ["t1", "t3", "t4"]
    assert list(world.things.seen_by(("bob",), after=1)) == ["t2", "t3"]
    assert list(world.things.public()) == ["t1", "t3"]
    world.put("t3", 3, "bob", public=False)
    assert list(world.things.seen_by(("ann",))) == ["t1", "t4"]
    assert world.things.audience("t3") == Audience("bob")


def test_what_changed_after_a_revision_is_known_also_if_it_is_gone() -> None:
    world = World()
    world.put("a", 1)
    world.put("b", 2)
    world.remove("a")
    assert world.since(world.at["a"]) == set()
    assert world.since(world.at["b"]) == {"a"}
    assert world.since(1) == {"a", "b"}
    assert world.since(0) is None, "what was before the first listing is not known"


def test_what_is_being_told_is_in_every_answer() -> None:
    world = World()
    world.put("a", 1)
    far = world.known.revision + 1000
    world.known.records["/b"] = Cached(Thing(owner="ann"), 2, 2)
    world.tell("b", is_over=False)
    assert world.since(far) == {"b"}
    world.known.revision += 10
    assert world.since(far) == set()


@pytest.mark.parametrize("most", [1, 3])
def test_what_is_forgotten_is_never_passed_over(most: int) -> None:
    world = World(most)
    for name in ("a", "b", "c", "d"):
        world.put(name, 1)
    for name, following in (("a", {"b", "c", "d"}), ("b", {"c", "d"}), ("c", {"d"}), ("d", set[Any]())):
        assert world.since(world.at[name]) in (None, following)
    assert world.since(world.at["d"]) == set()
    assert world.since(world.at["a"]) == (None if most == 1 else {"b", "c", "d"})


def test_who_saw_what_was_public_may_hear_that_it_is_gone() -> None:
    world = World()
    world.put("a", 1, "ann", public=True)
    world.put("b", 2, "ann")
    start = world.known.revision
    world.put("a", 1, "ann", public=False)
    world.remove("a")
    world.remove("b")
    assert world.since(start) == {"a", "b"}
    assert world.journal.audience("a") == Audience("ann", True)
    assert world.journal.audience("b") == Audience("ann", False)
    assert world.journal.audience("c") is None


def test_what_came_and_went_unseen_is_a_gap_and_so_is_a_new_listing() -> None:
    world = World()
    world.put("a", 1)
    before = world.known.revision
    world.tell("b")  # made and removed before this worker looked
    assert world.since(before) is None
    assert world.since(world.known.revision) == set()
    world.put("c", 3)
    world.known.listed_at = world.known.revision = world.known.revision + 100
    assert world.since(world.known.revision - 1) is None
    assert world.since(world.known.revision) == set()

"""Streams: first what is, then what is different; an id says up to where everything was told."""

from typing import Any, cast

from common.cache import Cache
from ucloud_api.reading.streams import Follower, Source
from ucloud_api.worker.journal import Journal
from ucloud_api.worker.things import Audience
from ucloud_api.worker.watch import Hub, Subscription


class Clock:
    """A cache that is at a revision."""

    revision = 5
    listed_at = 5

    def wait_revision(self, revision: int, timeout_s: float) -> bool:
        return self.revision >= revision


class World:
    """Things that are followed."""

    def __init__(self) -> None:
        self.hub = Hub(10)
        self.clock = Clock()
        self.journal = Journal((cast(Cache[Any], self.clock),))
        self.things: dict[str, bytes] = {}

    def set(self, name: str, resource: bytes | None, owner: str = "ann") -> None:
        if resource is None:
            del self.things[name]
        else:
            self.things[name] = resource
        self.journal.touch(cast(Cache[Any], self.clock), name, Audience(owner))
        self.clock.revision += 1
        self.hub.tell("vm", name)

    def follow(self, name: str | None = None, last_event_id: str | None = None) -> tuple[Subscription, Any]:
        caches = (cast(Cache[Any], self.clock),)
        source = Source(
            "vm", name, lambda: list(self.things), self.things.get, lambda who: who.owner == "ann", caches, self.journal
        )
        subscription = self.hub.subscribe(("vm", name))
        return subscription, Follower(source, subscription, lambda: 0.01, lambda: True).events(last_event_id)


def test_one_thing_is_followed_to_its_end() -> None:
    world = World()
    world.things["a"] = b"1"
    _, events = world.follow("a")
    assert next(events) == b"id: 5\ndata: 1\n\n"
    world.hub.tell("vm", "a")  # nothing is different
    world.set("a", b"2")
    assert next(events) == b"id: 6\ndata: 2\n\n"
    world.set("a", None)
    assert next(events) == b'id: 7\nevent: deleted\ndata: {"uuid":"a"}\n\n'
    assert list(events) == []


def test_of_several_events_the_last_says_where_to_go_on() -> None:
    world = World()
    world.things.update(a=b"1", b=b"2")
    subscription, events = world.follow()
    assert [next(events), next(events)] == [b"data: 1\n\n", b"id: 5\ndata: 2\n\n"]
    assert next(events) == b": still here\nid: 5\n\n"
    world.set("c", b"3")
    world.set("d", b"4")
    told = [next(events), next(events)]
    assert sorted(each.split(b"data: ")[1] for each in told) == [b"3\n\n", b"4\n\n"]
    assert [each.startswith(b"id: 7\n") for each in told] == [False, True]
    subscription.close()
    assert list(events) == []


def test_a_stream_of_nothing_says_where_it_is() -> None:
    _, events = World().follow()
    assert next(events).endswith(b"\nid: 5\n\n")


def test_going_on_tells_what_changed_and_what_is_gone_and_no_more() -> None:
    world = World()
    for name in ("a", "b", "c", "d"):
        world.things[name] = b"1"
    world.set("b", b"2")
    world.set("c", None)
    world.set("x", b"0", owner="bob")
    world.set("x", None, owner="bob")
    _, events = world.follow(last_event_id="5")
    told = [next(events), next(events), next(events)]
    assert sorted(each.split(b"data: ")[-1] for each in told[:2]) == [b"2\n\n", b'{"uuid":"c"}\n\n']
    assert told[1].startswith(b"id: 9\n")
    assert told[2].endswith(b"id: 9\n\n")
    world.set("a", None)
    assert next(events) == b'id: 10\nevent: deleted\ndata: {"uuid":"a"}\n\n', "it was known to the client"


def test_what_is_gone_before_it_is_looked_at_is_told_all_the_same() -> None:
    world = World()
    world.things["a"] = b"1"
    _, events = world.follow(last_event_id="5")
    next(events)
    del world.things["a"]  # the cache knows it already, and has not told of it yet
    assert next(events) == b": still here\nid: 5\n\n"
    world.things["a"] = b"1"
    world.set("a", None)
    assert next(events) == b'id: 6\nevent: deleted\ndata: {"uuid":"a"}\n\n'
    world.hub.tell("vm", "a")
    assert next(events).startswith(b": still here"), "told once"


def test_what_is_not_remembered_is_told_anew() -> None:
    world = World()
    world.things["a"] = b"1"
    for last_event_id in ("4", "9999", "x", "-1", "1" * 30):
        _, events = world.follow(last_event_id=last_event_id)
        assert [next(events), next(events)] == [b"event: reset\ndata: {}\n\n", b"id: 5\ndata: 1\n\n"]


def test_a_stream_ends_with_its_session() -> None:
    world = World()
    subscription, _ = world.follow()
    is_allowed = [True]
    source = Source("vm", None, list, world.things.get, lambda _: True, (cast(Cache[Any], world.clock),), world.journal)
    events = Follower(source, subscription, lambda: 0.01, lambda: is_allowed[0]).events(None)
    next(events)
    is_allowed[0] = False
    assert list(events) == []

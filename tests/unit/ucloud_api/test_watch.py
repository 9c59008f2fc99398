"""The hub: who watches is told, nothing is lost between two looks, and there is an end."""

import threading

import pytest

from ucloud_api.problems import ApiProblem
from ucloud_api.watch import Hub, stream


def test_only_who_wants_to_hear_of_it_does() -> None:
    hub = Hub(10)
    one, all_of_them, other = hub.subscribe("vm", "a"), hub.subscribe("vm"), hub.subscribe("image", "a")
    hub.tell("vm", "a")
    hub.tell("vm", "b")
    assert (one.wait(0), all_of_them.wait(0), other.wait(0)) == ({"a"}, {"a", "b"}, set())
    assert one.wait(0) == set(), "told once"


def test_waiting_ends_when_there_is_news_or_an_end() -> None:
    hub = Hub(10)
    subscription = hub.subscribe("vm", "a")
    threading.Timer(0.05, hub.tell, ("vm", "a")).start()
    assert subscription.wait(10) == {"a"}
    threading.Timer(0.05, hub.close).start()
    assert subscription.wait(10) == set()
    assert subscription.closed
    with pytest.raises(ApiProblem):
        hub.subscribe("vm")


def test_leaving_makes_room() -> None:
    hub = Hub(1)
    subscription = hub.subscribe("vm")
    with pytest.raises(ApiProblem):
        hub.subscribe("vm")
    for _ in range(2):
        hub.unsubscribe(subscription)
    hub.subscribe("vm")


def test_a_stream_tells_what_is_and_then_what_is_different() -> None:
    hub = Hub(1)
    things = {"a": "1"}
    events = iter(stream(hub, "vm", "a", lambda: ["a"], things.get).response)
    assert next(events) == "data: 1\n\n"
    hub.tell("vm", "a")  # nothing is different
    things["a"] = "2"
    hub.tell("vm", "a")
    assert next(events) == "data: 2\n\n"
    del things["a"]
    hub.tell("vm", "a")
    assert next(events) == 'event: deleted\ndata: {"uuid":"a"}\n\n'
    assert list(events) == []


def test_a_stream_of_all_tells_of_new_ones() -> None:
    hub = Hub(1)
    things = {"a": "1"}
    response = stream(hub, "vm", None, lambda: list(things), things.get)
    events = iter(response.response)
    assert next(events) == "data: 1\n\n"
    things["b"] = "2"
    hub.tell("vm", "b")
    assert next(events) == "data: 2\n\n"
    del things["a"]
    hub.tell("vm", "a")
    assert str(next(events)).startswith("event: deleted")
    response.close()
    hub.subscribe("vm")


def test_a_stream_that_can_t_begin_holds_no_place() -> None:
    hub = Hub(1)

    def gone(_name: str) -> str:
        raise ApiProblem(404, "vm-not-found", "gone")

    with pytest.raises(ApiProblem):
        stream(hub, "vm", "a", lambda: ["a"], gone)
    hub.subscribe("vm")

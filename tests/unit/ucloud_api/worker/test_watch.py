"""The hub: who watches is told, nothing is lost between two looks, and there is an end."""

import threading

import pytest

from ucloud_api.problems import ApiProblem
from ucloud_api.worker.watch import Hub


def test_only_who_wants_to_hear_of_it_does() -> None:
    hub = Hub(10)
    one, all_of_them, other = (
        hub.subscribe(("vm", "a")),
        hub.subscribe(("vm", None)),
        hub.subscribe(("image", "a")),
    )
    hub.tell("vm", "a")
    hub.tell("vm", "b")
    assert (one.take(), all_of_them.take(), other.take()) == ({"a"}, {"a", "b"}, set())
    assert one.take() == set(), "told once"


def test_waiting_ends_when_there_is_news_or_an_end() -> None:
    hub = Hub(10)
    subscription = hub.subscribe(("vm", "a"))
    assert not subscription.wait(0)
    threading.Timer(0.05, hub.tell, ("vm", "a")).start()
    assert subscription.wait(10)
    assert subscription.take() == {"a"}
    threading.Timer(0.05, hub.close).start()
    assert subscription.wait(10)
    assert subscription.closed
    with pytest.raises(ApiProblem):
        hub.subscribe(("vm", None))


def test_a_change_of_the_session_wakes_and_is_no_news() -> None:
    hub = Hub(10)
    subscription = hub.subscribe(("vm", None), ("session", "s"), ("account", "ann"))
    hub.tell("session", "s")
    assert subscription.wait(0)
    assert subscription.take() == set()
    assert not subscription.wait(0)
    hub.tell("account", "bob")
    assert not subscription.wait(0)


def test_leaving_makes_room() -> None:
    hub = Hub(1)
    subscription = hub.subscribe(("vm", None), ("session", "s"))
    with pytest.raises(ApiProblem):
        hub.subscribe(("vm", None))
    for _ in range(2):
        hub.unsubscribe(subscription)
    hub.subscribe(("vm", None))
    with pytest.raises(ApiProblem):
        hub.subscribe(("vm", None))

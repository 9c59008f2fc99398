"""Who leaves is noticed, and nobody else is taken for them."""

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from ucloud_api.worker.leavers import Leavers

DEADLINE_S = 20.0


@pytest.fixture
def leavers() -> Iterator[Leavers]:
    """Somebody who looks."""
    leavers = Leavers()
    leavers.start()
    yield leavers
    leavers.close()


def test_a_client_that_leaves_is_noticed_once(leavers: Leavers) -> None:
    here, there = socket.socketpair()
    left = threading.Semaphore(0)
    leavers.watch(here, left.release)
    there.close()
    assert left.acquire(timeout=DEADLINE_S)
    leavers.forget(here)
    leavers.forget(here)
    here.close()


class Gate:
    """A lock at which the thread that looks can be kept waiting."""

    def __init__(self) -> None:
        self.reached, self.may_pass = threading.Event(), threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if threading.current_thread().name == "leavers":
            self.reached.set()
            self.may_pass.wait(DEADLINE_S)
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_who_has_the_number_of_one_that_left_is_not_taken_for_it(
    leavers: Leavers, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, its_client), (second, _client), (third, last_client) = (socket.socketpair() for _ in range(3))
    wrong, last = threading.Event(), threading.Event()
    gate = Gate()
    monkeypatch.setattr(leavers, "_lock", gate)
    leavers.watch(first, lambda: None)
    its_client.close()
    assert gate.reached.wait(DEADLINE_S)
    leavers.forget(first)
    os.dup2(second.fileno(), first.fileno())
    leavers.watch(first, wrong.set)
    gate.may_pass.set()
    leavers.watch(third, last.set)
    last_client.close()
    assert last.wait(DEADLINE_S)
    assert not wrong.is_set()

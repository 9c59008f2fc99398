"""The work queue: one worker per name, each name once, delays."""

import threading

from common.queue import WorkQueue

DEADLINE_S = 30.0


def test_a_name_added_twice_is_handed_out_once() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert [queue.get(), queue.get()] == ["a", "b"]
    assert len(queue) == 0


def test_a_name_in_work_is_handed_out_again_only_after_it_is_done() -> None:
    queue = WorkQueue()
    queue.add("a")
    assert queue.get() == "a"
    queue.add("a")
    queue.add("b")
    assert queue.get() == "b"
    queue.done("a")
    assert queue.get() == "a"


def test_delayed_names_come_when_they_are_due_and_the_earliest_wish_counts() -> None:
    now = [0.0]
    queue = WorkQueue(clock=lambda: now[0])
    queue.add("late", after_s=10)
    queue.add("soon", after_s=20)
    queue.add("soon", after_s=5)
    queue.add("soon", after_s=30)
    now[0] = 6.0
    assert queue.get() == "soon"
    now[0] = 11.0
    assert queue.get() == "late"
    assert len(queue) == 0


def test_a_waiting_worker_wakes_for_a_new_name_and_for_the_end() -> None:
    queue = WorkQueue()
    got: list[str | None] = []
    first = threading.Event()

    def work() -> None:
        while (name := queue.get()) is not None:
            got.append(name)
            queue.done(name)
            first.set()

    worker = threading.Thread(target=work)
    worker.start()
    queue.add("slow", after_s=60)
    queue.add("a")
    assert first.wait(DEADLINE_S)
    queue.close()
    worker.join(DEADLINE_S)
    assert not worker.is_alive()
    assert got == ["a"]

"""Why an import stands still is told once, and once more when it goes on."""

import queue

from common.errors import TemporaryError
from ucloud_image.stall import told_of_stalls


class Cluster:
    """A store that may be away, and counts who asks."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked: queue.Queue[bool] = queue.Queue()

    def ask(self) -> None:
        self.asked.put(True)
        if self.is_away:
            raise TemporaryError("does not answer")

    def wait_asked(self) -> None:
        for _ in range(2):
            self.asked.get(timeout=30)


def test_it_is_told_when_the_store_does_not_answer_and_when_it_does_again() -> None:
    cluster, told = Cluster(), queue.Queue[str]()
    with told_of_stalls(cluster.ask, told.put, look_every_s=0.01):
        cluster.wait_asked()
        cluster.is_away = True
        assert told.get(timeout=30) == "does not answer"
        cluster.wait_asked()
        cluster.is_away = False
        assert told.get(timeout=30) == ""
    assert told.empty()


def test_nothing_is_told_after_the_end() -> None:
    cluster, told = Cluster(), queue.Queue[str]()
    with told_of_stalls(cluster.ask, told.put, look_every_s=0.01):
        cluster.wait_asked()
    cluster.is_away = True
    assert told.empty()

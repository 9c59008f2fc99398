"""The hub: who watches is told of what may have changed, and woken when the session that lets them has changed.

Nothing polls. What a stream says of the news is ucloud_api.reading.streams' matter.
"""

import threading

from ucloud_api.problems import unavailable

Topic = tuple[str, str | None]
"""A kind and the name of one of its things; None: all of them."""


class Subscription:
    """What one stream has not looked at yet."""

    def __init__(self, topics: tuple[Topic, ...]) -> None:
        """The first of the topics is what it hears of, a change of the others wakes it."""
        self.topics = topics
        self._condition = threading.Condition()
        self._names: set[str] = set()
        self._is_woken = False
        self.closed = False

    def tell(self, kind: str, name: str) -> None:
        """`name` of a kind may have changed."""
        with self._condition:
            if kind == self.topics[0][0]:
                self._names.add(name)
            else:
                self._is_woken = True
            self._condition.notify()

    def wait(self, timeout_s: float) -> bool:
        """Wait for news, to be woken, or to be closed; False after `timeout_s`."""
        with self._condition:
            happened = self._condition.wait_for(lambda: self._names or self._is_woken or self.closed, timeout_s)
            self._is_woken = False
            return bool(happened)

    def take(self) -> set[str]:
        """The names that may have changed since the last call."""
        with self._condition:
            names, self._names = self._names, set()
            return names

    def close(self) -> None:
        """Let `wait` return for good."""
        with self._condition:
            self.closed = True
            self._condition.notify()


class Hub:
    """Brings what may have changed to those who want to hear of it. There is room for `most_streams` of them."""

    def __init__(self, most_streams: int) -> None:
        self._most_streams = most_streams
        self._lock = threading.Lock()
        self._subscriptions: dict[Topic, set[Subscription]] = {}
        self._count = 0
        self._closed = False

    def tell(self, kind: str, name: str) -> None:
        """`name` of a kind may have changed."""
        with self._lock:
            found = [each for topic in ((kind, name), (kind, None)) for each in self._subscriptions.get(topic, ())]
        for subscription in found:
            subscription.tell(kind, name)

    def subscribe(self, *topics: Topic) -> Subscription:
        """Hear of the first topic, be woken by the others; ApiProblem (503) when too many do: each holds a thread."""
        with self._lock:
            if self._count >= self._most_streams or self._closed:
                raise unavailable("too-many-streams", f"{self._count} clients watch already, which is the limit")
            self._count += 1
            subscription = Subscription(topics)
            for topic in topics:
                self._subscriptions.setdefault(topic, set()).add(subscription)
            return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hear no more; a second time does nothing."""
        with self._lock:
            is_known = False
            for topic in subscription.topics:
                subscriptions = self._subscriptions.get(topic, set())
                is_known = is_known or subscription in subscriptions
                subscriptions.discard(subscription)
                if not subscriptions:
                    self._subscriptions.pop(topic, None)
            self._count -= is_known

    def close(self) -> None:
        """End all streams."""
        with self._lock:
            self._closed = True
            found = {each for subscriptions in self._subscriptions.values() for each in subscriptions}
        for subscription in found:
            subscription.close()

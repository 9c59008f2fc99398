"""News of VMs and images, and their streams of server-sent events. Source: WHATWG HTML, section 9.2.

The caches tell the hub what may have changed; a stream then looks, and sends what is different. Nothing polls.
"""

import threading
from collections.abc import Callable, Iterator

from flask import Response

from common.errors import MalformedRecord, StoreError, Unavailable
from ucloud_api.problems import unavailable

HEARTBEAT_S = 15.0


class Subscription:
    """What one stream has not looked at yet."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._names: set[str] = set()
        self.closed = False

    def tell(self, name: str) -> None:
        """`name` may have changed."""
        with self._condition:
            self._names.add(name)
            self._condition.notify()

    def wait(self, timeout_s: float) -> set[str]:
        """The names that may have changed since the last call; empty after `timeout_s`, or when closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._names or self.closed, timeout_s)
            names, self._names = self._names, set()
            return names

    def close(self) -> None:
        """Let `wait` return for good."""
        with self._condition:
            self.closed = True
            self._condition.notify()


class Hub:
    """Who wants to hear of what: of one thing of a kind, or (name None) of all of them."""

    def __init__(self, most_streams: int) -> None:
        self._most_streams = most_streams
        self._lock = threading.Lock()
        self._subscriptions: dict[tuple[str, str | None], set[Subscription]] = {}
        self._count = 0
        self._closed = False

    def tell(self, kind: str, name: str) -> None:
        """`name` of a kind may have changed."""
        with self._lock:
            found = [each for topic in ((kind, name), (kind, None)) for each in self._subscriptions.get(topic, ())]
        for subscription in found:
            subscription.tell(name)

    def subscribe(self, kind: str, name: str | None = None) -> Subscription:
        """Hear of one thing or of all; ApiProblem (503) when too many do: each stream holds a thread."""
        with self._lock:
            if self._count >= self._most_streams or self._closed:
                raise unavailable("too-many-streams", f"{self._count} clients watch already, which is the limit")
            self._count += 1
            subscription = Subscription()
            self._subscriptions.setdefault((kind, name), set()).add(subscription)
            return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hear no more; a second time does nothing."""
        with self._lock:
            for topic, subscriptions in list(self._subscriptions.items()):
                if subscription in subscriptions:
                    subscriptions.remove(subscription)
                    self._count -= 1
                    if not subscriptions:
                        del self._subscriptions[topic]

    def close(self) -> None:
        """End all streams."""
        with self._lock:
            self._closed = True
            found = [each for subscriptions in self._subscriptions.values() for each in subscriptions]
        for subscription in found:
            subscription.close()


class _Stream:
    """The body of a stream; the server closes it when its client has left, even before the first event."""

    def __init__(self, hub: Hub, subscription: Subscription, events: Iterator[str]) -> None:
        self._hub = hub
        self._subscription = subscription
        self._events = events

    def __iter__(self) -> Iterator[str]:
        return self._events

    def close(self) -> None:
        self._subscription.close()
        self._hub.unsubscribe(self._subscription)


def stream(
    hub: Hub, kind: str, name: str | None, names: Callable[[], list[str]], look: Callable[[str], str | None]
) -> Response:
    """Follow one thing (`name`) or all that `names()` lists: first what is, then each change.

    `look(name)` gives the resource as JSON, or None when it is gone (or not among those wanted).
    """
    subscription = hub.subscribe(kind, name)
    try:
        first = {each: resource for each in names() if (resource := look(each)) is not None}
    except BaseException:
        hub.unsubscribe(subscription)
        raise
    events = _events(subscription, first, look, only=name)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(_Stream(hub, subscription, events), mimetype="text/event-stream", headers=headers)


def _events(
    subscription: Subscription, known: dict[str, str], look: Callable[[str], str | None], only: str | None
) -> Iterator[str]:
    for resource in known.values():
        yield f"data: {resource}\n\n"
    while not subscription.closed:
        changed = subscription.wait(HEARTBEAT_S)
        if not changed:
            yield ": still here\n\n"
        for name in changed:
            try:
                resource_now = look(name)
            except (Unavailable, StoreError, MalformedRecord):
                continue  # nothing is known now; the caches tell of it again when something is
            if resource_now is not None and resource_now != known.get(name):
                known[name] = resource_now
                yield f"data: {resource_now}\n\n"
            elif resource_now is None and known.pop(name, None) is not None:
                yield f'event: deleted\ndata: {{"uuid":"{name}"}}\n\n'
                if name == only:
                    return

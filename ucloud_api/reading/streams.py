"""Streams of server-sent events. Source: WHATWG HTML, section 9.2.

An event's id is an etcd revision up to which the client has then been told everything, so it goes on from there at
whichever worker. Of several events that belong together only the last has one: a client that was cut off in between
gets them again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from common.cache import Cache
from ucloud_api.access.permit import current_permit
from ucloud_api.worker.journal import Journal
from ucloud_api.worker.state import State
from ucloud_api.worker.things import Audience
from ucloud_api.worker.watch import Subscription, Topic

HEARTBEAT_S = 15.0
_CATCH_UP_S = 2.5
_MOST_DIGITS = 18
_GONE = -1
"""The hash of no resource, as Python has none that is -1: the client was told that it is gone."""
_MEDIA_TYPE = "text/event-stream"


@dataclass(frozen=True)
class Source:
    """What a stream follows: one thing of a kind (`name`), or all that `names()` lists.

    `look(name)` gives a resource as JSON, or None when it is gone, not for the caller, or not among those wanted.
    """

    kind: str
    name: str | None
    names: Callable[[], Iterable[str]]
    look: Callable[[str], bytes | None]
    may_see: Callable[[Audience], bool]
    caches: tuple[Cache[Any], ...]
    journal: Journal
    valid_from: int = 0
    """The revision since which the caller may see what it may see: who was told of an earlier one begins anew."""

    def position(self) -> int:
        """A revision up to which all is known here."""
        return min(cache.revision for cache in self.caches)

    def catch_up(self, revision: int) -> bool:
        """Wait until this worker knows what another one knew; False when that takes too long."""
        return all(cache.wait_revision(revision, _CATCH_UP_S) for cache in self.caches)


Follow = Callable[[Subscription, Callable[[], float], Callable[[], bool]], Iterator[bytes]]
"""The events for a subscription; how long to wait for news, in seconds; whether the client may still be told any."""


def stream(state: State, source: Source) -> Response:
    """Follow `source`: first what is, or what changed after Last-Event-ID, then each change."""
    last_event_id = request.headers.get("Last-Event-ID")
    return serve(
        state,
        (source.kind, source.name),
        lambda subscription, wait_s, is_allowed: Follower(source, subscription, wait_s, is_allowed).events(
            last_event_id
        ),
    )


def serve(state: State, topic: Topic, follow: Follow) -> Response:
    """A stream of what `follow` gives, which is woken by the news of a topic, for as long as its session allows it."""
    permit = current_permit()
    subscription = state.hub.subscribe(topic, *permit.topics)
    client = request.environ.get("gunicorn.socket")
    if client is not None:
        state.leavers.watch(client, subscription.close)

    def leave() -> None:
        subscription.close()
        state.hub.unsubscribe(subscription)
        if client is not None:
            state.leavers.forget(client)

    events = follow(subscription, lambda: min(HEARTBEAT_S, permit.left_s), lambda: permit.holds(state))
    body = _Body(events, leave)
    return Response(body, mimetype=_MEDIA_TYPE, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


class _Body:
    """The body of a stream; the server closes it when its client has left, even before the first event."""

    def __init__(self, events: Iterator[bytes], leave: Callable[[], None]) -> None:
        self._events = events
        self.close = leave

    def __iter__(self) -> Iterator[bytes]:
        return self._events


class Follower:
    """One client's view of a source: what it was told of each thing, as far as it is needed to tell it less."""

    def __init__(
        self,
        source: Source,
        subscription: Subscription,
        wait_s: Callable[[], float],
        is_allowed: Callable[[], bool],
    ) -> None:
        self._source = source
        self._subscription = subscription
        self._wait_s = wait_s
        self._is_allowed = is_allowed
        self._told: dict[str, int] = {}
        self._is_resumed = False
        self._is_over = False

    def events(self, last_event_id: str | None) -> Iterator[bytes]:
        """The events, until the client or its session is gone, or the only thing that is followed."""
        yield from self._first(last_event_id)
        while not self._is_over:
            happened = self._subscription.wait(self._wait_s())
            # Before it is looked at what the client may be told: it is told nothing by older rights up to there.
            position = self._source.position()
            if self._subscription.closed or not self._is_allowed():
                return
            names = self._subscription.take()
            if names:
                yield from numbered(self._news(names), position)
            elif not happened:
                yield f": still here\nid: {position}\n\n".encode()

    def _first(self, last_event_id: str | None) -> Iterator[bytes]:
        resumed_at = revision_of(last_event_id) if last_event_id else None
        is_near = resumed_at is not None and self._source.catch_up(resumed_at)
        # Read before what is told is looked at: all that happened until then is in it.
        position = self._source.position()
        if not self._is_allowed():
            self._is_over = True
            return
        is_valid = resumed_at is not None and is_near and resumed_at >= self._source.valid_from
        changed = self._source.journal.since(resumed_at) if resumed_at is not None and is_valid else None
        if changed is not None:
            self._is_resumed = True
            names = [name for name in changed if self._source.name in (None, name)]
            yield from numbered(self._news(names), position)
            yield f": all is told up to here\nid: {position}\n\n".encode()
            return
        if last_event_id:
            yield _event(b"{}", "reset")
        yield from numbered(self._news(self._source.names()), position)
        if not self._told:
            yield f": there is nothing yet\nid: {position}\n\n".encode()

    def _news(self, names: Iterable[str]) -> Iterator[tuple[bytes, str]]:
        """The data and the name of an event for each of `names` that is not as it was told."""
        for name in names:
            resource = self._source.look(name)
            if resource is not None:
                if hash(resource) != self._told.get(name):
                    self._told[name] = hash(resource)
                    yield resource, ""
            elif self._is_known(name):
                self._forget(name)
                yield f'{{"uuid":"{name}"}}'.encode(), "deleted"
                self._is_over = self._is_over or name == self._source.name

    def _is_known(self, name: str) -> bool:
        """Whether the client may know of what it is not to see (any more)."""
        told = self._told.get(name)
        if told is not None or not self._is_resumed:
            return told is not None and told != _GONE
        # An earlier stream may have told of it, if it was this client's to see.
        audience = self._source.journal.audience(name)
        self._is_over = self._is_over or audience is None  # not even that is remembered: it is to begin anew
        return audience is not None and self._source.may_see(audience)

    def _forget(self, name: str) -> None:
        if self._is_resumed:
            self._told[name] = _GONE
        else:
            del self._told[name]


def revision_of(last_event_id: str) -> int | None:
    """The revision that an id of ours is; None for anything else."""
    is_ours = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= _MOST_DIGITS
    return int(last_event_id) if is_ours else None


def numbered(news: Iterable[tuple[bytes, str]], position: int) -> Iterator[bytes]:
    """The events, of which the last one says up to where all has been told."""
    held: tuple[bytes, str] | None = None
    for each in news:
        if held:
            yield _event(*held)
        held = each
    if held:
        yield _event(*held, position)


def _event(data: bytes, name: str = "", position: int | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    number = f"id: {position}\n" if position is not None else ""
    return f"{number}{head}data: ".encode() + data + b"\n\n"

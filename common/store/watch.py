"""A watch that loses nothing: it outlives its member, its member's freeze, and says when it can't go on.

It resumes behind what it delivered: the last event, or an answer to a progress request (never at the header revision
of another answer, which says nothing of events under way). It asks for a sign of life when the stream is silent, and
looks at `canceled`, which etcd sets even on the answer that says `created`. Source: etcd's rpc.proto, messages
WatchRequest and WatchResponse.
"""

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from etcd3.etcdrpc import kv_pb2, rpc_pb2

from common.errors import Compacted, UcloudError
from common.store.connection import FIRST_DELAY_S, Connection, Stubs
from common.store.transaction import prefix_end

PROBE_INTERVAL_S = 1.0
PATIENT_PROBE_INTERVAL_S = 15.0
"""For watches that a process has hundreds of, beside one that is not patient: all are on one channel, and when that one
finds it silent, the streams of all end."""
SILENCE_S = 2.5
_UNANSWERED_PROBES = 2
"""So many must be without an answer as well: a process that had no time itself has not heard the answers yet."""
_MAX_DELAY_S = 2.0
_ALL_WATCHES = -1
"""The `watch_id` of an answer to a progress request: it speaks of all watches of the stream."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key that was written (`value`) or removed (None) at `revision`."""

    key: str
    value: bytes | None
    create_revision: int
    revision: int


@dataclass(frozen=True, slots=True)
class News:
    """What a watch tells at once. All changes up to `revision` have been told with it; `changes` may be empty."""

    changes: tuple[Change, ...]
    revision: int


class WatchForbidden(UcloudError):
    """etcd refuses this watch to this user."""


class _Stream:
    """One watch stream to one member, with the probe that notices when it has gone silent.

    gRPC pulls `requests()` from a thread of its own, which serves as the watchdog's thread.
    """

    def __init__(
        self, stubs: Stubs, request: Any, metadata: tuple[tuple[str, str], ...], probe_interval_s: float
    ) -> None:
        self._request = request
        self._probe_interval_s = probe_interval_s
        self._is_closed = False
        self._wanted = threading.Event()
        self._heard_at = time.monotonic()
        self._probed_at = self._heard_at
        self._unanswered = 0
        self._busy = False
        self._started = threading.Event()
        # hasleader: a member that has lost its leader ends the stream instead of staying silent.
        self._call: Any = stubs.watch.Watch(self._requests(), metadata=(*metadata, ("hasleader", "true")))
        self._started.set()

    def _requests(self) -> Iterator[Any]:
        yield rpc_pb2.WatchRequest(create_request=self._request)
        self._started.wait()
        while True:
            self._wanted.wait(self._probe_interval_s)
            self._wanted.clear()
            if self._is_closed:
                return
            if not self._busy and self._is_silent():
                self._call.cancel()
                return
            self._count_probe()
            yield rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())

    def _count_probe(self) -> None:
        """Of many that were wanted within an interval, one counts."""
        now = time.monotonic()
        if now - self._probed_at >= PROBE_INTERVAL_S:
            self._probed_at = now
            self._unanswered += 1

    def _is_silent(self) -> bool:
        return self._unanswered >= _UNANSWERED_PROBES and time.monotonic() - self._heard_at > SILENCE_S

    def responses(self) -> Iterator[Any]:
        """The member's answers. While the caller works on one, the stream does not count as silent."""
        for response in self._call:
            self._busy = True
            yield response
            self._heard_at = time.monotonic()
            self._unanswered = 0
            self._busy = False

    def probe(self) -> None:
        """Ask for a sign of life now."""
        self._wanted.set()

    def close(self) -> None:
        self._is_closed = True
        self._wanted.set()
        self._call.cancel()


class Watch(Iterator[News]):
    """All changes below a prefix from a revision on, over as many streams as it takes; see Store.watch."""

    def __init__(
        self, connection: Connection, prefix: str, start_revision: int, stop: threading.Event, probe_interval_s: float
    ) -> None:
        self._connection = connection
        self._probe_interval_s = probe_interval_s
        self._prefix = prefix
        self._told = start_revision - 1
        self._stop = stop
        self._was_denied = False
        self._stream: _Stream | None = None
        self._news = self._all_streams()

    def __next__(self) -> News:
        """What happened next."""
        return next(self._news)

    def ask(self) -> None:
        """Have etcd tell how far it is, which is news, at once. For any thread."""
        if stream := self._stream:
            stream.probe()

    def _all_streams(self) -> Iterator[News]:
        delay_s = FIRST_DELAY_S
        reconnects = self._connection.metrics.watch_reconnects.labels(self._prefix)
        while not self._stop.is_set() and not self._connection.closed.is_set():
            stubs = self._connection.stubs
            try:
                for news in self._one_stream(stubs):
                    delay_s = FIRST_DELAY_S
                    yield news
            except grpc.RpcError:
                self._connection.forget_token()
                self._connection.rotate(stubs)
            except ValueError:
                # gRPC's error for a call on a channel that was closed just now.
                if not self._connection.closed.is_set():
                    raise
            self._stop.wait(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            delay_s = min(delay_s * 2, _MAX_DELAY_S)
            reconnects.inc()

    def _one_stream(self, stubs: Stubs) -> Iterator[News]:
        request = rpc_pb2.WatchCreateRequest(
            key=self._prefix.encode(), range_end=prefix_end(self._prefix), start_revision=self._told + 1
        )
        progress_is_in_order = self._connection.is_progress_in_order(stubs)
        self._stream = stream = _Stream(stubs, request, self._connection.metadata(stubs), self._probe_interval_s)
        try:
            for response in stream.responses():
                if self._stop.is_set():
                    return
                self._check(response)
                if response.canceled:
                    return
                self._was_denied = False
                told = self._told
                if response.events:
                    told = response.events[-1].kv.mod_revision
                elif progress_is_in_order and response.watch_id == _ALL_WATCHES and not response.created:
                    told = max(told, response.header.revision)
                yield News(tuple(_change(event) for event in response.events), told)
                self._told = told
        finally:
            stream.close()

    def _check(self, response: Any) -> None:
        if response.canceled and "permission denied" in response.cancel_reason:
            # Also what etcd says of a token that it knows no more, as after a restart.
            if self._was_denied or not self._connection.forget_token():
                raise WatchForbidden(f"{self._prefix}: {response.cancel_reason}")
            self._was_denied = True
            return
        if response.compact_revision or "compacted" in response.cancel_reason:
            raise Compacted(f"{self._prefix} at revision {self._told + 1}")
        # A store that was restored, or another one: a revision of the future would wait in silence.
        if response.created and response.header.revision < self._told:
            raise Compacted(f"{self._prefix}: revision {self._told + 1} is ahead of the store")


def _change(event: Any) -> Change:
    value = None if event.type == kv_pb2.Event.DELETE else event.kv.value
    return Change(event.kv.key.decode(), value, event.kv.create_revision, event.kv.mod_revision)

"""A watch that loses nothing: it outlives its member, its member's freeze, and says when it can't go on.

It resumes behind the last event that it delivered (never at a response's header revision, which other events may
share), asks for a sign of life when the stream is silent, and looks at `canceled`, which etcd sets even on the answer
that says `created`. Source: etcd's rpc.proto, messages WatchRequest and WatchResponse.
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
SILENCE_S = 2.5
_MAX_DELAY_S = 2.0


@dataclass(frozen=True)
class Change:
    """A key that was written (`value`) or removed (None) at `revision`."""

    key: str
    value: bytes | None
    create_revision: int
    revision: int


class WatchForbidden(UcloudError):
    """etcd refuses this watch to this user."""


class _Stream:
    """One watch stream to one member, with the probe that notices when it has gone silent.

    gRPC pulls `requests()` from a thread of its own, which serves as the watchdog's thread.
    """

    def __init__(self, stubs: Stubs, request: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._request = request
        self._done = threading.Event()
        self._heard_at = time.monotonic()
        self._busy = False
        self._started = threading.Event()
        # hasleader: a member that has lost its leader ends the stream instead of staying silent.
        self._call: Any = stubs.watch.Watch(self._requests(), metadata=(*metadata, ("hasleader", "true")))
        self._started.set()

    def _requests(self) -> Iterator[Any]:
        yield rpc_pb2.WatchRequest(create_request=self._request)
        self._started.wait()
        while not self._done.wait(PROBE_INTERVAL_S):
            if not self._busy and time.monotonic() - self._heard_at > SILENCE_S:
                self._call.cancel()
                return
            yield rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())

    def responses(self) -> Iterator[Any]:
        """The member's answers. While the caller works on one, the stream does not count as silent."""
        for response in self._call:
            self._busy = True
            yield response
            self._heard_at = time.monotonic()
            self._busy = False

    def close(self) -> None:
        self._done.set()
        self._call.cancel()


class Watch:
    """All changes below a prefix from a revision on; see Store.watch."""

    def __init__(self, connection: Connection, prefix: str, start_revision: int, stop: threading.Event) -> None:
        self._connection = connection
        self._prefix = prefix
        self._next = start_revision
        self._stop = stop
        self._was_denied = False

    def changes(self) -> Iterator[tuple[Change, ...]]:
        """Batches of changes, over as many streams as it takes."""
        delay_s = FIRST_DELAY_S
        while not self._stop.is_set() and not self._connection.closed.is_set():
            stubs = self._connection.stubs
            try:
                for batch in self._one_stream(stubs):
                    delay_s = FIRST_DELAY_S
                    yield batch
            except grpc.RpcError:
                self._connection.forget_token()
                self._connection.rotate(stubs)
            except ValueError:
                # gRPC's error for a call on a channel that was closed just now.
                if not self._connection.closed.is_set():
                    raise
            self._stop.wait(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            delay_s = min(delay_s * 2, _MAX_DELAY_S)

    def _one_stream(self, stubs: Stubs) -> Iterator[tuple[Change, ...]]:
        request = rpc_pb2.WatchCreateRequest(
            key=self._prefix.encode(), range_end=prefix_end(self._prefix), start_revision=self._next
        )
        stream = _Stream(stubs, request, self._connection.metadata(stubs))
        try:
            for response in stream.responses():
                if self._stop.is_set():
                    return
                self._check(response)
                if response.canceled:
                    return
                self._was_denied = False
                yield tuple(_change(event) for event in response.events)
                if response.events:
                    self._next = response.events[-1].kv.mod_revision + 1
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
            raise Compacted(f"{self._prefix} at revision {self._next}")
        # A store that was restored, or another one: a revision of the future would wait in silence.
        if response.created and response.header.revision < self._next - 1:
            raise Compacted(f"{self._prefix}: revision {self._next} is ahead of the store")


def _change(event: Any) -> Change:
    value = None if event.type == kv_pb2.Event.DELETE else event.kv.value
    return Change(event.kv.key.decode(), value, event.kv.create_revision, event.kv.mod_revision)

"""The wire to etcd: one gRPC channel at a time, to the endpoint that answers.

gRPC's own load balancing stays with a frozen member, so the rotation is done here. Channels must be made after a fork.
Source: etcd's api/etcdserverpb/rpc.proto; gRPC core's channel arguments.
"""

import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

from common.errors import ConfigurationError, Refused, Unavailable
from common.metrics import Metrics
from common.settings import EtcdSettings, read_secret

_log = logging.getLogger(__name__)

# etcd answers keepalive pings more frequent than every 5 s, or without a call under way, with GOAWAY too_many_pings.
# And keepalive_timeout alone does not notice a frozen peer, ping_timeout does.
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
]
_TRY_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_TRY_AGAIN_TEXTS = (
    *("no leader", "leader changed", "not a primary lessor", "too many requests", "request timed out"),
    # gRPC's words for a stream that its peer, or something on the way, cut in the middle.
    *("RST_STREAM", "Stream removed"),
)
_SAME_MEMBER_TEXTS = ("leader changed", "too many requests")
_STALE_TOKEN = "invalid auth token"  # noqa: S105 - etcd's words
ATTEMPT_TIMEOUT_S = 1.5
FIRST_DELAY_S = 0.02
MAX_DELAY_S = 1.0


@dataclass(frozen=True)
class EtcdOptions:
    """Where etcd is and who asks. `endpoints` are `host:port`; `timeout_s` bounds a call with all its repetitions."""

    endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    timeout_s: float = 10.0

    @classmethod
    def from_settings(cls, etcd: EtcdSettings, timeout_s: float = 10.0) -> "EtcdOptions":
        """The options that the settings say; the password is read from its file."""
        return cls(
            endpoints=etcd.endpoints,
            ca_file=etcd.ca_file,
            cert_file=etcd.cert_file,
            key_file=etcd.key_file,
            user=etcd.user,
            password=read_secret("etcd.password_file", etcd.password_file),
            timeout_s=timeout_s,
        )


@dataclass
class Stubs:
    """The services of one endpoint. `number` tells a caller's channel from one that was rotated in meanwhile."""

    number: int
    endpoint: str
    channel: grpc.Channel
    kv: Any
    lease: Any
    watch: Any
    auth: Any
    maintenance: Any


def should_try_again(error: grpc.RpcError) -> bool:
    """Whether etcd or the way to it failed in a manner that may pass."""
    details = error.details() or ""
    return error.code() in _TRY_AGAIN or any(text in details for text in _TRY_AGAIN_TEXTS)


class Connection:
    """Calls to whichever endpoint answers. Safe to use from many threads."""

    def __init__(self, options: EtcdOptions, metrics: Metrics) -> None:
        if not options.endpoints:
            raise ConfigurationError("etcd.endpoints: at least one host:port is required")
        self.options = options
        self.metrics = metrics
        self._credentials = _credentials(options)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._token = ""
        self._stubs = self._connect(random.randrange(len(options.endpoints)), 0)  # noqa: S311 - spreads the load

    def _connect(self, position: int, number: int) -> Stubs:
        self._position = position % len(self.options.endpoints)
        return self._open(self.options.endpoints[self._position], number)

    def _open(self, endpoint: str, number: int) -> Stubs:
        if self._credentials:
            channel = grpc.secure_channel(endpoint, self._credentials, options=_CHANNEL_OPTIONS)
        else:
            channel = grpc.insecure_channel(endpoint, options=_CHANNEL_OPTIONS)
        return Stubs(
            number,
            endpoint,
            channel,
            rpc_pb2_grpc.KVStub(channel),
            rpc_pb2_grpc.LeaseStub(channel),
            rpc_pb2_grpc.WatchStub(channel),
            rpc_pb2_grpc.AuthStub(channel),
            rpc_pb2_grpc.MaintenanceStub(channel),
        )

    def one_by_one(self) -> Iterator[Stubs]:
        """The services of each endpoint in turn, over a channel of its own that ends with its turn."""
        for endpoint in self.options.endpoints:
            stubs = self._open(endpoint, 0)
            try:
                yield stubs
            finally:
                stubs.channel.close()

    @property
    def stubs(self) -> Stubs:
        """The services of the endpoint that is in use now."""
        with self._lock:
            return self._stubs

    def rotate(self, failed: Stubs) -> None:
        """Move on to the next endpoint, unless somebody did so since `failed` was taken."""
        with self._lock:
            if failed.number != self._stubs.number or self._closed.is_set():
                return
            self._stubs = self._connect(self._position + 1, failed.number + 1)
            endpoint = self._stubs.endpoint
        _log.debug("etcd endpoint %s failed, moving on to %s", failed.endpoint, endpoint)
        # Calls of other threads on the old channel may still be answered; none may outlast its own deadline.
        closer = threading.Timer(2 * ATTEMPT_TIMEOUT_S, failed.channel.close)
        closer.daemon = True
        closer.start()

    def call(
        self,
        method: Callable[[Stubs], Callable[..., Any]],
        request: Any,
        attempt_timeout_s: float = ATTEMPT_TIMEOUT_S,
        timeout_s: float | None = None,
        on_retry: Callable[[], None] | None = None,
    ) -> Any:
        """The answer to `request`, repeated over the endpoints for `timeout_s` (None: as the options say).

        Only for requests that may run twice. `on_retry` is told when an attempt may have been carried out unanswered.
        Unavailable when no endpoint answered in time, Refused when etcd says no.
        """
        began, outcome = time.monotonic(), "unavailable"
        deadline = began + (self.options.timeout_s if timeout_s is None else timeout_s)
        try:
            answer = self._call(method, request, attempt_timeout_s, deadline, on_retry)
            outcome = "ok"
            return answer
        except Refused:
            outcome = "refused"
            raise
        finally:
            call = type(request).__name__.removesuffix("Request")
            self.metrics.store_seconds.labels(call, outcome).observe(time.monotonic() - began)

    def _call(
        self,
        method: Callable[[Stubs], Callable[..., Any]],
        request: Any,
        attempt_timeout_s: float,
        deadline: float,
        on_retry: Callable[[], None] | None,
    ) -> Any:
        delay_s = FIRST_DELAY_S
        while True:
            stubs = self.stubs
            try:
                return method(stubs)(request, timeout=attempt_timeout_s, metadata=self.metadata(stubs))
            except grpc.RpcError as error:
                if not should_try_again(error) and not (
                    _STALE_TOKEN in (error.details() or "") and self.forget_token()
                ):
                    raise Refused(error.code().name, error.details() or "no details") from error
                if on_retry:
                    on_retry()
                details = error.details() or error.code().name
                if not any(text in details for text in _SAME_MEMBER_TEXTS):
                    self.rotate(stubs)
                if time.monotonic() + delay_s > deadline or self._closed.is_set():
                    raise Unavailable("etcd", f"{', '.join(self.options.endpoints)}: {details}") from error
            except ValueError as error:
                # gRPC's error for a channel that was closed since `stubs` was taken.
                if self._closed.is_set():
                    raise Unavailable("etcd", "the connection was closed") from error
                if stubs.number == self.stubs.number:
                    raise
            self._closed.wait(delay_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            delay_s = min(delay_s * 2, MAX_DELAY_S)

    def metadata(self, stubs: Stubs) -> tuple[tuple[str, str], ...]:
        """The headers of a call: the token that the user's password was traded for, if there is a user."""
        if not self.options.user:
            return ()
        if not self._token:
            request = rpc_pb2.AuthenticateRequest(name=self.options.user, password=self.options.password)
            self._token = stubs.auth.Authenticate(request, timeout=ATTEMPT_TIMEOUT_S).token
        return (("token", self._token),)

    def is_progress_in_order(self, stubs: Stubs) -> bool:
        """Whether this member's answers to progress requests can't overtake the events of the same stream.

        They could before etcd 3.4.25 and 3.5.8 (its changelogs). A member that won't say its version is not
        believed. grpc.RpcError when it does not answer.
        """
        try:
            request = rpc_pb2.StatusRequest()
            answer = stubs.maintenance.Status(request, timeout=ATTEMPT_TIMEOUT_S, metadata=self.metadata(stubs))
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED):
                return False
            raise
        numbers = tuple(int(number) for number in re.findall(r"\d+", answer.version)[:3])
        return numbers >= ((3, 4, 25) if numbers[:2] == (3, 4) else (3, 5, 8))

    def forget_token(self) -> bool:
        """Have the next call ask for a new token; False when there was none."""
        had_one = bool(self._token)
        self._token = ""
        return had_one

    def close(self) -> None:
        """End all calls; what waits for a repetition gives up."""
        self._closed.set()
        with self._lock:
            self._stubs.channel.close()

    @property
    def closed(self) -> threading.Event:
        """Set once the connection is closed."""
        return self._closed


def _credentials(options: EtcdOptions) -> grpc.ChannelCredentials | None:
    if not options.ca_file:
        if options.cert_file:
            raise ConfigurationError("etcd.ca_file: required beside etcd.cert_file")
        return None
    return grpc.ssl_channel_credentials(
        _read_pem("etcd.ca_file", options.ca_file),
        _read_pem("etcd.key_file", options.key_file) if options.key_file else None,
        _read_pem("etcd.cert_file", options.cert_file) if options.cert_file else None,
    )


def _read_pem(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path}: {error.strerror}") from error

"""HTTP to the API: requests that are tried again while that can help, and answers. It must never print a token."""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from uuid import uuid4

import requests

from ucloud_cli.errors import ApiAway, CliError, Misused, Outdated, Refused
from ucloud_cli.problems import Resource, error_of

# The API sends a sign of life each 15 s; a stream that is silent for longer is dead.
_STREAM_TIMEOUT_S = 40.0
_BROKEN_PATIENCE_S = 25.0
# An API that starts anew is back by then; longer is a wrong URL.
_UNREACHED_PATIENCE_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.3, 5.0
_QUIET_PAUSE_S = 1.5
_UPDATES = 8
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Access:
    """Where the API is, and by what right it is asked.

    `unknown_caller` says what to type when the API does not take the token.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    unknown_caller: str = "you are not logged in, type: ucloud login --name NAME"
    ca_file: str = ""

    def headers(self) -> dict[str, str]:
        """What proves the right."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Content(Protocol):
    """Bytes that are read as they are sent."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, size_bytes: int = -1) -> bytes:
        """What comes next."""
        ...


@dataclass(frozen=True)
class Call:
    """One request; `headers` are its own, beside those of all. It has a `body` of JSON, or `content`, or neither."""

    method: str
    path: str
    parameters: dict[str, str] = field(default_factory=dict)
    body: Resource | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict)
    content: Content | None = field(default=None, repr=False)
    timeout_s: float | None = None


class Client:
    """The API at one URL. Every failure is a CliError whose text is fit for the user.

    Whatever breaks on the way is tried again for a bounded time: reading and deleting twice is harmless, a change says
    what is wanted and not by how much, and each POST carries a key by which the API knows it again.
    Answers show what anybody wrote before, also through another machine; a hasty client's (not `patient`) may be older.
    """

    def __init__(
        self,
        access: Access,
        say: Callable[[str], None] = lambda _text: None,
        timeout_s: float = 30.0,
        patient: bool = True,
        owner: str = "",
    ) -> None:
        """`owner` is whose things are meant where no owner is said; empty: all that the caller may see."""
        self.access = access
        self.owner = owner
        self.url = access.url.rstrip("/")
        if not re.match(r"https?://[^/]", self.url):
            raise Misused(f'"{self.url}" is no URL of an API; --url or UCLOUD_URL takes one like http://[::1]:8080')
        if access.token and not _TOKEN.fullmatch(access.token):
            raise Misused("the session's token has characters that no token has; log in again: ucloud login")
        self._say = say
        self._timeout_s = timeout_s
        self._patient = patient
        self._closed = threading.Event()
        self._session = requests.Session()
        # The URL says who is spoken to: no proxy and no .netrc steps in between.
        self._session.trust_env = False
        self._session.verify = access.ca_file or True
        self._session.headers.update(access.headers())
        if patient:
            self._session.headers["Cache-Control"] = "no-cache"

    def get(self, path: str, **parameters: object) -> Resource:
        """The resource at `path`."""
        return self._json(self._send(_call("GET", path, parameters)))

    def content(self, path: str, **parameters: object) -> bytes:
        """What is at `path`, as it is."""
        return self._send(_call("GET", path, parameters)).content

    def post(self, path: str, body: Resource | None = None) -> Resource:
        """Ask for something; however often it has to be sent, it is done once."""
        return self._json(self._send(Call("POST", path, body=body, headers={"Idempotency-Key": str(uuid4())})))

    def post_once(self, path: str, body: Resource) -> Resource:
        """Ask for what can't be asked for twice."""
        return self._json(self._once(Call("POST", path, body=body)))

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        content: Content | None = None,
        timeout_s: float | None = None,
    ) -> requests.Response:
        """Send bytes, once: who sends them knows how to go on. `timeout_s` is for the answer."""
        return self._once(Call(method, path, headers=headers, content=content, timeout_s=timeout_s))

    def pause(self, seconds: float) -> None:
        """Wait before something is tried again."""
        self._closed.wait(seconds)

    def patch(self, path: str, body: Resource) -> Resource:
        """Change what is at `path`; what is left out of `body` stays."""
        return self._json(self._send(Call("PATCH", path, body=body)))

    def update(self, path: str, change: Callable[[Resource], Resource]) -> Resource:
        """Change what is at `path` to what `change` makes of it; anew where somebody else was faster."""
        for _ in range(_UPDATES):
            reply = self._send(Call("GET", path))
            headers = {"If-Match": reply.headers.get("ETag", "*")}
            with suppress(Outdated):
                return self._json(self._send(Call("PATCH", path, body=change(self._json(reply)), headers=headers)))
        raise Refused("somebody else changes it all the time; try again")

    def delete(self, path: str) -> Resource | None:
        """Delete what is at `path`; returns the resource, None when nothing is left of it."""
        reply = self._send(Call("DELETE", path))
        return self._json(reply) if reply.content and reply.ok else None

    def all(self, path: str, **parameters: object) -> list[Resource]:
        """All items of a list, page by page."""
        items: list[Resource] = []
        while True:
            page = self.get(path, **parameters)
            items.extend(page["items"])
            if not page.get("next_cursor"):
                return items
            parameters["cursor"] = page["next_cursor"]

    def lines(self, path: str, last_event_id: str = "", **parameters: object) -> Iterator[str]:
        """The lines of a stream of server-sent events; ApiAway when it breaks."""
        call = _call("GET", path, {**parameters, "watch": 1})
        if last_event_id:
            call.headers["Last-Event-ID"] = last_event_id
        with self._once(call, stream=True) as reply:
            try:
                yield from _text(reply.iter_lines(chunk_size=None))
            except requests.RequestException as error:
                raise ApiAway(f"the API at {self.url} ended the stream", _BROKEN_PATIENCE_S) from error

    def _send(self, call: Call) -> requests.Response:
        """The answer, after as many tries as make sense."""
        began_s = time.monotonic()
        pause_s = _FIRST_PAUSE_S
        tried = False
        while True:
            try:
                return self._once(call, gone_is_fine=tried and call.method == "DELETE")
            except ApiAway as error:
                tried = True
                wait_s = max(pause_s, error.retry_after_s or 0.0)
                if not self._patient or time.monotonic() - began_s + wait_s > error.patience_s:
                    raise
                if wait_s >= _QUIET_PAUSE_S:
                    self._say(f"{error.message}; trying again in {wait_s:.0f} s")
                self._closed.wait(wait_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _once(self, call: Call, stream: bool = False, gone_is_fine: bool = False) -> requests.Response:
        patience_s = call.timeout_s or self._timeout_s
        timeout_s = (min(5.0, self._timeout_s), _STREAM_TIMEOUT_S if stream else patience_s)
        try:
            reply = self._session.request(
                call.method,
                self.url + call.path,
                params=call.parameters,
                json=call.body,
                data=call.content,
                headers=call.headers,
                timeout=timeout_s,
                stream=stream,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError) as error:
            raise self._broken(error, timeout_s[1]) from error
        if reply.ok and not reply.is_redirect:
            return reply
        if gone_is_fine and reply.status_code == requests.codes.not_found:
            return reply  # the try before, whose answer was lost, has done it
        try:
            body = reply.content
        except requests.RequestException as error:
            raise self._broken(error, timeout_s[1]) from error
        raise error_of(reply.status_code, reply.headers, body, self.url, self.access.unknown_caller)

    def _broken(self, error: Exception, timeout_s: float) -> CliError:
        """What a failure below HTTP means. The error's own text may hold the URL only, never the headers."""
        match error:
            case requests.exceptions.InvalidURL():
                return Misused(f'"{self.url}" is no URL of an API; --url or UCLOUD_URL names one')
            case requests.exceptions.SSLError():
                return CliError(f"the certificate of {self.url} can't be verified; ucloud login --ca-file names its CA")
            case requests.exceptions.ReadTimeout():
                return ApiAway(f"the API at {self.url} did not answer within {timeout_s:.0f} s", _BROKEN_PATIENCE_S)
            case requests.exceptions.ConnectionError() if "NewConnectionError" in repr(error):
                return ApiAway(self._unreached(), _UNREACHED_PATIENCE_S)
            case requests.exceptions.ConnectTimeout():
                return ApiAway(self._unreached())
            case requests.RequestException():
                return ApiAway(f"the connection to the API at {self.url} broke", _BROKEN_PATIENCE_S)
            case _:
                return CliError(f"the CA's file {self.access.ca_file} can't be read; ucloud login --ca-file names it")

    def _unreached(self) -> str:
        return f"the API at {self.url} can't be reached; is ucloud-api running? (--url or UCLOUD_URL names another)"

    def _json(self, reply: requests.Response) -> Resource:
        strange = f"what answers at {self.url} ({reply.status_code}) is not the API of ucloud"
        try:
            resource = reply.json()
        except ValueError as error:
            raise CliError(strange) from error
        if not isinstance(resource, dict):
            raise CliError(strange)
        return resource


def _call(method: str, path: str, parameters: dict[str, object]) -> Call:
    return Call(method, path, {key: str(value) for key, value in parameters.items() if value is not None})


def _text(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        yield line.decode(errors="replace")

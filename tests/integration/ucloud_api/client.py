"""A client of the program ucloud-api: logged in, each request over a connection of its own, streams followed."""

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests

from common.schemas.vm import Actual
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World, bearer

DEADLINE_S = 15.0
_TIMEOUT_S = 15


@dataclass(frozen=True)
class Event:
    """A server-sent event; `id` is that of the last event that had one."""

    name: str
    data: dict[str, Any]
    id: str = ""


class Client:
    """Asks as somebody. Connections are not kept, so that any worker may answer."""

    def __init__(self, url: str, token: str, headers: dict[str, str] | None = None) -> None:
        self.url = url
        self.token = token
        self._headers = {**bearer(token), **(headers or {})}

    @classmethod
    def logged_in(cls, served: DaemonProcess, world: World, name: str, is_admin: bool = False) -> "Client":
        """A user with an account and a session."""
        world.add_account(name, is_admin=is_admin)
        return cls(f"http://[::1]:{served.port}/v1", world.log_in(name))

    def fresh(self) -> "Client":
        """The same user, who is answered by any worker with what a test wrote as another machine would."""
        return Client(self.url, self.token, {"Cache-Control": "no-cache"})

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> Any:
        """The answer to a request below /v1."""
        options = {"timeout": _TIMEOUT_S, **options, "headers": {**self._headers, **(headers or {})}}
        return requests.request(method, self.url + path, **options)  # noqa: S113 - it is among the options

    def get(self, path: str, **options: Any) -> Any:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Any:
        """POST."""
        return self.request("POST", path, **options)

    def patch(self, path: str, **options: Any) -> Any:
        """PATCH."""
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Any:
        """DELETE."""
        return self.request("DELETE", path, **options)

    def follow(self, path: str, last_event_id: str = "") -> "Follower":
        """The stream at a path."""
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        return Follower(self.get(path, headers=headers, stream=True, timeout=(5, 60)))


def events_of(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream; one without data tells its id alone."""
    name, last_id = "", ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "id":
            last_id = value
        elif field == "data":
            yield Event(name, json.loads(value), last_id)
            name = ""


class Follower:
    """A client that watches; its events are in `events`, (None) when the stream has ended."""

    def __init__(self, reply: Any) -> None:
        self.events: queue.Queue[Event | None] = queue.Queue()
        self._reply = reply
        assert reply.status_code == 200, reply.text
        assert reply.headers["Content-Type"].startswith("text/event-stream")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for event in events_of(self._reply.iter_lines(chunk_size=None, decode_unicode=True)):
                self.events.put(event)
        except (requests.RequestException, AttributeError):
            pass  # cut off, or closed here while it was read
        self.events.put(None)

    def next(self) -> Event:
        """The next event."""
        event = self.events.get(timeout=DEADLINE_S)
        assert event, "the stream has ended"
        return event

    def news(self) -> Event:
        """The next event that tells of something; a worker that is far behind has its client begin anew first."""
        event = self.next()
        return self.next() if event.name == "reset" else event

    def until(self, status: Actual) -> dict[str, Any]:
        """The first resource with a status."""
        while True:
            event = self.next()
            assert event.name == ""
            if event.data["status"] == status:
                return event.data

    def ended(self) -> bool:
        """Whether the stream ended, after nothing but what was read."""
        return self.events.get(timeout=DEADLINE_S) is None

    def leave(self) -> None:
        """Close the connection."""
        self._reply.raw._fp.fp.raw._sock.shutdown(2)
        self._reply.close()

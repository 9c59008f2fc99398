"""Following a resource or a list by server-sent events, over as many streams as it takes. Nothing polls.

Source: WHATWG HTML, section 9.2. A stream that breaks is resumed behind the last event that was seen.
"""

import json
import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ucloud_cli.client import Client
from ucloud_cli.errors import ApiAway, CliError, NotFound
from ucloud_cli.problems import Resource

_RECONNECT_S = 1.0


@dataclass(frozen=True)
class Event:
    """One server-sent event; `kind` is "message" where the API names none."""

    kind: str
    data: str
    id: str


@dataclass(frozen=True)
class Told:
    """A resource as it is now."""

    resource: Resource


@dataclass(frozen=True)
class Gone:
    """A resource exists no more; `uuid` is empty when the one that is followed is meant."""

    uuid: str = ""


@dataclass(frozen=True)
class Reset:
    """What was told before holds no more; all of it is told anew."""


@dataclass(frozen=True)
class Trouble:
    """Nothing can be heard now, for a reason that may pass (ApiAway) or not."""

    error: CliError


News = Told | Gone | Reset | Trouble


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """The events of a stream, line by line; one that is cut off is none."""
    kind, data, last_id = "message", list[str](), ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(kind, "\n".join(data), last_id)
            kind, data = "message", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value


class Follower:
    """A thread that hears of what is at `path`, from now until it is closed."""

    def __init__(self, client: Client, path: str, **parameters: object) -> None:
        self.news: queue.Queue[News] = queue.Queue()
        self._client = client
        self._path = path
        self._parameters = parameters
        self._stop = threading.Event()
        self._last_event_id = ""
        threading.Thread(target=self._follow, name="follower", daemon=True).start()

    def close(self) -> None:
        """Hear no more."""
        self._stop.set()

    def _follow(self) -> None:
        pause_s = _RECONNECT_S
        while not self._stop.is_set():
            try:
                for event in parse(self._client.lines(self._path, self._last_event_id, **self._parameters)):
                    pause_s = _RECONNECT_S
                    self._hear(event)
                    if self._stop.is_set():
                        return
            except ApiAway as error:
                pause_s = error.retry_after_s or _RECONNECT_S
                self.news.put(Trouble(error))
            except NotFound:
                self.news.put(Gone())
                return
            except CliError as error:
                self.news.put(Trouble(error))
                return
            except ValueError:
                self.news.put(Trouble(CliError(f"what answers at {self._client.url} is not the API of ucloud")))
                return
            self._stop.wait(pause_s)

    def _hear(self, event: Event) -> None:
        self._last_event_id = event.id or self._last_event_id
        if event.kind == "message":
            self.news.put(Told(json.loads(event.data)))
        elif event.kind == "deleted":
            self.news.put(Gone(str(json.loads(event.data)["uuid"])))
        elif event.kind == "reset":
            self.news.put(Reset())

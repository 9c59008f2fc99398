"""Waiting until the API says that something is done, with a line of progress on stderr. Nothing polls."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from ucloud_cli.client import Client, Resource
from ucloud_cli.errors import ApiAway, CliError, NotFound
from ucloud_cli.goals import Goal, describe
from ucloud_cli.options import Session
from ucloud_cli.output import Columns, print_list, print_one

_RECONNECT_S = 1.0


def wait_until(client: Client, path: str, accepted: Resource, goal: Goal, timeout_s: float) -> Resource | None:
    """Follow what is at `path` until `goal` is reached; returns it as it is then, None when it is gone.

    `accepted` is it as it was when the wish was accepted.

    CliError when the goal can't be reached any more, or is not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    news: queue.Queue[Resource | CliError | None] = queue.Queue()
    stop = threading.Event()
    threading.Thread(target=_follow, args=(client, path, news, stop), daemon=True).start()
    name, said = accepted["name"], describe(accepted)
    with _progress(name) as show:
        show(said)
        try:
            while (left_s := deadline - time.monotonic()) > 0:
                try:
                    item = news.get(timeout=min(1.0, left_s))
                except queue.Empty:
                    show(said)  # the seconds go on
                    continue
                if isinstance(item, ApiAway):
                    said = item.message
                elif isinstance(item, CliError):
                    raise item
                elif goal(item):
                    return item
                elif item is not None:
                    said = describe(item)
                show(said)
        finally:
            stop.set()
    raise CliError(f"{name}: not done after {timeout_s:.0f} s, it is {said}")


def finish(session: Session, path: str, accepted: Resource, goal: Goal, columns: Columns, wait_s: float | None) -> None:
    """Print what the API accepted for `path`; with `wait_s`, wait until it is done and print what became of it."""
    result: Resource | None = accepted
    if wait_s is not None:
        result = wait_until(session.client, path, accepted, goal, wait_s)
    if session.output != "table":
        print_one(result or accepted, {}, session.output)
    elif result is not None:
        print_list([result], columns, session.output)
    else:
        click.echo(f"{accepted['name']} is deleted")


def _follow(client: Client, path: str, news: "queue.Queue[Resource | CliError | None]", stop: threading.Event) -> None:
    """Put what the API tells into `news`, over as many streams as it takes; the body of a thread."""
    while not stop.is_set():
        try:
            for resource in client.events(path):
                news.put(resource)
                if resource is None or stop.is_set():
                    return
        except ApiAway as error:
            news.put(error)
        except NotFound:
            news.put(None)
            return
        except CliError as error:
            news.put(error)
            return
        stop.wait(_RECONNECT_S)


class _Lines:
    """Progress without a terminal: a line for each state that differs from the last one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last = ""

    def __call__(self, text: str) -> None:
        if text != self._last:
            click.echo(f"{self._name}: {text}", err=True)
            self._last = text


class _Live:
    """Progress on a terminal: one line that is written anew, with the seconds so far."""

    def __init__(self, name: str, status: Status) -> None:
        self._name = name
        self._status = status
        self._began_s = time.monotonic()

    def __call__(self, text: str) -> None:
        seconds = time.monotonic() - self._began_s
        self._status.update(escape(f"{self._name}: {text} ({seconds:.0f} s)"))


@contextmanager
def _progress(name: str) -> Iterator[Callable[[str], None]]:
    """A function that shows progress."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(name)
        return
    with console.status(escape(name)) as status:
        yield _Live(name, status)

"""Waiting until the API says that something is done, with a line of progress on stderr. Nothing polls."""

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.markup import escape
from rich.status import Status

from ucloud_cli.client import Client
from ucloud_cli.errors import ApiAway, CliError, Interrupted
from ucloud_cli.goals import Goal, describe
from ucloud_cli.problems import Resource
from ucloud_cli.stream import Follower, Gone, Told, Trouble


def wait_until(client: Client, path: str, accepted: Resource, goal: Goal, timeout_s: float) -> Resource | None:
    """Follow what is at `path` until `goal` is reached; returns it as it is then, None when it is gone.

    `accepted` is it as it was when the wish was accepted.

    CliError when the goal can't be reached any more, or is not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    name, said = accepted["name"], describe(accepted)
    follower = Follower(client, path)
    try:
        with progress(name) as show:
            show(said)
            while (left_s := deadline - time.monotonic()) > 0:
                try:
                    news = follower.news.get(timeout=min(1.0, left_s))
                except queue.Empty:
                    show(said)  # the seconds go on
                    continue
                match news:
                    case Told(resource):
                        if goal(resource):
                            return resource
                        said = describe(resource)
                    case Gone() if goal(None):
                        return None
                    case Trouble(ApiAway() as error):
                        said = error.message
                    case Trouble(error):
                        raise error
                show(said)
    except KeyboardInterrupt:
        raise Interrupted(f"{name}: no longer waited for, it is {said}; what was asked for stands") from None
    finally:
        follower.close()
    raise CliError(f"{name}: not done after {timeout_s:.0f} s, it is {said}; what was asked for stands")


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
def progress(name: str) -> Iterator[Callable[[str], None]]:
    """A function that shows progress."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(name)
        return
    with console.status(escape(name)) as status:
        yield _Live(name, status)

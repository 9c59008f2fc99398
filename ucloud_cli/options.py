"""What all commands have in common: the API's URL, the format of results, and types of options."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from common.errors import InvalidValue
from common.schemas.size import parse_size_mib
from ucloud_cli.client import Client
from ucloud_cli.output import FORMATS

DEFAULT_URL = "http://[::1]:8080"
F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """What one run of the program was told: where the API is, and how to print."""

    def __init__(self) -> None:
        self.url = DEFAULT_URL
        self.output = "table"
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The API."""
        if self._client is None:
            self._client = Client(self.url)
        return self._client


pass_session = click.make_pass_decorator(Session, ensure=True)


def _remember(field: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(context.ensure_object(Session), field, value)

    return callback


def shared_options(command: F, from_environment: bool = False) -> F:
    """`-o` and `--url`, which every command takes, before or behind its name; the last one said holds."""
    output = click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        expose_value=False,
        callback=_remember("output"),
        envvar="UCLOUD_OUTPUT" if from_environment else None,
        help="How to print results; also UCLOUD_OUTPUT.  [default: table]",
    )
    url = click.option(
        "--url",
        expose_value=False,
        callback=_remember("url"),
        envvar="UCLOUD_URL" if from_environment else None,
        help=f"Where the API is; also UCLOUD_URL.  [default: {DEFAULT_URL}]",
    )
    return output(url(command))


def root_options(command: F) -> F:
    """The shared options for the root, which looks at the environment for all of them."""
    return shared_options(command, from_environment=True)


def wait_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--wait` and `--timeout`, handed on as `wait_s`: None when the command is not to wait."""

    @click.option("--wait/--no-wait", default=False, help="Wait until it is done; fail if it fails.")
    @click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=300.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait.",
    )
    @functools.wraps(command)
    def waiting(*arguments: Any, wait: bool, timeout_s: float, **options: Any) -> None:
        command(*arguments, wait_s=timeout_s if wait else None, **options)

    return waiting


class Size(click.ParamType["int | str"]):
    """An integer in GiB or a size with its unit, passed on as the API takes it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Check the form; the range is the API's to judge."""
        size: int | str = int(value) if str(value).isdecimal() else str(value)
        try:
            parse_size_mib(size)
        except InvalidValue as error:
            self.fail(f'"{value}" {error}', param, ctx)
        return size


SIZE = Size()

"""What all commands have in common: where the API is, how results are printed, and types of options."""

import functools
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import click

from common.errors import InvalidValue
from common.schemas.size import parse_size_mib
from ucloud_cli.client import Access, Client
from ucloud_cli.contexts import Context, ContextsFile, contexts_file
from ucloud_cli.errors import Misused
from ucloud_cli.names import near
from ucloud_cli.output import FORMATS, Layout, note

DEFAULT_URL = "http://[::1]:8080"
_COMPLETION_TIMEOUT_S = 1.0
F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """What one run of the program was told: where the API is, who asks, and how to print."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.context: str | None = None
        self.project: str | None = None
        self.layout = Layout()
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The API."""
        if self._client is None:
            self._client = Client(self.access(), note, owner=self.owner())
        return self._client

    def hasty_client(self) -> Client:
        """The API for what nobody wants to wait for."""
        return Client(self.access(), timeout_s=_COMPLETION_TIMEOUT_S, patient=False, owner=self.owner())

    def owner(self, said: str | None = None) -> str:
        """Whose things are meant: what was said for this one, else the project; empty where there is none."""
        if said:
            return said
        project = self.project
        if project is None and not os.environ.get("UCLOUD_TOKEN", "").strip() and not self.url:
            chosen = self.chosen_context()
            project = chosen[1].project if chosen else ""
        return f"project:{project}" if project else ""

    @property
    def contexts(self) -> ContextsFile:
        """The file that keeps logins."""
        return contexts_file(os.environ)

    def chosen_context(self) -> tuple[str, Context] | None:
        """The context that was named, else the current one, None when nobody ever logged in; Misused for an unknown."""
        contexts = self.contexts.read()
        name = self.context or contexts.current
        if name is None:
            return None
        if name not in contexts.contexts:
            raise Misused(
                f'there is no context "{name}"{near(name, contexts.contexts)} (ucloud context list shows them)'
            )
        return name, contexts.contexts[name]

    def access(self) -> Access:
        """Where the API is and by what right it is asked: options first, then the environment, then the context.

        A context's token is for its own URL and goes nowhere else.
        """
        token = os.environ.get("UCLOUD_TOKEN", "").strip()
        if token:
            chosen = None if self.url else self.chosen_context()
            url = self.url or (chosen[1].url if chosen else DEFAULT_URL)
            ca_file = chosen[1].ca_file if chosen else ""
            return Access(url, token, "the token in UCLOUD_TOKEN is not valid, or not any more", ca_file)
        chosen = self.chosen_context()
        if chosen is None:
            url = self.url or DEFAULT_URL
            return Access(url, None, f"you are not logged in, type: ucloud login --name NAME --url {url}")
        name, context = chosen
        if self.url and self.url.rstrip("/") != context.url.rstrip("/"):
            why = f'you are not logged in there (the context "{name}" is for {context.url})'
            return Access(self.url, None, f"{why}, type: ucloud login --name NAME --url {self.url} --context CONTEXT")
        why = "your session is over" if context.token else "you are logged out"
        return Access(context.url, context.token, f"{why}, type: {login_command(name, context)}", context.ca_file)


def owner_of(session: Session, said: str | None) -> dict[str, str]:
    """The body's field for whom a new thing is: whom `--owner` names, else the project; nothing for oneself."""
    owner = session.owner(said)
    return {"owner": owner} if owner else {}


def login_command(name: str, context: Context) -> str:
    """What to type to log into a context again."""
    return f"ucloud login --name {context.user}" + (f" --context {name}" if name != context.user else "")


pass_session = click.make_pass_decorator(Session, ensure=True)


def _remember(field: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(context.ensure_object(Session), field, value)

    return callback


def _lay_out(field: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            session = context.ensure_object(Session)
            session.layout = replace(session.layout, **{field: value})

    return callback


def complete_contexts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of contexts that begin so."""
    try:
        names = context.ensure_object(Session).contexts.read().contexts
    except click.ClickException:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_projects(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of projects that begin so."""
    try:
        items = context.ensure_object(Session).hasty_client().get("/v1/project")["items"]
    except (click.ClickException, KeyError):
        return []
    return [each["name"] for each in items if each["name"].startswith(incomplete)]


def shared_options(command: F, from_environment: bool = False) -> F:
    """`-o`, `--context`, `--project` and `--url`, for every command, before or behind its name; the last one holds."""
    output = click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        expose_value=False,
        callback=_lay_out("how"),
        envvar="UCLOUD_OUTPUT" if from_environment else None,
        metavar="FORMAT",
        help=f"How to print: {', '.join(FORMATS)}.",
    )
    context = click.option(
        "--context",
        expose_value=False,
        callback=_remember("context"),
        shell_complete=complete_contexts,
        envvar="UCLOUD_CONTEXT" if from_environment else None,
        metavar="NAME",
        help="Which login to use, not the current one.",
    )
    project = click.option(
        "--project",
        expose_value=False,
        callback=_remember("project"),
        shell_complete=complete_projects,
        envvar="UCLOUD_PROJECT" if from_environment else None,
        metavar="NAME",
        help='Whose things are meant, not those of the context\'s project; "" is you.',
    )
    url = click.option(
        "--url",
        expose_value=False,
        callback=_remember("url"),
        envvar="UCLOUD_URL" if from_environment else None,
        help="Where the API is, not where the context says.",
    )
    return output(context(project(url(command))))


def root_options(command: F) -> F:
    """The shared options for the root, which looks at the environment for all of them."""
    return shared_options(command, from_environment=True)


class ColumnNames(click.ParamType["tuple[str, ...]"]):
    """Names of columns with commas between them, in whatever case."""

    name = "columns"

    def __init__(self, known: tuple[str, ...]) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names; whether there are such columns is checked when it is known what is to be printed."""
        names = tuple(name.strip().upper() for name in str(value).split(",") if name.strip())
        if not names:
            self.fail(f"say which (there are {', '.join(self._known)})", param, ctx)
        return names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """The columns that begin like the last name."""
        before, comma, last = incomplete.rpartition(",")
        return [
            click.shell_completion.CompletionItem(f"{before}{comma}{name}")
            for name in self._known
            if name.startswith(last.upper())
        ]


def table_options(columns: tuple[str, ...]) -> Callable[[F], F]:
    """The options of a list: which columns, whether with a header, in which order."""

    def decorate(command: F) -> F:
        chosen = click.option(
            "--columns",
            type=ColumnNames(columns),
            metavar="NAME,...",
            expose_value=False,
            callback=_lay_out("columns"),
            help=f"Which columns to show, of {', '.join(columns)}.",
        )
        no_header = click.option(
            "--no-header",
            "header",
            flag_value=False,
            default=None,
            type=bool,
            expose_value=False,
            callback=_lay_out("header"),
            help="Print no line of titles, as scripts like it.",
        )
        sort = click.option(
            "--sort",
            type=str.upper,
            metavar="NAME",
            expose_value=False,
            callback=_lay_out("sort"),
            shell_complete=lambda _context, _parameter, incomplete: [
                name for name in columns if name.startswith(incomplete.upper())
            ],
            help='Sort by a column; "--sort=-NAME" turns it round.',
        )
        return chosen(sort(no_header(command)))

    return decorate


def wait_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--wait` and `--timeout`, handed on as `wait_s`: None when the command is not to wait."""

    @click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done; fail if it fails.")
    @click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        default=300,
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

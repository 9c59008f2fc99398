"""The kinds of things that the API knows, and what is the same for all of them: list, show, delete, names."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import UUID

import click

from ucloud_cli.client import Client
from ucloud_cli.errors import CliError, Misused, NotFound, Refused
from ucloud_cli.goals import Goal
from ucloud_cli.names import near
from ucloud_cli.options import Session, pass_session, shared_options, table_options, wait_options
from ucloud_cli.output import Columns, Fields, note, print_list, print_one
from ucloud_cli.problems import Resource
from ucloud_cli.wait import wait_until

F = TypeVar("F", bound=Callable[..., Any])
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


@dataclass(frozen=True)
class Filter:
    """What a list can be narrowed by: the option's help, the values if they are few, or what completes them."""

    help: str
    values: tuple[str, ...] = ()
    complete: Complete | None = None


@dataclass(frozen=True)
class Kind:
    """A kind: `name` as commands and paths have it, `noun` as sentences have it.

    `key` is the field that its path ends with; things with a uuid may be called by it, by name, or by owner/name.
    `filters` are the fields that a list can be narrowed by.
    """

    name: str
    noun: str
    columns: Columns
    fields: Fields
    key: str = "uuid"
    filters: Mapping[str, Filter] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where they are."""
        return f"/v1/{self.name}"

    def path_of(self, resource: Resource) -> str:
        """Where one of them is."""
        return self.path_to(resource[self.key])

    def path_to(self, key: str) -> str:
        """Where the one of a key is."""
        return f"{self.path}/{quote(key, safe='')}"

    def find(self, client: Client, name: str) -> Resource:
        """The one that the user calls `name`; NotFound, or Refused when there are several."""
        if self.key == "name" or is_uuid(name):
            try:
                return client.get(self.path_to(name))
            except (NotFound, Misused) as error:
                raise self._unknown(client, name) from error
        owner, _, bare = name.rpartition("/")
        try:
            found = self.all(client, name=bare, owner=owner or None)
        except Misused:
            found = []  # not even a possible name
        if not found:
            raise self._unknown(client, name)
        if len(found) > 1:
            which = ", ".join(f"{each['owner']}/{each['name']}" for each in found)
            raise Refused(f'"{name}" is the name of {len(found)} {self.noun}s, say which: {which}')
        return found[0]

    def names(self, client: Client) -> list[str]:
        """What they are called, with their owners where that is needed to tell them apart."""
        items = [each for each in client.get(self.path)["items"] if self._is_meant(client, each)]
        names = [str(each["name"]) for each in items]
        return [
            f"{each['owner']}/{name}" if names.count(name) > 1 and "owner" in each else name
            for each, name in zip(items, names, strict=True)
        ]

    def all(self, client: Client, **filters: str | None) -> list[Resource]:
        """All that there are, narrowed by filters; of the client's owner and public ones, where no owner is said."""
        if "owner" in self.filters and client.owner and not filters.get("owner"):
            if "PUBLIC" in self.columns:
                return [each for each in client.all(self.path, **filters) if self._is_meant(client, each)]
            filters["owner"] = client.owner
        return client.all(self.path, **filters)

    def _is_meant(self, client: Client, resource: Resource) -> bool:
        is_scoped = "owner" in self.filters and client.owner
        return not is_scoped or resource["owner"] == client.owner or bool(resource.get("public"))

    def _unknown(self, client: Client, name: str) -> NotFound:
        try:
            hint = near(name, self.names(client))
        except CliError:
            hint = ""
        return NotFound(f'there is no {self.noun} "{name}"{hint} (ucloud {self.name} list shows them)')


def is_uuid(text: str) -> bool:
    """Whether it is a uuid as the API writes them."""
    try:
        return len(text) == len(str(UUID(text)))
    except ValueError:
        return False


def complete_names(kind: Kind) -> Complete:
    """Completes the names of what there is of a kind, in a moment or not at all."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            names = kind.names(context.ensure_object(Session).hasty_client())
        except (click.ClickException, KeyError):
            return []  # who completes a name wants no error
        return [name for name in names if name.startswith(incomplete)]

    return complete


def name_argument(kind: Kind) -> Callable[[Any], Any]:
    """The argument NAME of what acts on one thing."""
    return click.argument("name", shell_complete=complete_names(kind))


def new_name(required: bool) -> Callable[[Any], Any]:
    """The name of what is created: the argument NAME, or --name, which reads better in scripts."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.argument("name", required=False)
        @click.option("--name", "name_option", metavar="NAME", help="The same as NAME.")
        @functools.wraps(command)
        def named(*arguments: Any, name: str | None, name_option: str | None, **options: Any) -> None:
            if name and name_option and name != name_option:
                raise click.UsageError("it is given two names, as NAME and by --name; say one")
            if required and not (name or name_option):
                raise click.UsageError("say what to call it: NAME")
            command(*arguments, name=name or name_option, **options)

        return named

    return decorate


def add_list(group: click.Group, kind: Kind) -> None:
    """Add the command `list`."""

    @group.command("list", help=f"List {kind.noun}s.")
    @filter_options(kind)
    @table_options(tuple(kind.columns))
    @shared_options
    @pass_session
    def command(session: Session, /, **filters: str | None) -> None:
        session.layout.check(kind.columns)
        items = kind.all(session.client, **filters)
        print_list(items, kind.columns, session.layout)
        if not items and not session.layout.is_data:
            note(f"there are no {kind.noun}s" + (" of that kind" if any(filters.values()) else ""))


class _State(click.Choice[str]):
    """One of the states, in whatever case."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The state."""
        return super().convert(str(value).upper(), param, ctx)


def filter_options(kind: Kind) -> Callable[[F], F]:
    """An option for each field that a list can be narrowed by."""

    def decorate(command: F) -> F:
        for name, each in reversed(list(kind.filters.items())):
            values = _State(each.values) if each.values else None
            metavar = "STATE" if values else "NAME"
            command = click.option(
                f"--{name}", type=values, metavar=metavar, shell_complete=each.complete, help=each.help
            )(command)
        return command

    return decorate


def add_show(group: click.Group, kind: Kind) -> None:
    """Add the command `show`."""

    @group.command("show", help=f"Show one {kind.noun}.")
    @name_argument(kind)
    @shared_options
    @pass_session
    def command(session: Session, name: str) -> None:
        print_one(kind.find(session.client, name), kind.fields, session.layout)


def add_delete(group: click.Group, kind: Kind, help_text: str, goal: Callable[[Resource], Goal] | None = None) -> None:
    """Add the command `delete`; without a goal, what is accepted is done."""

    def delete(session: Session, name: str, wait_s: float | None = None) -> None:
        found = kind.find(session.client, name)
        accepted = session.client.delete(kind.path_of(found))
        if accepted is None or goal is None:
            print_result(session, kind, found, None)
        else:
            finish(session, kind, accepted, goal(accepted), wait_s)

    command = shared_options(pass_session(delete))
    command = wait_options(command) if goal else command
    group.command("delete", help=help_text)(name_argument(kind)(command))


def finish(session: Session, kind: Kind, accepted: Resource, goal: Goal, wait_s: float | None) -> Resource | None:
    """Print what the API accepted; with `wait_s`, wait until it is done and print what became of it.

    Returns what was printed, None when it is gone.
    """
    result: Resource | None = accepted
    if wait_s is not None:
        result = wait_until(session.client, kind.path_of(accepted), accepted, goal, wait_s)
    print_result(session, kind, accepted, result)
    return result


def print_result(session: Session, kind: Kind, accepted: Resource, result: Resource | None) -> None:
    """Print what became of a thing: its line, or that it is gone."""
    if session.layout.is_data:
        print_one(result or accepted, {}, session.layout)
    elif result is not None:
        print_list([result], kind.columns, session.layout)
    else:
        click.echo(f"{accepted['name']} is deleted")

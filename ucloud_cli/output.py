"""Results on stdout: tables for people, JSON and YAML for programs."""

import io
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.errors import InvalidValue
from common.schemas.size import parse_size_mib
from ucloud_cli.errors import Misused
from ucloud_cli.problems import Resource

FORMATS = ("table", "wide", "json", "yaml")
_COLOURS = {
    **dict.fromkeys(("RUNNING", "READY", "ALIVE", "enabled"), "green"),
    **dict.fromkeys(("ERROR", "REJECTED", "LOST", "KILLED", "SILENT", "DEAD", "UNKNOWN", "disabled"), "red"),
    **dict.fromkeys(
        ("PENDING", "DEPLOYING", "STARTING", "STOPPING", "MIGRATING", "DELETING", "CHECKING", "IMPORTING"), "yellow"
    ),
    "draining": "yellow",
}

Look = Callable[[Resource], object]
"""What of a resource is shown."""

Fields = Mapping[str, Look]
"""The lines that show one resource, by their titles."""


@dataclass(frozen=True)
class Column:
    """A column of a list; a wide one is only shown when it is asked for."""

    look: Look
    wide: bool = False


Columns = Mapping[str, Column]


@dataclass(frozen=True)
class Layout:
    """How results are to be printed: a format, and of lists which columns (none: its usual ones), in which order."""

    how: str = "table"
    columns: tuple[str, ...] = ()
    header: bool = True
    sort: str = ""

    @property
    def is_data(self) -> bool:
        """Whether it is for programs: resources as they are, whole."""
        return self.how in ("json", "yaml")

    def check(self, columns: Columns) -> None:
        """Misused where it asks for a column that there is not, or for columns where there are none."""
        if self.columns and self.is_data:
            raise Misused(f"--columns chooses columns of a table; -o {self.how} prints everything")
        for option, titles in (("--columns", self.columns), ("--sort", (self.sort.removeprefix("-"),))):
            for title in titles:
                if title and title not in columns:
                    raise Misused(f'{option}: there is no column "{title}" (there are {", ".join(columns)})')

    def choose(self, columns: Columns) -> dict[str, Look]:
        """The columns to show."""
        if self.columns:
            return {title: columns[title].look for title in self.columns}
        return {title: each.look for title, each in columns.items() if self.how == "wide" or not each.wide}

    def order(self, items: Sequence[Resource], columns: Columns) -> list[Resource]:
        """Resources in the order that is asked for; "-" before the column's name turns it round."""
        title = self.sort.removeprefix("-")
        if not title:
            return list(items)
        look = columns[title].look
        return sorted(items, key=lambda item: _sort_key(look(item)), reverse=self.sort.startswith("-"))


def print_list(items: Sequence[Resource], columns: Columns, layout: Layout) -> None:
    """Print resources: as a table with a line each, or whole."""
    ordered = layout.order(items, columns)
    if layout.is_data:
        print_data(ordered, layout.how)
    else:
        _print_table(list_table(ordered, layout.choose(columns), layout.header))


def print_one(item: Resource, fields: Fields, layout: Layout) -> None:
    """Print one resource: as a table with a line per field, or whole."""
    if layout.is_data:
        print_data(item, layout.how)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    for title, look in fields.items():
        table.add_row(title, _cell(look(item)))
    _print_table(table)


def list_table(items: Sequence[Resource], chosen: Fields, header: bool = True) -> Table:
    """A table with a line per resource."""
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=header)
    for title in chosen:
        table.add_column(title, no_wrap=True)
    for item in items:
        table.add_row(*[_cell(look(item)) for look in chosen.values()])
    return table


def print_data(data: object, how: str) -> None:
    """Print it as JSON or YAML."""
    if how == "json":
        click.echo(json.dumps(data, indent=2))
    else:
        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)


def note(text: str) -> None:
    """Tell the user something that is no result."""
    click.echo(f"ucloud: {text}", err=True)


def printable(text: str) -> str:
    """A text without what would act on a terminal: anybody may have written it."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    return Text(printable(text), _COLOURS.get(text, ""))


def _print_table(table: Table) -> None:
    """Print it with a line per row however long it gets: a uuid that was cut off is of no use.

    In colours on a terminal, else plain.
    """
    text = io.StringIO()
    Console(file=text, width=10_000, force_terminal=sys.stdout.isatty() or None).print(table)
    for line in text.getvalue().splitlines():
        click.echo(line.rstrip())


def _sort_key(value: object) -> tuple[int, list[tuple[bool, int, str]]]:
    """Numbers and sizes by how large they are, all else as people sort: vm2 before vm10."""
    text = "" if value is None else str(value)
    try:
        return parse_size_mib(text.split("/")[0]), []
    except InvalidValue:
        return 0, [
            (part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text) if part
        ]


def size(value: object) -> str:
    """A size with its unit: 4 -> "4GiB"."""
    return f"{value}GiB" if isinstance(value, int) else str(value)


def yes(value: object) -> str:
    """A truth for people: "yes" or nothing."""
    return "yes" if value else ""


def last_part(path: str | None) -> str:
    """The name at the end of a path: "/v1/host/h1" -> "h1"."""
    return path.rsplit("/", 1)[-1] if path else ""


def local_time(moment: str | None) -> str:
    """A moment as the API writes it, in the user's own time zone: "2026-11-21 08:15:03"."""
    try:
        return datetime.fromisoformat(moment or "").astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return moment or ""

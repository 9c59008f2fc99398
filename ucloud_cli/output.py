"""Results on stdout: tables for people, JSON and YAML for programs."""

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ucloud_cli.client import Resource

FORMATS = ("table", "json", "yaml")
_COLOURS = {
    **dict.fromkeys(("RUNNING", "READY", "ALIVE", "enabled"), "green"),
    **dict.fromkeys(("ERROR", "REJECTED", "KILLED", "SILENT", "UNKNOWN", "disabled"), "red"),
    **dict.fromkeys(("PENDING", "DEPLOYING", "STARTING", "IMPORTING", "draining"), "yellow"),
}

Columns = Mapping[str, Callable[[Resource], object]]
"""Titles, each with what of a resource stands there."""


def print_list(items: Sequence[Resource], columns: Columns, how: str) -> None:
    """Print resources: as a table with a line each, or whole."""
    if how != "table":
        _print_data(list(items), how)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in columns:
        table.add_column(title, no_wrap=True)
    for item in items:
        table.add_row(*[_cell(look(item)) for look in columns.values()])
    _print_table(table)


def print_one(item: Resource, fields: Columns, how: str) -> None:
    """Print one resource: as a table with a line per field, or whole."""
    if how != "table":
        _print_data(item, how)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(no_wrap=True)
    for title, look in fields.items():
        table.add_row(title, _cell(look(item)))
    _print_table(table)


def _cell(value: object) -> Text:
    text = "" if value is None else str(value)
    return Text(text, style=_COLOURS.get(text, ""))


def _print_data(data: object, how: str) -> None:
    if how == "json":
        click.echo(json.dumps(data, indent=2))
    else:
        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)


def _print_table(table: Table) -> None:
    """Print it with a line per row however long it gets: a uuid that was cut off is of no use.

    In colours on a terminal, else plain.
    """
    text = io.StringIO()
    Console(file=text, width=10_000, force_terminal=sys.stdout.isatty() or None).print(table)
    for line in text.getvalue().splitlines():
        click.echo(line.rstrip())


def size(value: object) -> str:
    """A size with its unit: 4 -> "4GiB"."""
    return f"{value}GiB" if isinstance(value, int) else str(value)


def last_part(path: str | None) -> str:
    """The name at the end of a path: "/v1/host/h1" -> "h1"."""
    return path.rsplit("/", 1)[-1] if path else ""

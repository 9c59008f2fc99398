"""Options that say where VMs go."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ucloud_cli.problems import Resource

F = TypeVar("F", bound=Callable[..., Any])
_HARD = ":hard"


class Label(click.ParamType["tuple[str, str]"]):
    """A label and its value: KEY=VALUE."""

    name = "label"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Check the form; the words are the API's to judge."""
        key, equals, label = str(value).partition("=")
        if not equals or not key:
            self.fail(f'"{value}" is not of the form KEY=VALUE', param, ctx)
        return key, label


LABEL = Label()


def placing_options(command: F) -> F:
    """`--ha`, `--priority`, the groups and the labels, handed on under the names that `placing_of` knows."""
    group = f'"GROUP{_HARD}": it rather waits than goes against that. May be said many times.'
    for option in (
        click.option(
            "--host-label",
            "host_labels",
            type=LABEL,
            multiple=True,
            metavar="KEY=VALUE",
            help="Only hosts with this label will do. May be said many times.",
        ),
        click.option(
            "--with-group", multiple=True, metavar="GROUP", help=f"On one host with your other VMs of a group; {group}"
        ),
        click.option(
            "--apart-from-group", multiple=True, metavar="GROUP", help=f"On no host of your others of a group; {group}"
        ),
        click.option(
            "--priority",
            type=click.IntRange(0, 100),
            help="Where room is short, a higher one is served first; above 50 for admins.  [default: 50]",
        ),
        click.option(
            "--ha/--no-ha", default=None, help="Whether it is started elsewhere when its host is dead.  [default: ha]"
        ),
    ):
        command = option(command)
    return command


def placing_of(wanted: dict[str, Any]) -> Resource:
    """The body's fields for what these options said; nothing for what was left out."""
    wishes = [
        {"group": named.removesuffix(_HARD), "apart": apart, "hard": named.endswith(_HARD)}
        for option, apart in (("apart_from_group", True), ("with_group", False))
        for named in wanted[option]
    ]
    said = {
        "ha": wanted["ha"],
        "priority": wanted["priority"],
        "affinity": wishes or None,
        "host_labels": dict(wanted["host_labels"]) or None,
    }
    return {field: value for field, value in said.items() if value is not None}


def groups(vm: Resource) -> str:
    """The groups of a VM, for a person: "apart from web (hard), with db"."""
    return ", ".join(
        f"{'apart from' if wish['apart'] else 'with'} {wish['group']}{' (hard)' if wish['hard'] else ''}"
        for wish in vm.get("affinity", ())
    )


def labels(values: dict[str, str]) -> str:
    """Labels in one line."""
    return ", ".join(f"{key}={value}" for key, value in sorted(values.items()))

"""Measured values as a table: the median, the spread, and the ratio to a baseline that was measured in turn."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

_WIDTH = 120


@dataclass(frozen=True)
class Row:
    """One line: a value of each round. `baseline` are the values it is compared with, round by round."""

    name: str
    values: Sequence[float]
    baseline: Sequence[float] = ()
    aim: str = ""


def spread(values: Sequence[float], form: str) -> str:
    """The lowest and the highest value."""
    return f"{min(values):{form}} to {max(values):{form}}"


def ratios(row: Row) -> list[float]:
    """The ratio of each round: what disturbs the machine for longer than a round disturbs both sides of it."""
    return [value / base for value, base in zip(row.values, row.baseline, strict=True)]


def show(title: str, unit: str, rows: Sequence[Row], form: str = ",.0f", notes: Sequence[str] = ()) -> None:
    """Print the rows, with the machine below. `form` is the format of a value, as of `format`."""
    table = Table(title=title, caption="\n".join((*notes, machine())), caption_justify="left", title_justify="left")
    headings = ["", unit, "lowest to highest"]
    if any(row.baseline for row in rows):
        headings += ["ratio", "lowest to highest"]
    if any(row.aim for row in rows):
        headings += ["aim"]
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        cells = [row.name, f"{statistics.median(row.values):{form}}", spread(row.values, form)]
        if row.baseline:
            compared = ratios(row)
            cells += [f"{statistics.median(compared):.2f}", spread(compared, ".2f")]
        cells += [""] * (len(headings) - len(cells))
        cells[-1] = row.aim or cells[-1]
        table.add_row(*cells)
    print_table(table)


def print_table(table: Table) -> None:
    """Print a table as wide as it needs to be, also where the output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(table)


def machine() -> str:
    """What the figures were measured on."""
    load = os.getloadavg()[0]
    return f"{len(os.sched_getaffinity(0))} cores ({_processor()}), load average {load:.1f} at the end"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

"""A live table fits its terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from ucloud_cli.commands.watch import Known, picture
from ucloud_cli.errors import ApiAway, CliError
from ucloud_cli.output import Layout
from ucloud_cli.stream import Gone, Reset, Told, Trouble


def vm(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "uuid": f"uuid-of-{name}",
        "owner": "ann",
        "status": "RUNNING",
        "requested": "RUNNING",
        "hostname": "/v1/host/h1",
        "specs": {"cpu": 1, "ram": "512MiB", "ssd": 4, "hdd": 0},
        "image": "i",
        "image_name": "debian-12-with-everything",
        "addresses": ["2001:db8:1234:5678:9abc:def0:1234:5678"],
        "reason": "a reason that is much longer than any terminal of this world has columns for",
        "created_at": "2026-11-21T08:00:00Z",
        **changes,
    }


def shown(known: Known, layout: Layout, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(picture(known, layout, console))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def knowing(*names: str) -> Known:
    known = Known(None)
    for name in names:
        known.hear(Told(vm(name)))
    return known


@pytest.mark.parametrize("width", [60, 80, 100, 132])
def test_a_line_is_a_line_and_what_matters_is_whole(width: int) -> None:
    header, line = shown(knowing("web"), Layout(), width, 25)
    assert len(line) <= width
    assert line.split()[0] == "web"
    assert "RUNNING" in line
    assert header.endswith("REASON")


def test_a_wide_terminal_shows_all_columns() -> None:
    header, line = shown(knowing("web"), Layout(), 250, 25)
    assert header.split() == ["NAME", "OWNER", "STATUS", "HOST", "CPU", "RAM", "SSD", "IMAGE", "ADDRESSES", "REASON"]
    assert line.endswith("columns for")


def test_more_vms_than_lines_are_counted() -> None:
    lines = shown(knowing(*[f"vm{number}" for number in range(50)]), Layout(columns=("NAME",)), 80, 10)
    assert len(lines) == 9
    assert lines[-1] == "and 43 more"


def test_what_is_gone_is_shown_no_more_and_trouble_is_told() -> None:
    known = knowing("web", "db")
    gone = known.hear(Gone("uuid-of-web"))
    assert gone is not None
    assert gone["name"] == "web"
    assert list(known.vms) == ["uuid-of-db"]
    assert known.hear(Gone("uuid-of-nobody")) is None
    known.hear(Trouble(ApiAway("the API is away")))
    assert shown(known, Layout(columns=("NAME",)), 80, 10) == ["NAME", "db", "the API is away"]
    known.hear(Reset())
    assert (known.vms, known.trouble) == ({}, "")
    with pytest.raises(CliError, match="for good"):
        known.hear(Trouble(CliError("for good")))


def test_the_only_one_that_is_followed_ends_it() -> None:
    known = Known(vm("web"))
    known.hear(Told(vm("web")))
    assert known.hear(Gone()) is not None
    assert known.is_over

"""No jump of the wall clock may end a guest, or let one start: what decides of that must not be able to read it."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
DECIDES = (
    "common/clock.py",
    "common/deadlines.py",
    "common/lease.py",
    "common/lifeline.py",
    "ucloud_host/alive.py",
    "ucloud_host/guard.py",
    "ucloud_host/guests.py",
    "ucloud_host/fences/self_fence.py",
    "ucloud_vm/ha_driver.py",
    "ucloud_vm/permit.py",
)
WALL_CLOCK = {"datetime", "time.time", "time.time_ns", "time.CLOCK_REALTIME", "time.localtime", "time.gmtime"}


def read_clocks(source: str) -> set[str]:
    """What a module names of the wall clock."""
    tree = ast.parse(source)
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    for node in imports:
        module = node.module if isinstance(node, ast.ImportFrom) else ""
        names |= {name for alias in node.names for name in (alias.name, f"{module}.{alias.name}")}
    return names & WALL_CLOCK


@pytest.mark.parametrize("module", DECIDES)
def test_what_ends_and_starts_guests_reads_no_wall_clock(module: str) -> None:
    assert read_clocks((PROJECT / module).read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "source", ["import time\ntime.time()", "from time import time", "from datetime import datetime", "import datetime"]
)
def test_one_that_does_is_found(source: str) -> None:
    assert read_clocks(source)

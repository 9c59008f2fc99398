"""Logs: one line an entry, as text or as JSON."""

import json
import logging
from collections.abc import Iterator

import pytest

from common import log


@pytest.fixture(autouse=True)
def untouched_root() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_an_entry_as_json_keeps_its_traceback_in_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("INFO", as_json=True)
    try:
        raise ValueError("first line\nsecond line")
    except ValueError:
        logging.getLogger("ucloud_vm").exception("%s failed", "it")
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("ERROR", "ucloud_vm", "it failed")
    assert "second line" in entry["traceback"]


def test_entries_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("WARNING", as_json=False)
    logging.getLogger("ucloud_vm").info("chatter")
    logging.getLogger("ucloud_vm").warning("news")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING ucloud_vm: news")

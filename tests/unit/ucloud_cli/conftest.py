"""Fixtures of the client's unit tests: an environment of its own, in which nobody is logged in."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def contexts_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The contexts file, which does not exist yet."""
    path = tmp_path / "config" / "contexts.yaml"
    monkeypatch.setenv("UCLOUD_CONTEXT_FILE", str(path))
    for variable in ("UCLOUD_CONTEXT", "UCLOUD_URL", "UCLOUD_TOKEN", "UCLOUD_OUTPUT"):
        monkeypatch.delenv(variable, raising=False)
    return path

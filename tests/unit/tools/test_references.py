"""The settings file that is installed, and the references that are made from the code."""

import re
import subprocess
import sys
from pathlib import Path

from common import rights, settings

PROJECT = Path(__file__).resolve().parents[3]


def _made(*arguments: str, tool: str = "settings") -> str:
    command = [sys.executable, str(PROJECT / "tools" / tool), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_every_line_that_is_commented_out_shows_the_default(tmp_path: Path) -> None:
    file = tmp_path / "ucloud.conf"
    file.write_text(re.sub(r"^#(\w+ =)", r"\1", _made("conf"), flags=re.MULTILINE))
    assert settings.load({"UCLOUD_CONFIG": str(file)}) == settings.Settings()


def test_the_installed_file_as_it_is_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ucloud.conf"
    file.write_text(_made("conf"))
    assert settings.load({"UCLOUD_CONFIG": str(file)}) == settings.Settings()


def test_every_setting_is_in_the_file_and_says_what_it_is() -> None:
    conf = _made("conf")
    for section, info in settings.Settings.model_fields.items():
        assert f"[{section}]" in conf
        for field, its in info.annotation.model_fields.items():  # type: ignore[union-attr]
            assert its.description, f"{section}.{field}"
            assert f"\n#{field} =" in conf


def test_the_reference_is_of_these_settings() -> None:
    assert (PROJECT / "docs/settings.md").read_text() == _made("markdown"), "stale: make docs"


def test_the_reference_of_the_api_is_of_this_api() -> None:
    assert (PROJECT / "docs/api-reference.md").read_text() == _made(tool="api-reference"), "stale: make docs"


def test_the_table_of_rights_is_of_these_rights() -> None:
    assert (PROJECT / "docs/etcd-roles.md").read_text() == "\n".join(rights.as_markdown()) + "\n", "stale: make docs"

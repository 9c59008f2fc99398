"""The shape of the command line: nouns and verbs, the flat form, where options may stand."""

import pytest
from click.testing import CliRunner

from ucloud_cli.app import cli
from ucloud_cli.output import last_part, size

COMMANDS = [
    "vm create", "vm list", "vm show", "vm delete", "vm start", "vm stop", "vm suspend", "vm resume", "vm log",
    "host list", "host show", "host set", "image create", "image list", "image show", "image delete",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_nested_and_flat(command: str) -> None:
    nested = CliRunner().invoke(cli, [*command.split(), "--help"])
    flat = CliRunner().invoke(cli, [command.replace(" ", "-"), "--help"])
    assert (nested.exit_code, flat.exit_code) == (0, 0)
    assert nested.output.splitlines()[1:] == flat.output.splitlines()[1:]
    for option in ("--output", "--url"):
        assert option in nested.output


@pytest.mark.parametrize("command", ["vm-fly", "vm-", "-list", "fly-create", "vmcreate"])
def test_what_there_is_not_is_a_usage_error(command: str) -> None:
    assert CliRunner().invoke(cli, [command]).exit_code == 2


@pytest.mark.parametrize("size_text", ["1.5", "1GB", "big", "-1", ""])
def test_a_size_is_checked_before_anything_is_sent(size_text: str) -> None:
    arguments = ["vm", "create", "--image", "i", "--cpu", "1", "--ssd", "1", "--ram", size_text]
    result = CliRunner().invoke(cli, [*arguments, "--url", "http://[::1]:1"])
    assert result.exit_code == 2
    assert "--ram" in result.output


def test_the_url_said_last_holds() -> None:
    environment = {"UCLOUD_URL": "first"}
    for arguments, url in (
        (["vm", "list"], "first"),
        (["--url", "second", "vm", "list"], "second"),
        (["--url", "second", "vm", "list", "--url", "third"], "third"),
    ):
        assert f'"{url}" is no URL' in CliRunner().invoke(cli, arguments, env=environment).output


def test_values_for_people() -> None:
    assert (size(4), size("512MiB"), last_part("/v1/host/h1"), last_part(None)) == ("4GiB", "512MiB", "h1", "")

"""The shape of the command line: nouns and verbs, the flat form, where options may stand."""

import pytest
from click.testing import CliRunner

from ucloud_cli.app import cli

COMMANDS = [
    "vm create", "vm list", "vm show", "vm delete", "vm start", "vm stop", "vm suspend", "vm resume", "vm reboot",
    "vm watch", "vm log", "vm events", "vm console", "vm screenshot", "vm ls", "vm rm",
    "vm rename", "vm resize", "vm protect", "vm unprotect",
    "user create", "user list", "user show", "user set", "user delete", "context list", "context use", "context delete",
    "host list", "host show", "host set", "image create", "image list", "image show", "image set", "image delete",
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


@pytest.mark.parametrize("command", ["login", "logout", "whoami"])
def test_sessions_have_commands_of_their_own(command: str) -> None:
    assert CliRunner().invoke(cli, [command, "--help"]).exit_code == 0


def test_exit_statuses_and_variables_are_documented() -> None:
    said = CliRunner().invoke(cli, ["--help"]).output
    for words in ("  0  done", "  6  the API", "UCLOUD_CONTEXT_FILE", "UCLOUD_TOKEN"):
        assert words in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["vm", "lisst"], "'list'"), (["imgae"], "'image'"), (["vm", "list", "--colums", "x"], "'--columns'")],
)
def test_what_was_meant_is_said(typed: list[str], meant: str) -> None:
    result = CliRunner().invoke(cli, typed)
    assert result.exit_code == 2
    assert f"Did you mean {meant}?" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["vm", "create", "web", "--name", "db", "--image", "i", "--cpu", "1", "--ram", "1", "--ssd", "1"],
        ["vm", "resize", "web"],
        ["vm", "watch", "web", "--owner", "ann"],
        ["image", "create", "--file", "x"],
        ["image", "set", "debian"],
        ["host", "set", "h1"],
        ["user", "create"],
        ["user", "create", "ann", "--unlimited", "--cpu", "1"],
        ["user", "set", "ann"],
        ["vm", "list", "--columns", ","],
        ["vm", "list", "--columns", "NAME,WHAT"],
        ["vm", "list", "--sort", "WHAT"],
        ["vm", "list", "--columns", "NAME", "-o", "json"],
        ["completion", "csh"],
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, arguments, env={"UCLOUD_URL": "http://[::1]:1"}).exit_code == 2


def complete(words: str, shell: str = "bash", current: str = "") -> list[str]:
    environment = {
        "_UCLOUD_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": f"ucloud {words} {current}".strip(),
        "COMP_CWORD": str(len(words.split()) + 1),
    }
    result = CliRunner().invoke(cli, env=environment, prog_name="ucloud", complete_var="_UCLOUD_COMPLETE")
    assert result.exit_code == 0
    return [line.removeprefix("plain,") for line in result.output.splitlines() if line]


def test_commands_options_states_and_columns_are_completed() -> None:
    assert complete("vm", current="re") == ["reboot", "rename", "resize", "resume"]
    assert "--columns" in complete("vm list", current="--c")
    assert complete("vm list --status", current="S") == ["STARTING", "SUSPENDED", "STOPPING", "STOPPED"]
    assert complete("vm list --columns", current="NAME,S") == ["NAME,STATUS", "NAME,SSD"]
    assert complete("host-set h1 --state", current="d") == ["draining", "disabled"]


def test_names_are_completed_silently_or_not_at_all() -> None:
    assert complete("--url http://[::1]:1 vm stop") == []
    assert complete("--url nonsense vm stop") == []
    assert complete("--context nobody vm stop") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_a_script(shell: str) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"_UCLOUD_COMPLETE={shell}_complete" in result.output

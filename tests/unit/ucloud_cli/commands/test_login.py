"""What is wrong with a login before anything is sent, and what never leaves this machine."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from ucloud_cli.app import cli
from ucloud_cli.commands.login import warn_if_readable
from ucloud_cli.contexts import Context, ContextsFile

NOWHERE = "http://[::1]:1"
SEED = "JBSWY3DPEHPK3PXP"


def login(*arguments: str, typed: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["login", *arguments], input=typed)
    return result.exit_code, result.output


def test_who_you_are_must_be_said_the_first_time() -> None:
    assert login() == (2, "ucloud: say who you are: ucloud login --name NAME\n")
    assert login("--context", "work") == (2, "ucloud: say who you are: ucloud login --name NAME --context work\n")


def test_without_a_terminal_a_token_is_not_asked_for() -> None:
    status, said = login("--name", "alice")
    assert (status, "--token-stdin or --seed-file" in said) == (2, True)


def test_an_empty_token_is_not_sent() -> None:
    assert login("--name", "alice", "--token-stdin", "--url", NOWHERE) == (
        2,
        "ucloud: there is no one-time token on standard input\n",
    )


def test_a_seed_or_a_token() -> None:
    assert login("--name", "alice", "--token-stdin", "--seed-file", "x")[0] == 2


@pytest.mark.parametrize("content", ["not base32!", "1", "ä"])
def test_a_file_without_a_seed_is_not_quoted(tmp_path: Path, content: str) -> None:
    file = tmp_path / "seed"
    file.touch(0o600)
    file.write_text(content)
    status, said = login("--name", "alice", "--seed-file", str(file))
    assert (status, said) == (2, f"ucloud: {file} holds no seed (base32)\n")


def test_an_api_that_is_away_learns_neither_token_nor_seed_from_an_error(tmp_path: Path) -> None:
    file = tmp_path / "seed"
    file.touch(0o600)
    file.write_text(SEED + "\n")
    status, said = login("--name", "alice", "--seed-file", str(file), "--url", NOWHERE)
    assert status == 6
    assert SEED not in said
    status, said = login("--name", "alice", "--token-stdin", "--url", NOWHERE, typed="123456\n")
    assert status == 6
    assert "123456" not in said


def test_a_login_at_another_api_replaces_no_context_unasked(contexts_path: Path) -> None:
    ContextsFile(contexts_path).change(
        lambda contexts: contexts.with_context("alice", Context(url="https://cloud.example", user="alice"))
    )
    status, said = login("--name", "alice", "--url", NOWHERE, "--token-stdin", typed="123456")
    assert status == 2
    assert 'the context "alice" is for https://cloud.example; say --context alice to have it replaced' in said
    assert login("--name", "alice", "--url", NOWHERE, "--context", "alice", "--token-stdin", typed="123456")[0] == 6


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://[::1]:1", False),
        ("http://127.0.0.1:1", False),
        ("http://localhost:1", False),
        ("https://[::1]:1", False),
        ("http://[2001:db8::1]:1", True),
        ("http://cloud.invalid", True),
    ],
)
def test_a_session_that_others_could_read_is_warned_of(url: str, warned: bool) -> None:
    with CliRunner().isolation() as (_, err, _):
        warn_if_readable(url)
        assert (b"warning" in err.getvalue()) is warned


def test_nobody_logged_in_logs_out() -> None:
    result = CliRunner().invoke(cli, ["logout"])
    assert (result.exit_code, result.output) == (0, "you are not logged in\n")

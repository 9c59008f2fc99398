"""The contexts file, and what is made of it, of options and of the environment."""

import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from ucloud_cli.app import cli
from ucloud_cli.client import Access
from ucloud_cli.contexts import Context, Contexts, ContextsFile, read_private
from ucloud_cli.errors import CliError, Misused
from ucloud_cli.options import Session

SECRET = "ucloud_t0ken"
ALICE = Context(url="http://[::1]:8080", user="alice", token=SECRET, expires_at="2026-11-21T18:00:00Z")
WORK = Context(url="https://cloud.example", user="bob")


@pytest.fixture
def file(contexts_path: Path) -> ContextsFile:
    """A file with two contexts, of which alice's is the current one."""
    file = ContextsFile(contexts_path)
    file.change(lambda contexts: contexts.with_context("alice", ALICE).with_context("work", WORK).used("alice"))
    return file


def test_what_was_written_is_read(file: ContextsFile) -> None:
    assert file.read() == Contexts(current="alice", contexts={"alice": ALICE, "work": WORK})
    file.change(lambda contexts: contexts.without("alice"))
    assert file.read() == Contexts(contexts={"work": WORK})


def test_nobody_else_can_read_it_and_nothing_half_written_is_left(file: ContextsFile) -> None:
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in file.path.parent.iterdir()] == ["contexts.yaml"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_open_is_refused_with_what_to_type(file: ContextsFile, mode: int) -> None:
    file.path.chmod(mode)
    for act in (file.read, lambda: file.change(lambda contexts: contexts)):
        with pytest.raises(CliError, match=f"others can read it, type: chmod 600 {file.path}"):
            act()
    assert file.path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    "content", [f"token: {SECRET}", f"[{SECRET}", f"contexts: {{a: {{url: 1, token: [{SECRET}]}}}}", SECRET]
)
def test_a_file_that_is_not_understood_is_not_quoted(contexts_path: Path, content: str) -> None:
    contexts_path.parent.mkdir()
    contexts_path.touch(0o600)
    contexts_path.write_text(content)
    result = CliRunner().invoke(cli, ["context", "list"])
    assert result.exit_code == 1
    assert f"{contexts_path} can't be understood" in result.output
    assert SECRET not in result.output


def test_a_link_stays_a_link(file: ContextsFile, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(file.path)
    ContextsFile(link).change(lambda contexts: contexts.used("work"))
    assert link.is_symlink()
    assert file.read().current == "work"


def test_many_that_write_at_once_lose_nothing(file: ContextsFile) -> None:
    def add(number: int) -> None:
        file.change(lambda contexts: contexts.with_context(f"c{number}", WORK))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.read().contexts) == 22


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(CliError, match="can't be written"):
        ContextsFile(tmp_path / "taken" / "contexts.yaml").change(lambda contexts: contexts)


def test_a_seed_that_others_can_read_is_refused(tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.touch(0o644)
    with pytest.raises(CliError, match="chmod 600"):
        read_private(seed)


def access(**said: str) -> Access:
    session = Session()
    session.url, session.context = said.get("url"), said.get("context")
    return session.access()


def test_nobody_logged_in_is_told_how_to(contexts_path: Path) -> None:
    found = access()
    assert (found.url, found.token) == ("http://[::1]:8080", None)
    assert "type: ucloud login --name NAME --url http://[::1]:8080" in found.unknown_caller


def test_the_current_context_holds_and_a_named_one_comes_first(file: ContextsFile) -> None:
    assert (access().url, access().token) == (ALICE.url, SECRET)
    assert access().unknown_caller == "your session is over, type: ucloud login --name alice"
    named = access(context="work")
    assert (named.url, named.token) == (WORK.url, None)
    assert named.unknown_caller == "you are logged out, type: ucloud login --name bob --context work"


def test_a_token_goes_to_no_other_api_than_its_own(file: ContextsFile) -> None:
    assert access(url=f"{ALICE.url}/").token == SECRET
    elsewhere = access(url="http://[::1]:9")
    assert elsewhere.token is None
    assert "you are not logged in there" in elsewhere.unknown_caller


def test_a_token_of_the_environment_comes_first(file: ContextsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UCLOUD_TOKEN", "other\n")
    assert (access().url, access().token) == (ALICE.url, "other")
    assert (access(url="http://[::1]:9").url, access(url="http://[::1]:9").token) == ("http://[::1]:9", "other")
    assert "UCLOUD_TOKEN" in access().unknown_caller


def test_an_unknown_context_is_told_those_like_it(file: ContextsFile) -> None:
    with pytest.raises(Misused, match=r'there is no context "wrok"; did you mean work\?'):
        access(context="wrok")


def test_contexts_are_listed_used_and_deleted_and_no_token_is_shown(file: ContextsFile) -> None:
    run = CliRunner().invoke
    for how in ("table", "wide", "json", "yaml"):
        listed = run(cli, ["context", "list", "-o", how])
        assert listed.exit_code == 0
        assert "alice" in listed.output
        assert SECRET not in listed.output
    assert run(cli, ["context", "use", "work"]).output.splitlines()[1].split()[:2] == ["*", "work"]
    assert file.read().current == "work"
    assert run(cli, ["context", "delete", "work"]).output == "work is deleted\n"
    assert file.read().current is None
    assert run(cli, ["context", "use", "alise"]).output == (
        'ucloud: there is no context "alise"; did you mean alice? (ucloud context list shows them)\n'
    )
    assert run(cli, ["context", "rm", "x"]).exit_code == 4


def test_no_token_is_in_what_is_printed_of_objects() -> None:
    assert SECRET not in repr(ALICE)
    assert SECRET not in repr(Access(ALICE.url, SECRET))
    assert SECRET not in repr(Contexts(contexts={"alice": ALICE}))


def test_the_home_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UCLOUD_CONTEXT_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Session().contexts.path == tmp_path / ".config" / "ucloud" / "contexts.yaml"
    assert not list(tmp_path.iterdir())

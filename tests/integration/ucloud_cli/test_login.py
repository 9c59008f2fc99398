"""Logging in with real one-time tokens, contexts, whoami, logging out; nothing secret is ever printed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from common.schemas.user import Quota
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import DEADLINE_S, Program, Said
from tests.integration.ucloud_cli.terminal import Terminal
from tests.integration.ucloud_otp_server import OtpServer, Person


@pytest.fixture
def people(store: Store, world: World) -> dict[str, Person]:
    """A service that verifies, an admin, and ann, who has a quota."""
    world.add_account("ann", quota=Quota(vms=2, cpu=4, ram_mib=8192, ssd_mib=102400, hdd_mib=0))
    persons = [
        Person(store, "ucloud-api", "ungleich-auth"),
        *[Person(store, each, "ucloud") for each in ("ann", "admin")],
    ]
    return {person.name: person for person in persons}


@pytest.fixture
def url(etcd: EtcdCluster, people: dict[str, Person], tmp_path: Path) -> Iterator[str]:
    """Where an API answers that asks a real ucloud-otp."""
    otp = OtpServer(etcd.endpoints, tmp_path / "otp.log")
    seed = tmp_path / "api.seed"
    seed.write_text(people["ucloud-api"].seed)
    port = free_port()
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_API_PORT": str(port),
        "UCLOUD_OTP_URL": f"{otp.url}verify/",
        "UCLOUD_OTP_SEED_FILE": str(seed),
    }
    api = DaemonProcess("ucloud_api", tmp_path / "api.log", environment)
    api.port = port
    otp.daemon.wait_healthy()
    api.wait_healthy()
    yield f"http://[::1]:{port}"
    api.close()
    otp.daemon.close()


@pytest.fixture
def ucloud(tmp_path: Path) -> Program:
    """The program of a user who never logged in."""
    return Program(tmp_path / "home")


def seed_file(person: Person, folder: Path) -> str:
    """The person's seed in a file that is theirs alone."""
    file = folder / f"{person.name}.seed"
    file.touch(0o600)
    file.write_text(person.seed + "\n")
    return str(file)


def test_a_session_from_login_to_logout(ucloud: Program, url: str, people: dict[str, Person], tmp_path: Path) -> None:
    said = ucloud("vm", "list", "--url", url)
    assert (said.status, said.one_line()) == (
        3,
        f"ucloud: you are not logged in, type: ucloud login --name NAME --url {url}",
    )
    seed = seed_file(people["ann"], tmp_path)
    said = ucloud("login", "--name", "ann", "--url", url, "--seed-file", seed)
    assert said.status == 0, said
    assert said.out.startswith(f"ann is logged in at {url} until ")
    assert ucloud.contexts_path.stat().st_mode & 0o777 == 0o600
    token = yaml.safe_load(ucloud.contexts_path.read_text())["contexts"]["ann"]["token"]

    everything = [said]
    said = ucloud("whoami")
    shown = {line.split()[0]: line.split()[1:] for line in said.out.splitlines()}
    assert (shown["user"], shown["vms"], shown["cpu"], shown["ram"]) == (
        ["ann", "of", "ucloud"],
        ["0/2"],
        ["0/4"],
        ["0GiB/8GiB"],
    )
    everything += [
        said,
        ucloud("whoami", "-o", "json"),
        ucloud("context", "list"),
        ucloud("context", "list", "-o", "json"),
    ]
    me = json.loads(everything[2].out)
    assert (me["user"], me["is_admin"], me["context"], me["account"]["quota"]["vms"]) == ("ann", False, "ann", 2)
    assert [each["name"] for each in json.loads(everything[4].out)] == ["ann"]
    said = ucloud("user", "list")
    assert [line.split()[0] for line in said.out.splitlines()] == ["NAME", "ann"], "a user sees itself"
    assert ucloud("host", "list").status == 3
    assert ucloud("user", "create", "eve").status == 3

    said = ucloud("logout")
    assert (said.status, said.out) == (0, "ann is logged out; to log in again: ucloud login --name ann\n")
    assert token not in ucloud.contexts_path.read_text()
    everything += [said, ucloud("vm", "list")]
    assert everything[-1].one_line() == "ucloud: you are logged out, type: ucloud login --name ann"
    with_old_token = Program(tmp_path / "other", UCLOUD_URL=url, UCLOUD_TOKEN=token)("vm", "list")
    assert (with_old_token.status, "UCLOUD_TOKEN" in with_old_token.one_line()) == (3, True)
    everything.append(with_old_token)
    for secret in (token, people["ann"].seed):
        assert not [each for each in everything if secret in each.out + each.err]


def test_a_token_that_was_used_already_is_followed_by_the_next(
    ucloud: Program, url: str, people: dict[str, Person], tmp_path: Path
) -> None:
    seed = seed_file(people["ann"], tmp_path)
    for _ in range(2):
        said = ucloud("login", "--name", "ann", "--url", url, "--seed-file", seed)
        assert said.status == 0, said
    assert "trying the next in" in said.err


def test_a_wrong_token_is_a_3_and_says_what_to_do(ucloud: Program, url: str, people: dict[str, Person]) -> None:
    wrong = people["ann"].wrong_token()
    said = ucloud("login", "--name", "ann", "--url", url, "--token-stdin", typed=f"{wrong}\n")
    assert said.status == 3
    assert "try the next token" in said.one_line()
    assert wrong not in said.err
    assert not ucloud.contexts_path.exists()


def test_two_logins_and_which_of_them_is_used(ucloud: Program, url: str, people: dict[str, Person]) -> None:
    for name, context in (("admin", "boss"), ("ann", "ann")):
        arguments = ["login", "--name", name, "--url", url, "--token-stdin", "--context", context]
        assert ucloud(*arguments, typed=people[name].token()).status == 0

    def user(*arguments: str) -> str:
        return str(json.loads(ucloud("whoami", "-o", "json", *arguments).out)["user"])

    assert (user(), user("--context", "boss")) == ("ann", "admin")
    assert ucloud("context", "use", "boss").status == 0
    assert user() == "admin"
    ucloud.environment["UCLOUD_CONTEXT"] = "ann"
    assert user() == "ann"
    assert ucloud("vm", "list", "--context", "bos").one_line() == (
        'ucloud: there is no context "bos"; did you mean boss? (ucloud context list shows them)'
    )


def test_a_session_that_is_over_says_what_to_type(ucloud: Program, url: str, world: World) -> None:
    content = {"current": "a", "contexts": {"a": {"url": url, "user": "ann", "token": world.log_in("ann", ttl_s=-1)}}}
    ucloud.contexts_path.parent.mkdir()
    ucloud.contexts_path.touch(0o600)
    ucloud.contexts_path.write_text(yaml.safe_dump(content))
    said = ucloud("vm", "list")
    assert (said.status, said.one_line()) == (
        3,
        "ucloud: your session is over, type: ucloud login --name ann --context a",
    )
    assert ucloud("logout").status == 0


def test_a_context_file_that_others_can_read_is_refused(ucloud: Program, url: str, people: dict[str, Person]) -> None:
    assert ucloud("login", "--name", "ann", "--url", url, "--token-stdin", typed=people["ann"].token()).status == 0
    ucloud.contexts_path.chmod(0o644)
    said = ucloud("vm", "list")
    assert said.status == 1
    assert said.one_line().endswith(f"others can read it, type: chmod 600 {ucloud.contexts_path}")


def test_a_token_is_asked_for_on_a_terminal_and_not_shown(ucloud: Program, url: str, people: dict[str, Person]) -> None:
    with Terminal(ucloud, "login", "--name", "ann", "--url", url) as terminal:
        terminal.wait_shown(b"One-time token of ann: ")
        token = people["ann"].token()
        terminal.press(f"{token}\n".encode())
        terminal.wait_shown(b"ann is logged in at")
        assert terminal.process.wait(DEADLINE_S) == 0
        assert token.encode() not in terminal.shown


def test_too_many_tries_say_when_to_try_again(ucloud: Program, url: str, people: dict[str, Person]) -> None:
    def attempt() -> Said | None:
        said = ucloud("login", "--name", "ann", "--url", url, "--token-stdin", typed=people["ann"].wrong_token())
        return said if said.status == 6 else None

    said = wait_for("a 429", attempt, 60)
    assert "; try again in " in said.one_line()

"""What users of LDAP type: passwords, their sessions, who logged in as them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.written import variables
from tests.integration.daemons import DaemonProcess
from tests.integration.slapd import Slapd
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import Program
from tests.integration.ucloud_cli.terminal import Terminal


@pytest.fixture
def url(etcd: EtcdCluster, slapd: Slapd, world: World, tmp_path: Path) -> Iterator[str]:
    """Where an API answers whose users are in LDAP."""
    slapd.add_user("ann", "ann's")
    port = free_port()
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_API_PORT": str(port),
        **variables("ldap", slapd.settings()),
    }
    api = DaemonProcess("ucloud_api", tmp_path / "api.log", environment)
    api.port = port
    api.wait_healthy()
    yield f"http://[::1]:{port}"
    assert "ann's" not in (tmp_path / "api.log").read_text()
    api.close()


def password_file(folder: Path, password: str = "ann's") -> str:
    file = folder / "password"
    file.touch(0o600)
    file.write_text(f"{password}\n")
    return str(file)


def test_a_password_of_a_file_begins_a_session(url: str, tmp_path: Path) -> None:
    ucloud = Program(tmp_path / "home", UCLOUD_URL=url)
    said = ucloud("login", "--name", "ann", "--password-file", password_file(tmp_path))
    assert said.status == 0, said
    whoami = json.loads(ucloud("whoami", "-o", "json").out)
    assert (whoami["user"], whoami["account"]["source"]) == ("ann", "ldap")
    assert "ann's" not in ucloud.contexts_path.read_text() + said.out + said.err
    wrong = ucloud("login", "--name", "ann", "--password-file", password_file(tmp_path, "wrong"))
    assert (wrong.status, "password is wrong" in wrong.one_line()) == (3, True)


def test_a_password_is_asked_for_on_a_terminal_and_not_shown(url: str, tmp_path: Path) -> None:
    ucloud = Program(tmp_path / "home", UCLOUD_URL=url)
    with Terminal(ucloud, "login", "--name", "ann", "--password") as terminal:
        terminal.wait_shown(b"Password of ann")
        terminal.press(b"ann's\n")
        terminal.wait_shown(b"One-time token of ann (empty: none)")
        terminal.press(b"\n")
        terminal.wait_shown(b"ann is logged in")
        assert b"ann's" not in terminal.shown


def test_options_that_contradict_one_another_are_refused(tmp_path: Path) -> None:
    ucloud = Program(tmp_path / "home", UCLOUD_URL="http://[::1]:1")
    assert ucloud("login", "--name", "x", "--password", "--password-file", "y").status == 2
    assert "no terminal" in ucloud("login", "--name", "x", "--password").err


def test_sessions_are_listed_and_ended_and_logins_shown(url: str, world: World, tmp_path: Path, store: Store) -> None:
    first, second = (Program(tmp_path / name, UCLOUD_URL=url) for name in ("first", "second"))
    for each in (first, second):
        assert each("login", "--name", "ann", "--password-file", password_file(tmp_path)).status == 0
    rows = [line.split() for line in first("session", "list").out.splitlines()]
    assert [(row[1], row[2], row[-1] == "yes") for row in rows[1:]] == [
        ("::1", "password", True),
        ("::1", "password", False),
    ]
    ended = first("session", "end", "--others")
    assert (ended.status, ended.out) == (0, f"{rows[2][0]} is ended\n")
    assert second("vm", "list").status == 3
    assert first("session", "end").status == 2
    assert first("session", "end", rows[2][0]).status == 4
    told = first("user", "logins", "ann").out
    assert told.count("logged in from ::1 by password") == 2
    admin = Program(tmp_path / "admin", UCLOUD_URL=url, UCLOUD_TOKEN=world.log_in("admin"))
    assert admin("session", "list", "--user", "ann").status == 0
    assert admin("user", "unlock", "ann").out == "ann may try again\n"
    assert first("user", "unlock", "ann").status == 3

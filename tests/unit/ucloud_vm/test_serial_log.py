"""Serial logs over HTTP: who may read what, and how much of it."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from ucloud_vm.serial_log import MAX_TAIL_BYTES, SerialLogs, add_route, base_url, read_or_make_secret

VM = "5f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"
OTHER = "6f8f2a3e-8a65-4c0e-9a43-0d4c2b1f7a10"


@pytest.fixture
def logs(tmp_path: Path) -> SerialLogs:
    return SerialLogs(tmp_path, b"secret", "http://[fd00::1]:9703")


@pytest.fixture
def client(logs: SerialLogs) -> FlaskClient:
    app = Flask("test")
    add_route(app, logs)
    return app.test_client()


def bearer(logs: SerialLogs, vm: str = VM) -> dict[str, str]:
    return {"Authorization": f"Bearer {logs.console(vm).token}"}


def test_the_token_opens_the_log(client: FlaskClient, logs: SerialLogs) -> None:
    logs.path(VM).write_bytes("Grüße\nlogin: ".encode())
    assert logs.console(VM).url == f"http://[fd00::1]:9703/vm/{VM}/log"
    answer = client.get(f"/vm/{VM}/log", headers=bearer(logs))
    assert (answer.status_code, answer.text) == (200, "Grüße\nlogin: ")
    assert answer.content_type == "text/plain; charset=utf-8"


def test_the_end_is_answered_even_if_it_begins_within_a_character(client: FlaskClient, logs: SerialLogs) -> None:
    logs.path(VM).write_bytes(b"x" * 100 + "ü end".encode())
    assert client.get(f"/vm/{VM}/log?tail_bytes=5", headers=bearer(logs)).text == "\ufffd end"


def test_other_tokens_open_nothing(client: FlaskClient, logs: SerialLogs) -> None:
    logs.path(VM).write_text("private")
    for headers in (
        {},
        bearer(logs, OTHER),
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer ü"},
        {"Authorization": f"Basic {logs.console(VM).token}"},
    ):
        answer = client.get(f"/vm/{VM}/log", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "private" not in answer.text
    assert SerialLogs(Path("/"), b"another host", "").console(VM).token != logs.console(VM).token


@pytest.mark.parametrize("tail", ["0", "-1", "x", "", str(MAX_TAIL_BYTES + 1), "9" * 400, "\u0661"])
def test_sizes_that_are_not_allowed_are_named(client: FlaskClient, logs: SerialLogs, tail: str) -> None:
    answer = client.get(f"/vm/{VM}/log", query_string={"tail_bytes": tail}, headers=bearer(logs))
    assert answer.status_code == 422
    assert "tail_bytes" in answer.text
    assert str(MAX_TAIL_BYTES) in answer.text


def test_a_log_that_is_not_there(client: FlaskClient, logs: SerialLogs) -> None:
    assert client.get(f"/vm/{VM}/log", headers=bearer(logs)).status_code == 404


@pytest.mark.parametrize("name", ["..", "x", VM.upper() + "0", f"..%2f{VM}"])
def test_only_uuids_are_looked_for(client: FlaskClient, logs: SerialLogs, name: str) -> None:
    assert client.get(f"/vm/{name}/log", headers=bearer(logs)).status_code == 404


def test_rotated_logs_go_with_the_log(logs: SerialLogs, tmp_path: Path) -> None:
    for name in (f"{VM}.log", f"{VM}.log.0", f"{OTHER}.log", "lock"):
        (tmp_path / name).touch()
    assert logs.vms() == {VM, OTHER}
    logs.remove(VM)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{OTHER}.log", "lock"]


def test_a_long_log_is_cut_to_its_end(logs: SerialLogs) -> None:
    # As QEMU does: one descriptor, opened for appending, that outlives the cut.
    with logs.path(VM).open("ab", buffering=0) as guest:
        guest.write(b"a" * (17 * 1024 * 1024) + b"end")
        logs.cut_long_ones()
        assert logs.path(VM).stat().st_size == MAX_TAIL_BYTES
        guest.write(b", and on")
    assert logs.path(VM).read_bytes().endswith(b"aaend, and on")


def test_the_secret_is_made_once_and_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "console.key"
    (tmp_path / "console.key.new").write_bytes(b"half")
    secret = read_or_make_secret(path)
    assert len(secret) == 32
    assert read_or_make_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("::1", "http://[::1]:9703"),
        ("192.0.2.1", "http://192.0.2.1:9703"),
        ("::", "http://h1:9703"),
        ("0.0.0.0", "http://h1:9703"),  # noqa: S104 - no binding, a name
        ("host.example", "http://host.example:9703"),
    ],
)
def test_the_url_is_one_that_others_can_reach(address: str, url: str) -> None:
    assert base_url(address, 9703, "h1") == url

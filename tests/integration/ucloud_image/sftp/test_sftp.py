"""What users do by SFTP, with the client of OpenSSH."""

import os
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from common import keys
from common.schemas.user import Account
from common.store import Put, unchanged
from devcloud.waiting import wait_for
from tests.integration.ucloud_image.sftp.conftest import StartSftp, wait_size
from tests.integration.upload_server import TIMEOUT_S, SftpServer, SftpUsers

MIB = 1024 * 1024


def _is_whole(path: Path) -> bool:
    return not path.stat().st_mode & stat.S_ISVTX


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A file of 20 MiB on the user's machine."""
    path = tmp_path / "debian.qcow2"
    path.write_bytes(os.urandom(20 * MIB))
    return path


def test_files_come_and_go(start_sftp: StartSftp, users: SftpUsers, local: Path, tmp_path: Path) -> None:
    server = start_sftp()
    done = server.run(
        "alice", f"put {local}", "ls -l", f"get debian.qcow2 {tmp_path}/back", "rename debian.qcow2 d.qcow2"
    )
    assert done.returncode == 0, done.stderr
    assert "debian.qcow2" in done.stdout
    assert str(20 * MIB) in done.stdout
    uploaded = users.folder("alice") / "d.qcow2"
    assert uploaded.read_bytes() == local.read_bytes() == (tmp_path / "back").read_bytes()
    assert _is_whole(uploaded)
    assert uploaded.stat().st_mode & 0o777 == 0o600
    assert server.run("alice", "rm d.qcow2").returncode == 0
    assert users.names("alice") == []


def test_an_upload_is_kept_when_its_client_dies_and_resumed(
    start_sftp: StartSftp, users: SftpUsers, local: Path
) -> None:
    server = start_sftp()
    uploaded = users.folder("alice") / "debian.qcow2"
    client = server.start_client("alice", "-l", "30000")  # 30 Mbit/s
    assert client.stdin is not None
    client.stdin.write(f"put {local}\n".encode())
    client.stdin.flush()
    wait_size(uploaded, 2 * MIB)
    client.kill()
    client.wait()
    before = uploaded.stat().st_size
    assert not _is_whole(uploaded)
    assert 0 < before < 20 * MIB
    done = server.run("alice", f"reput {local}")
    assert done.returncode == 0, done.stderr
    assert uploaded.read_bytes() == local.read_bytes()
    assert _is_whole(uploaded)


def test_an_upload_is_resumed_after_a_crash_of_the_server(start_sftp: StartSftp, users: SftpUsers, local: Path) -> None:
    server = start_sftp()
    uploaded = users.folder("alice") / "debian.qcow2"
    client = server.start_client("alice", "-l", "30000")
    assert client.stdin is not None
    client.stdin.write(f"put {local}\n".encode())
    client.stdin.flush()
    wait_size(uploaded, 2 * MIB)
    server.kill()
    client.wait(30)
    assert not _is_whole(uploaded)
    host_key = (server.log.parent / "state" / "host_key").read_bytes()
    server.start()
    server.wait_healthy()
    assert (server.log.parent / "state" / "host_key").read_bytes() == host_key
    done = server.run("alice", f"reput {local}")
    assert done.returncode == 0, done.stderr
    assert uploaded.read_bytes() == local.read_bytes()
    assert _is_whole(uploaded)


def test_who_goes_on_with_an_upload_takes_it_from_a_client_that_hangs(
    start_sftp: StartSftp, users: SftpUsers, local: Path
) -> None:
    server = start_sftp()
    uploaded = users.folder("alice") / "debian.qcow2"
    client = server.start_client("alice", "-l", "30000")
    assert client.stdin is not None
    client.stdin.write(f"put {local}\n".encode())
    client.stdin.flush()
    wait_size(uploaded, 2 * MIB)
    done = server.run("alice", f"reput {local}")
    assert done.returncode == 0, done.stderr
    client.stdin.close()
    client.wait(60)
    assert uploaded.read_bytes() == local.read_bytes()
    assert _is_whole(uploaded)


def test_a_full_quota_ends_an_upload_and_no_more(start_sftp: StartSftp, users: SftpUsers, tmp_path: Path) -> None:
    server = start_sftp(image_upload_quota_gib=1)
    folder = users.folder("alice")
    folder.mkdir()
    with (folder / "old.qcow2").open("wb") as old:
        old.truncate(1024 * MIB - 10 * MIB)
    local = tmp_path / "new.qcow2"
    local.write_bytes(os.urandom(20 * MIB))
    done = server.run("alice", f"put {local}")
    assert done.returncode != 0
    uploaded = folder / "new.qcow2"
    assert uploaded.stat().st_size <= 10 * MIB
    small = tmp_path / "small"
    small.write_bytes(b"x" * 100)
    assert server.run("bob", f"put {small}").returncode == 0
    assert server.run("alice", "rm old.qcow2", f"reput {local}").returncode == 0
    assert uploaded.read_bytes() == local.read_bytes()


def test_too_many_files_are_refused(start_sftp: StartSftp, tmp_path: Path) -> None:
    server = start_sftp(image_upload_files=3)
    small = tmp_path / "small"
    small.write_bytes(b"x")
    assert server.run("alice", *(f"put {small} {number}" for number in range(3))).returncode == 0
    assert server.run("alice", f"put {small} 3").returncode != 0
    assert server.run("alice", f"put {small} 2").returncode == 0


def test_only_a_users_own_key_lets_in(start_sftp: StartSftp, users: SftpUsers, tmp_path: Path) -> None:
    server = start_sftp()
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    for user, key in (("alice", stranger), ("alice", users.private_key("bob")), ("nobody", stranger)):
        done = server.run(user, "ls", key=key)
        assert done.returncode != 0
        assert "Permission denied (publickey)" in done.stderr
    assert server.run("alice", "ls").returncode == 0
    wait_for("the refusals", lambda: server.metric("ucloud_sftp_logins_total", outcome="refused") == 3, TIMEOUT_S)


def test_bytes_are_paced_if_that_is_asked_for(start_sftp: StartSftp, local: Path) -> None:
    server = start_sftp(sftp_mib_per_s=10)
    began_s = time.monotonic()
    assert server.run("alice", f"put {local}").returncode == 0
    assert time.monotonic() - began_s > 1.5  # of the 20 MiB


def test_who_only_looks_whether_somebody_listens_has_not_failed(start_sftp: StartSftp) -> None:
    server = start_sftp()
    for _ in range(40):
        with socket.create_connection(("::1", server.sftp_port)) as connection:
            assert connection.recv(8) == b"SSH-2.0-"
    assert server.run("alice", "ls").returncode == 0


def test_a_disabled_account_stays_out(start_sftp: StartSftp, users: SftpUsers) -> None:
    server = start_sftp()
    assert server.run("alice", "ls").returncode == 0
    entry = users.store.get(keys.account("alice"))
    assert entry is not None
    disabled = Account.read(entry.key, entry.value).model_copy(update={"enabled": False})
    users.store.commit([unchanged(entry.key, entry.mod_revision)], [Put(entry.key, disabled.to_json())])
    assert server.run("alice", "ls").returncode != 0


def test_nothing_but_sftp_is_behind_the_door(start_sftp: StartSftp) -> None:
    server = start_sftp()
    ssh = [*server.command("ssh", "alice"), "-p", str(server.sftp_port), "-l", "alice"]
    for extra in (["::1"], ["::1", "id"], ["-s", "::1", "netconf"], ["-W", f"[::1]:{server.port}", "::1"]):
        done = subprocess.run(
            [*ssh, *extra], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode != 0, extra
        assert done.stdout == "", extra
    forward = [*ssh, "-N", "-o", "ExitOnForwardFailure=yes", "-R", "[::1]:0:[::1]:22", "::1"]
    assert subprocess.run(forward, capture_output=True, check=False, timeout=30).returncode != 0


def test_a_user_has_so_many_connections_and_others_have_theirs(start_sftp: StartSftp, users: SftpUsers) -> None:
    server = start_sftp(sftp_connections_per_user=2)
    clients = [server.start_client("alice") for _ in range(2)]
    try:
        for client in clients:
            assert client.stdin is not None
            client.stdin.write(b"ls\n")
            client.stdin.flush()
        _wait_connections(server, 2)
        refused = server.run("alice", "ls")
        assert refused.returncode != 0
        assert server.run("bob", "ls").returncode == 0
    finally:
        for client in clients:
            client.kill()
            client.wait()
    _wait_connections(server, 0)
    assert server.run("alice", "ls").returncode == 0


def test_who_asks_for_nothing_is_let_go(start_sftp: StartSftp) -> None:
    server = start_sftp(sftp_idle_timeout_s=1)
    client = server.start_client("alice")
    try:
        _wait_connections(server, 1)
        _wait_connections(server, 0)
    finally:
        client.kill()
        client.wait()
    assert "asked for nothing" in server.log.read_text()


def test_guessing_is_slowed_down(start_sftp: StartSftp, users: SftpUsers) -> None:
    server = start_sftp()
    for _ in range(30):
        server.run("alice", "ls", key=users.private_key("bob"))
    assert server.run("alice", "ls").returncode != 0
    assert server.metric("ucloud_sftp_logins_total", outcome="too many") >= 1


def _wait_connections(server: SftpServer, number: int) -> None:
    wait_for(f"{number} connections", lambda: server.metric("ucloud_sftp_connections") == number, 20)

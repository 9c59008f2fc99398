"""Ways out of a folder, each tried by the client of OpenSSH or by requests that it would not send."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncssh
import pytest

from tests.integration.ucloud_image.sftp.conftest import StartSftp
from tests.integration.upload_server import SftpServer, SftpUsers

SECRET = "nobody's but bob's"
MIB = 1024 * 1024


@pytest.fixture
def server(start_sftp: StartSftp, users: SftpUsers, tmp_path: Path) -> SftpServer:
    """A server; bob has a file, the machine has one, and alice has one."""
    (tmp_path / "secret").write_text(SECRET)
    for user in ("alice", "bob"):
        users.folder(user).mkdir()
    (users.folder("bob") / "bobs").write_text(SECRET)
    (users.folder("alice") / "mine").write_text("alice's")
    return start_sftp()


PATHS = [
    "../bob/bobs",
    "/../bob/bobs",
    "../../../../../../../../etc/hostname",
    "/etc/hostname",
    "/proc/self/root/etc/hostname",
    "/proc/self/environ",
    "/dev/null",
    "./../bob/bobs",
    "mine/../../bob/bobs",
    "//bob/bobs",
    ".part",
    ".part/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(server: SftpServer, users: SftpUsers, tmp_path: Path, path: str) -> None:
    local = tmp_path / "local"
    local.write_text("alice was here")
    before = _tree(users.uploads)
    for command in (
        f"get {path} {tmp_path}/got",
        f"put {local} {path}",
        f"rm {path}",
        f"rename mine {path}",
        f"rename {path} mine2",
        f"ls {path}",
        f"mkdir {path}",
        f"chmod 777 {path}",
    ):
        assert server.run("alice", command).returncode != 0, command
    assert not (tmp_path / "got").exists()
    assert _tree(users.uploads) == before


def test_links_are_refused(server: SftpServer, users: SftpUsers, tmp_path: Path) -> None:
    for command in ("ln -s /etc/hostname link", f"ln -s {tmp_path}/secret link", "ln mine link", "ln -s mine link"):
        assert server.run("alice", command).returncode != 0, command
    assert users.names("alice") == ["mine"]


def test_links_that_are_there_already_are_not_followed(server: SftpServer, users: SftpUsers, tmp_path: Path) -> None:
    folder = users.folder("alice")
    (folder / "symlink").symlink_to(tmp_path / "secret")
    (folder / "dangling").symlink_to(tmp_path / "not-there-yet")
    (folder / "folder-link").symlink_to(users.folder("bob"))
    (folder / "hardlink").hardlink_to(tmp_path / "secret")
    os.mkfifo(folder / "pipe")
    (folder / "inner").mkdir()
    local = tmp_path / "local"
    local.write_text("alice was here")
    listed = server.run("alice", "ls -1")
    assert listed.stdout.split()[-1:] == ["mine"]
    for name in ("symlink", "dangling", "folder-link", "hardlink", "pipe", "inner"):
        for command in (f"get {name} {tmp_path}/got", f"put {local} {name}", f"rename {name} new", f"rm {name}"):
            assert server.run("alice", command).returncode != 0, command
    assert (tmp_path / "secret").read_text() == SECRET
    assert not (tmp_path / "not-there-yet").exists()
    assert not (tmp_path / "got").exists()


def test_a_folder_that_is_a_link_is_none(server: SftpServer, users: SftpUsers, tmp_path: Path) -> None:
    users.folder("alice").rename(tmp_path / "elsewhere")
    users.folder("alice").symlink_to(users.folder("bob"))
    assert server.run("alice", f"get bobs {tmp_path}/got").returncode != 0
    assert not (tmp_path / "got").exists()


def test_a_file_is_replaced_by_a_link_while_it_is_open(server: SftpServer, users: SftpUsers, tmp_path: Path) -> None:
    async def attack(sftp: asyncssh.SFTPClient) -> None:
        async with sftp.open("mine", "r+b") as file:
            (users.folder("alice") / "mine").unlink()
            (users.folder("alice") / "mine").symlink_to(tmp_path / "secret")
            await file.write(b"overwritten")
        with pytest.raises(asyncssh.SFTPError):
            await sftp.open("mine", "r+b")

    _ask(server, "alice", attack)
    assert (tmp_path / "secret").read_text() == SECRET


def test_requests_that_no_client_sends(server: SftpServer, users: SftpUsers, tmp_path: Path) -> None:
    target = str(tmp_path / "secret")

    async def attack(sftp: asyncssh.SFTPClient) -> None:
        attempts: list[Awaitable[object]] = [
            sftp.symlink(target, "link"),
            sftp.symlink("../bob/bobs", "link"),
            sftp.link("mine", "link"),
            sftp.link(target, "link"),
            sftp.readlink("mine"),
            sftp.mkdir("folder"),
            sftp.rmdir("/"),
            sftp.remove("/"),
            sftp.rename("/", "/x"),
            sftp.rename("mine", "."),
            sftp.posix_rename("mine", "../bob/bobs"),
            sftp.posix_rename("../bob/bobs", "mine"),
            sftp.open("/", "rb"),
            sftp.open("", "wb"),
            sftp.open("mine\0../bob/bobs", "rb"),
            sftp.open(b"\xff\xfe", "wb"),
            sftp.open("a" * 300, "wb"),
            sftp.open("-rf", "wb"),
            sftp.open(".hidden", "wb"),
            sftp.open("new\nline", "wb"),
            sftp.statvfs("/"),
            sftp.truncate("mine", 2**60),
        ]
        for number, attempt in enumerate(attempts):
            try:
                await attempt
            except asyncssh.SFTPError:
                continue
            pytest.fail(f"attempt {number} worked")
        assert await sftp.realpath("../..") == "/"
        assert (await sftp.stat("/..")).permissions == 0o40700

    _ask(server, "alice", attack)
    assert users.names("alice") == ["mine"]
    assert (users.folder("alice") / "mine").read_text() == "alice's"
    assert (users.folder("bob") / "bobs").read_text() == SECRET


def test_holes_count(start_sftp: StartSftp, users: SftpUsers) -> None:
    server = start_sftp(image_upload_quota_gib=1)

    async def attack(sftp: asyncssh.SFTPClient) -> None:
        async with sftp.open("bomb", "wb") as file:
            for offset in (1024 * MIB, 2**40, 2**62):
                with pytest.raises(asyncssh.SFTPError, match="may have 1 GiB"):
                    await file.write(b"x", offset)
            with pytest.raises(asyncssh.SFTPError, match="may have 1 GiB"):
                await file.truncate(1024 * MIB + 1)
            await file.write(b"x", 1024 * MIB - 1)

    _ask(server, "alice", attack)
    assert (users.folder("alice") / "bomb").stat().st_size == 1024 * MIB


def test_every_operation_of_the_library_with_a_path_is_answered_here() -> None:
    from ucloud_image.sftp.files import Files  # noqa: PLC0415 - beside the real server, of which it is a part

    inherited_is_fine = {
        "__init__",
        "__init_subclass__",
        "convert_attrs",
        "_to_sftpname",
        "channel",
        "connection",
        "env",
        "logger",
    }
    theirs = {
        name for name, value in vars(asyncssh.SFTPServer).items() if callable(value) or isinstance(value, property)
    }
    assert theirs - set(vars(Files)) <= inherited_is_fine


def _ask(server: SftpServer, user: str, ask: Callable[[asyncssh.SFTPClient], Awaitable[None]]) -> None:
    async def run() -> None:
        key = str(server.users.private_key(user))
        async with (
            asyncssh.connect(
                "::1",
                server.sftp_port,
                username=user,
                client_keys=[key],
                known_hosts=None,
                config=None,
                agent_path=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            await ask(sftp)

    asyncio.run(asyncio.wait_for(run(), 60))


def _tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mode, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}

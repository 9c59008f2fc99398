"""Users of LDAP upload by SFTP: by password or key, with asyncssh's client, a real slapd and a real etcd."""

import asyncio
import stat
from collections.abc import Awaitable, Callable, Iterator

import asyncssh
import pytest

from common import keys
from common.lockout import FREE_OF_NETWORK, Lockout
from common.schemas.login import LoginDoor
from common.schemas.user import Account
from common.store import Put, Store, unchanged
from devcloud.waiting import wait_for
from devcloud.written import written
from tests.integration.slapd import PEOPLE, SERVICE_PASSWORD, Slapd
from tests.integration.ucloud_image.sftp.conftest import StartSftp
from tests.integration.upload_server import TIMEOUT_S, SftpServer, SftpUsers

ANN, WRONG = "ann's own", "a wrong secret"
REFRESH_S = 1
Start = Callable[..., SftpServer]


@pytest.fixture
def start(start_sftp: StartSftp, slapd: Slapd, users: SftpUsers, store: Store) -> Iterator[Start]:
    """Starts an upload server that knows ann of LDAP. No secret is ever where it does not belong."""
    public = users.make_key("ann").with_suffix(".pub").read_text().strip()
    slapd.add_user("ann", ANN, sshPublicKey=public)
    servers: list[SftpServer] = []

    def start(**changes: object) -> SftpServer:
        settings = written(slapd.settings(**{"refresh_s": REFRESH_S, **changes}))
        servers.append(start_sftp(**{f"ldap_{name}": value for name, value in settings.items()}))
        return servers[-1]

    yield start
    kept = b"".join(entry.key.encode() + entry.value for entry in store.list("/").entries).decode()
    said = kept + "".join(server.log.read_text() for server in servers)
    for secret in (ANN, WRONG, SERVICE_PASSWORD):
        assert secret not in said


Use = Callable[[asyncssh.SSHClientConnection], Awaitable[None]]


async def _nothing(_: asyncssh.SSHClientConnection) -> None:
    pass


def _log_in(server: SftpServer, user: str, password: str, use: Use = _nothing) -> None:
    """Log in by a password, as asyncssh's client does, and `use` the connection; PermissionDenied, DisconnectError."""

    async def run() -> None:
        async with asyncssh.connect(
            "::1",
            server.sftp_port,
            username=user,
            password=password,
            client_keys=None,
            agent_path=None,
            known_hosts=None,
            config=None,
        ) as connection:
            await use(connection)

    asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))


def _is_let_in(server: SftpServer, user: str, password: str) -> bool:
    try:
        _log_in(server, user, password)
    except (asyncssh.PermissionDenied, asyncssh.DisconnectError):
        return False
    return True


def _most_tries(store: Store, user: str) -> int:
    """How many wrong tries to log in as a user are counted at any door."""
    doors = [LoginDoor.read(entry.key, entry.value) for entry in store.list(keys.login_doors(user)).entries]
    return max((door.tries for door in doors), default=0)


def test_the_password_of_ldap_lets_in_and_a_file_be_uploaded(start: Start, users: SftpUsers) -> None:
    async def upload(connection: asyncssh.SSHClientConnection) -> None:
        async with connection.start_sftp_client() as sftp, sftp.open("disk.qcow2", "wb") as file:
            await file.write(b"a disk")

    server = start()
    _log_in(server, "ann", ANN, upload)
    assert (users.folder("ann") / "disk.qcow2").read_bytes() == b"a disk"
    assert server.metric("ucloud_sftp_logins_total", outcome="ok") == 1
    assert server.run("ann", "ls").returncode == 0, "and so does the key"


@pytest.mark.parametrize(
    ("user", "password"), [("ann", WRONG), ("ann", ""), ("nobody", ANN), ("alice", ANN), ("*", ANN)]
)
def test_nothing_else_lets_in(start: Start, user: str, password: str) -> None:
    server = start()
    with pytest.raises(asyncssh.PermissionDenied):
        _log_in(server, user, password)
    wait_for("a refusal", lambda: server.metric("ucloud_sftp_logins_total", outcome="refused") == 1, TIMEOUT_S)


def test_wrong_passwords_are_counted_with_those_of_the_api(start: Start, store: Store) -> None:
    server = start()
    for _ in range(FREE_OF_NETWORK):
        assert not _is_let_in(server, "ann", WRONG)
    assert _most_tries(store, "ann") == FREE_OF_NETWORK
    assert not _is_let_in(server, "ann", ANN), "held off, from here"
    assert server.run("ann", "ls").returncode == 0, "who has the key needs no password"
    assert Lockout(store).unlock("ann") == 1
    assert _is_let_in(server, "ann", ANN)
    assert _most_tries(store, "ann") == 0


@pytest.mark.parametrize("trouble", ["gone", "frozen"])
def test_without_ldap_no_password_lets_in_and_none_is_counted(
    start: Start, slapd: Slapd, store: Store, trouble: str
) -> None:
    server = start()
    assert _is_let_in(server, "ann", ANN)
    begin, end = (slapd.stop, slapd.start) if trouble == "gone" else (slapd.pause, slapd.resume)
    begin()
    try:
        for password in (ANN, WRONG, ANN):
            assert not _is_let_in(server, "ann", password)
        assert server.run("ann", "ls").returncode == 0, "what LDAP said last counts for keys"
        assert server.run("alice", "ls").returncode == 0
    finally:
        end()
    # Not often: somebody who fails again and again is soon not listened to any more.
    wait_for("LDAP", lambda: _is_let_in(server, "ann", ANN), 30, interval_s=2)
    assert _most_tries(store, "ann") == 0


def test_where_more_than_the_password_is_asked_for_it_lets_nobody_in(start: Start) -> None:
    server = start(login="password+token")
    assert not _is_let_in(server, "ann", ANN)
    assert server.run("ann", "ls").returncode == 0


# --- who is disabled or removed while it is connected -----------------------------------------------------------------


def _disable(users: SftpUsers, user: str) -> None:
    entry = users.store.get(keys.account(user))
    assert entry is not None
    disabled = Account.read(entry.key, entry.value).model_copy(update={"enabled": False})
    users.store.commit([unchanged(entry.key, entry.mod_revision)], [Put(entry.key, disabled.to_json())])


def test_who_is_removed_in_ldap_is_let_go_with_what_it_uploads(start: Start, slapd: Slapd, users: SftpUsers) -> None:
    server = start()

    async def upload(connection: asyncssh.SSHClientConnection) -> None:
        async with connection.start_sftp_client() as sftp:
            file = await sftp.open("disk.qcow2", "wb")
            await file.write(b"half of")
            await asyncio.to_thread(slapd.remove, f"uid=ann,{PEOPLE}")
            await connection.wait_closed()

    _log_in(server, "ann", ANN, upload)
    assert "ann may not use this any more" in server.log.read_text()
    assert server.metric("ucloud_sftp_connections") == 0
    assert (users.folder("ann") / "disk.qcow2").stat().st_mode & stat.S_ISVTX, "it is not whole"
    assert server.run("ann", "ls").returncode != 0


def test_who_is_disabled_here_is_let_go_and_nobody_else(start: Start, users: SftpUsers) -> None:
    server = start()
    alice, bob = (server.start_client(user) for user in ("alice", "bob"))
    try:
        wait_for("both", lambda: server.metric("ucloud_sftp_connections") == 2, 20)
        _disable(users, "alice")
        wait_for("the end of one", lambda: server.metric("ucloud_sftp_connections") == 1, 20)
        said = server.log.read_text()
        assert "alice may not use this any more" in said
        assert "bob may not use this any more" not in said
    finally:
        for client in (alice, bob):
            client.kill()
            client.wait()


def test_who_is_connected_stays_while_ldap_is_away(start: Start, slapd: Slapd) -> None:
    server = start(outage_s=0)

    async def stay(connection: asyncssh.SSHClientConnection) -> None:
        async with connection.start_sftp_client() as sftp:
            await asyncio.to_thread(slapd.stop)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(connection.wait_closed(), 4 * REFRESH_S)
            await sftp.listdir()

    _log_in(server, "ann", ANN, stay)

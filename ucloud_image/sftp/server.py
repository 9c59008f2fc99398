"""The SSH server: who gets in, and that there is nothing behind the door but SFTP."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.stream import SSHServerStreamSession

from common.errors import StoreError, TooManyTries, Unavailable
from common.settings import SftpSettings
from common.throttle import network_of
from ucloud_image.folders import UploadFolders
from ucloud_image.sftp.accounts import Accounts
from ucloud_image.sftp.figures import SftpFigures
from ucloud_image.sftp.files import Files
from ucloud_image.sftp.limits import Connections, Pace

_log = logging.getLogger(__name__)
_USER = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,61}[a-z0-9_])?")
_MOST_USERS_TRIED = 3
_MOST_KEYS_TRIED = 20
_MOST_PASSWORDS_TRIED = 3
_MOST_CHANNELS = 4
_KEEPALIVE_S = 15


@dataclass
class Parts:
    """What all connections share. Passwords are asked for where `takes_passwords`.

    Every `look_every_s` it is looked whether those who are connected may still use the cloud.
    """

    settings: SftpSettings
    accounts: Accounts
    look_every_s: float
    folders: UploadFolders
    pace: Pace
    figures: SftpFigures
    takes_passwords: bool = False
    connections: Connections = field(init=False)

    def __post_init__(self) -> None:
        self.connections = Connections(self.settings.connections, self.settings.connections_per_user)


class Door(asyncssh.SSHServer):
    """One connection. asyncssh refuses whatever is not allowed here: shells, commands, forwarding of anything."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._connection: asyncssh.SSHServerConnection | None = None
        self._address = ""
        self._network = ""
        self._user = ""
        self._is_counted = False
        self._is_in = False
        self._known: frozenset[bytes] = frozenset()
        self._users_tried = 0
        self._keys_tried = 0
        self._passwords_tried = 0
        self._touched_at_s = time.monotonic()
        self._channels: list[SSHServerStreamSession[bytes]] = []
        self._watches: list[asyncio.Task[None]] = []

    # --- who ----------------------------------------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Somebody knocks."""
        self._connection = conn
        peer = cast(tuple[Any, ...] | None, conn.get_extra_info("peername"))
        self._address = str(peer[0]) if peer else ""
        self._network = network_of(self._address)
        self._is_counted = self._parts.connections.admit_stranger(self._network)
        if not self._is_counted:
            self._parts.figures.logins.labels("too many").inc()
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        for watch in self._watches:
            watch.cancel()
        if self._is_in:
            self._parts.connections.drop_user(self._user)
        elif self._is_counted:
            # Who only looks whether somebody listens has not failed.
            has_tried = self._users_tried > 0
            self._parts.connections.drop_stranger(self._network, failed=has_tried)
            if has_tried:
                self._parts.figures.logins.labels("refused").inc()
        self._parts.figures.connections.set(self._parts.connections.count())

    async def begin_auth(self, username: str) -> bool:
        """Look up the keys of whoever this claims to be. That there is no such user, nobody can tell from outside."""
        self._users_tried += 1
        if self._users_tried > _MOST_USERS_TRIED:
            raise asyncssh.DisconnectError(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many user names")
        self._user, self._known = username, frozenset()
        if not _USER.fullmatch(username):
            return True
        try:
            lines = await asyncio.to_thread(self._parts.accounts.public_keys, username)
        except Unavailable as error:
            _log.warning("who may log in can't be looked up: %s", error)
            raise asyncssh.DisconnectError(
                asyncssh.DISC_SERVICE_NOT_AVAILABLE, "nobody can log in now, try again later"
            ) from error
        self._known = frozenset(_public_data(line) for line in lines)
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are what one logs in by."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether a key is one of the user's; that it is the client's, asyncssh checks after this."""
        self._keys_tried += 1
        if self._keys_tried > _MOST_KEYS_TRIED:
            raise asyncssh.DisconnectError(
                asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
                "too many keys, name one: sftp -i FILE -o IdentitiesOnly=yes",
            )
        return username == self._user and key.public_data in self._known

    def password_auth_supported(self) -> bool:
        """Only where the settings say so."""
        return self._parts.takes_passwords

    async def validate_password(self, username: str, password: str) -> bool:
        """Whether it is the user's password."""
        self._passwords_tried += 1
        if self._passwords_tried > _MOST_PASSWORDS_TRIED:
            raise asyncssh.DisconnectError(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many passwords")
        # An empty one would be an anonymous bind to some directories, which succeeds.
        if not password or not _USER.fullmatch(username):
            return False
        try:
            return await asyncio.to_thread(self._parts.accounts.check_password, username, password, self._address)
        except (TooManyTries, Unavailable) as error:
            _log.warning("a password can't be checked: %s", error)
            return False

    def auth_completed(self) -> None:
        """The user is who it claims to be."""
        connection = cast(asyncssh.SSHServerConnection, self._connection)
        self._parts.connections.drop_stranger(self._network, failed=False)
        self._is_counted = False
        self._is_in = self._parts.connections.admit_user(self._user)
        if not self._is_in:
            self._parts.figures.logins.labels("too many").inc()
            most = self._parts.settings.connections_per_user
            connection.disconnect(asyncssh.DISC_TOO_MANY_CONNECTIONS, f"{self._user} has {most} connections already")
            return
        self._parts.figures.logins.labels("ok").inc()
        self._parts.figures.connections.set(self._parts.connections.count())
        _log.info("%s logged in from %s", self._user, self._network)
        loop = asyncio.get_running_loop()
        self._watches = [loop.create_task(end(connection)) for end in (self._end_when_idle, self._end_with_account)]

    # --- what ---------------------------------------------------------------------------------------------------------

    def session_requested(self) -> Any:
        """A channel for SFTP: without a handler for them, shells, commands and other subsystems are refused."""
        self._channels = [each for each in self._channels if not each.at_eof(None)]
        if not self._is_in or len(self._channels) >= _MOST_CHANNELS:
            return False

        def files(channel: SSHChannel[bytes]) -> asyncssh.SFTPServer:
            mine = cast(asyncssh.SSHServerChannel[bytes], channel)
            # All that came was worked off, and no more will come: what is closed then, nobody has asked to close.
            return Files(mine, self._parts.folders, self._parts.pace, lambda: session.at_eof(None), self._touch)

        session: SSHServerStreamSession[bytes] = SSHServerStreamSession(None, files, 3)

        self._channels.append(session)
        return session

    def _touch(self, size_bytes: int) -> None:
        self._touched_at_s = time.monotonic()
        if size_bytes:
            self._parts.figures.bytes.labels("sftp").inc(size_bytes)

    async def _end_when_idle(self, connection: asyncssh.SSHServerConnection) -> None:
        timeout_s = self._parts.settings.idle_timeout_s
        while (left_s := self._touched_at_s + timeout_s - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
        _log.info("%s asked for nothing for %d s", self._user, timeout_s)
        connection.disconnect(asyncssh.DISC_BY_APPLICATION, f"nothing was asked for {timeout_s} s")

    async def _end_with_account(self, connection: asyncssh.SSHServerConnection) -> None:
        may_stay = True
        while may_stay:
            await asyncio.sleep(self._parts.look_every_s)
            try:
                may_stay = await asyncio.to_thread(self._parts.accounts.may_use, self._user)
            except (StoreError, Unavailable) as error:
                # Nobody new is let in meanwhile; whoever is in has proved who they are.
                _log.warning("whether %s may stay can't be looked up: %s", self._user, error)
        _log.info("%s may not use this any more", self._user)
        connection.disconnect(asyncssh.DISC_BY_APPLICATION, "the account was disabled or removed")


def _public_data(line: str) -> bytes:
    """The key of a line, in the wire's form; empty, which is no key's, for one that can't be read."""
    try:
        return asyncssh.import_public_key(line).public_data
    except asyncssh.KeyImportError:
        return b""


async def serve(parts: Parts, host_key: asyncssh.SSHKey, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    """Listen until `stop`, calling `ready` once that can be done; OSError when it can't."""
    # asyncssh tells of each connection, and of each failure to log in with the name that was tried.
    asyncssh.set_log_level(logging.WARNING)
    server = await asyncssh.listen(
        [str(address) for address in parts.settings.address],
        parts.settings.port,
        server_factory=lambda: Door(parts),
        server_host_keys=[host_key],
        server_version="ucloud",
        login_timeout=parts.settings.login_timeout_s,
        keepalive_interval=_KEEPALIVE_S,
        encoding=None,
        allow_pty=False,
        allow_scp=False,
        agent_forwarding=False,
        x11_forwarding=False,
        kbdint_auth=False,
        host_based_auth=False,
        gss_host=None,
        compression_algs=["none"],
        rekey_bytes="4G",
    )
    ready()
    await stop.wait()
    server.close()

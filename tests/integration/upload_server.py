"""A real upload server, its users with keys in a real etcd, and the sftp client of OpenSSH."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from common import keys
from common.schemas.ssh_key import SshKey, parse_ssh_key
from common.schemas.user import Account
from common.store import Put, Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from tests.integration.daemons import DaemonProcess

TIMEOUT_S = 60.0


class SftpUsers:
    """Users, each with an account, a key and a folder."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.uploads = directory / "www"
        self.uploads.mkdir()
        self._keys = directory / "keys"
        self._keys.mkdir()

    def add(self, user: str, enabled: bool = True) -> Path:
        """A user; returns the file of the private key."""
        private = self.make_key(user)
        now = datetime.now(UTC)
        account = Account(name=user, realm="ucloud", enabled=enabled, created_at=now)
        line = parse_ssh_key(private.with_suffix(".pub").read_text())
        key = SshKey(owner=user, name="laptop", key=line, created_at=now)
        puts = [Put(keys.account(user), account.to_json()), Put(keys.ssh_key(user, "laptop"), key.to_json())]
        self.store.commit([absent(put.key) for put in puts], puts)
        return private

    def make_key(self, user: str) -> Path:
        """A key pair for somebody; returns the file of the private key, beside which the public one is."""
        private = self._keys / user
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", private], check=True)
        return private

    def private_key(self, user: str) -> Path:
        """The file of a user's private key."""
        return self._keys / user

    def names(self, user: str) -> list[str]:
        """What is in a user's folder."""
        return sorted(path.name for path in self.folder(user).iterdir())

    def folder(self, user: str) -> Path:
        """Where the files of a user are."""
        return self.uploads / user


class SftpServer(DaemonProcess):
    """A ucloud-image-sftp, and who uses it."""

    def __init__(self, users: SftpUsers, directory: Path, etcd: EtcdCluster, **settings: object) -> None:
        self.users = users
        self.sftp_port = free_port()
        environment = {
            "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
            "UCLOUD_IMAGE_UPLOAD_DIRECTORY": str(users.uploads),
            "UCLOUD_SFTP_ADDRESS": "::1",
            "UCLOUD_SFTP_PORT": str(self.sftp_port),
            "UCLOUD_SFTP_HOST_KEY_FILE": str(directory / "state" / "host_key"),
            **{f"UCLOUD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        super().__init__("ucloud_image.sftp", directory / "sftp.log", environment)
        self._known_hosts = directory / "known_hosts"

    def command(self, program: str, user: str, key: Path | None = None) -> list[str]:
        """The client's, with nothing of this machine's own configuration."""
        options = {
            "IdentitiesOnly": "yes",
            "IdentityFile": str(key or self.users.private_key(user)),
            "UserKnownHostsFile": str(self._known_hosts),
            "StrictHostKeyChecking": "accept-new",
            "PreferredAuthentications": "publickey",
            "LogLevel": "ERROR",
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return [program, "-F", "none", *flags]

    def run(self, user: str, *batch: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Commands of sftp, up to the first that fails."""
        command = [*self.command("sftp", user, key), "-b", "-", "-P", str(self.sftp_port), f"{user}@[::1]"]
        return subprocess.run(
            command, input="\n".join(batch) + "\n", capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )

    def start_client(self, user: str, *options: str) -> subprocess.Popen[bytes]:
        """An sftp that reads its commands from a pipe."""
        command = [*self.command("sftp", user), *options, "-P", str(self.sftp_port), f"{user}@[::1]"]
        null = subprocess.DEVNULL
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=null, stderr=null, env={**os.environ, "TERM": ""}
        )

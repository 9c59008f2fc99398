"""MB a second that users upload and download by SFTP, beside the internal-sftp of OpenSSH, both asked by its client.

Both servers run as nobody, with their files in folders of one file system, and answer in turn. The sshd is one of its
own, on loopback, with its own keys; the machine's is not touched (tools/sshd-download).
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import memory
from bench.process import end_cleanly, wait_answering
from bench.report import Row, show
from common import keys
from common.schemas.ssh_key import SshKey, parse_ssh_key
from common.schemas.user import Account
from common.store import EtcdOptions, Put, Store, absent
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from devcloud.waiting import wait_for

SIZE_MB = 512
ROUNDS = 5
CIPHERS = ("chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com")
_USER = "nobody"
_NOBODY = 65534
_READY_S = 60.0
_MB = 1_000_000
_PROJECT = Path(__file__).resolve().parent.parent
_SSHD = _PROJECT / ".cache/sshd"


@dataclass(frozen=True)
class Server:
    """One of the two."""

    name: str
    port: int
    folder: str
    """Where the client's files go: a prefix of their names."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=SIZE_MB)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    end_cleanly()
    subprocess.run([_PROJECT / "tools/sshd-download"], check=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o755)
        key = directory / "key"
        _make_key(key)
        local = directory / "local"
        _fill(local, arguments.size_mb)
        ours, pid = stack.enter_context(_ucloud(directory, key))
        servers = (stack.enter_context(_openssh(directory, key)), ours)
        figures: dict[tuple[str, str, str], list[float]] = {}
        for round_number in range(arguments.rounds + 1):  # the first one warms up
            for cipher in CIPHERS:
                for server in servers:
                    for way, mb_per_s in _measure(server, cipher, key, local, arguments.size_mb).items():
                        if round_number:
                            figures.setdefault((way, cipher, server.name), []).append(mb_per_s)
        rss_mb = memory.usage(pid).rss_mb
    _show(figures, rss_mb)


def _show(figures: dict[tuple[str, str, str], list[float]], rss_mb: float) -> None:
    rows = []
    for way in ("put", "get"):
        for cipher in CIPHERS:
            theirs, ours = (figures[way, cipher, name] for name in ("internal-sftp", "ucloud-image-sftp"))
            short = cipher.partition("@")[0]
            rows += [Row(f"{way}, {short}: internal-sftp", theirs), Row(f"{way}, {short}: ucloud", ours, theirs)]
    show("SFTP", "MB/s", rows, notes=(f"ucloud-image-sftp has {rss_mb:.0f} MB afterwards",))


def _measure(server: Server, cipher: str, key: Path, local: Path, size_mb: int) -> dict[str, float]:
    remote = f"{server.folder}f"
    back = local.with_name("back")
    ways = {"put": f"put {local} {remote}", "get": f"get {remote} {back}"}
    took = {way: _timed(server, cipher, key, command) for way, command in ways.items()}
    if back.stat().st_size != local.stat().st_size:
        sys.exit(f"{server.name} did not give back what it got")
    back.unlink()
    _timed(server, cipher, key, f"rm {remote}")
    return {way: size_mb / seconds for way, seconds in took.items()}


def _timed(server: Server, cipher: str, key: Path, command: str) -> float:
    """Seconds, with the login."""
    options = (
        f"IdentityFile={key}", "IdentitiesOnly=yes", f"Ciphers={cipher}", "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null", "LogLevel=ERROR",
    )  # fmt: skip
    flags = [part for option in options for part in ("-o", option)]
    sftp = ["sftp", "-F", "none", "-q", *flags, "-b", "-", "-P", str(server.port), f"{_USER}@[::1]"]
    began_s = time.monotonic()
    subprocess.run(sftp, input=command, text=True, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began_s


def _make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def _fill(path: Path, size_mb: int) -> None:
    with path.open("wb") as file:
        for _ in range(size_mb):
            file.write(os.urandom(_MB))


_DROP = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    f"--reuid={_NOBODY}",
    f"--regid={_NOBODY}",
    "--clear-groups",
    "--no-new-privs",
)


@contextmanager
def _running(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[int]:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _own(path: Path) -> Path:
    path.mkdir()
    shutil.chown(path, _NOBODY, _NOBODY)
    return path


@contextmanager
def _ucloud(directory: Path, key: Path) -> Iterator[tuple[Server, int]]:
    state, uploads = _own(directory / "state"), _own(directory / "www")
    port, health_port, log = free_port(), free_port(), directory / "ucloud.log"
    with EtcdCluster(directory) as etcd:
        store = Store(EtcdOptions(etcd.endpoints))
        now = datetime.now(UTC)
        public = SshKey(owner=_USER, name="key", key=parse_ssh_key(key.with_suffix(".pub").read_text()), created_at=now)
        account = Account(name=_USER, realm="bench", created_at=now)
        puts = [Put(keys.account(_USER), account.to_json()), Put(keys.ssh_key(_USER, "key"), public.to_json())]
        store.commit([absent(put.key) for put in puts], puts)
        store.close()
        environment = {
            "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
            "UCLOUD_HEALTH_PORT": str(health_port),
            "UCLOUD_IMAGE_UPLOAD_DIRECTORY": str(uploads),
            "UCLOUD_SFTP_ADDRESS": "::1",
            "UCLOUD_SFTP_PORT": str(port),
            "UCLOUD_SFTP_HOST_KEY_FILE": str(state / "host_key"),
        }
        with _running([*_DROP, sys.executable, "-m", "ucloud_image.sftp"], log, environment) as pid:
            wait_answering(f"http://[::1]:{health_port}/healthz", log, _READY_S)
            yield Server("ucloud-image-sftp", port, ""), pid


@contextmanager
def _openssh(directory: Path, key: Path) -> Iterator[Server]:
    home, port = _own(directory / "sshd"), free_port()
    host_key, files = home / "host_key", _own(directory / "files")
    _make_key(host_key)
    shutil.copy(key.with_suffix(".pub"), home / "authorized_keys")
    for path in home.iterdir():
        shutil.chown(path, _NOBODY, _NOBODY)
    settings = {
        "Port": port, "ListenAddress": "::1", "HostKey": host_key, "AuthorizedKeysFile": home / "authorized_keys",
        "StrictModes": "no", "PasswordAuthentication": "no", "PidFile": "none", "UsePAM": "no",
        "Subsystem": "sftp internal-sftp", "ForceCommand": "internal-sftp",
    }  # fmt: skip
    configuration = home / "sshd_config"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    log, shadow = directory / "sshd.log", directory / "shadow"
    libraries = ":".join(str(_SSHD / folder / "x86_64-linux-gnu") for folder in ("usr/lib", "lib"))
    # An sshd that is not root can't read /etc/shadow, and takes all accounts for locked: in a mount namespace of its
    # own, it finds another one there.
    shadow.write_text(f"{_USER}:*:20000:0:99999:7:::\n", encoding="ascii")
    private = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/shadow && exec "$@"', str(shadow))
    command = (*private, *_DROP, str(_SSHD / "usr/sbin/sshd"), "-D", "-e", "-f", str(configuration))
    with _running(command, log, {"LD_LIBRARY_PATH": libraries}):
        wait_for(f"sshd, see {log}", lambda: "listening" in log.read_text(), _READY_S)
        yield Server("internal-sftp", port, f"{files}/")


if __name__ == "__main__":
    main()

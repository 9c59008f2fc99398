"""etcd behind TLS, with users: certificates and passwords are used, wrong ones are refused with a clear word."""

import base64
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from common.errors import ConfigurationError, Refused, UcloudError, Unavailable
from common.settings import EtcdSettings
from common.store import EtcdOptions, Put, Store, absent
from devcloud.etcd import EtcdCluster, find_binary
from devcloud.waiting import wait_for


class SecureEtcd:
    """An etcd that speaks TLS only and, once `protect` was called, asks for a user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._member = EtcdCluster(folder).members[0]
        self.endpoint = self._member.endpoint
        self._url = f"https://{self.endpoint}"
        self._ca = str(folder / "ca.pem")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it with the data of its last life; returns when it answers."""
        arguments = [
            *(str(find_binary()), "--data-dir", str(self.folder / "data"), "--log-level", "error"),
            *("--listen-client-urls", self._url, "--advertise-client-urls", self._url),
            *("--listen-peer-urls", self._member.peer_url),
            *("--cert-file", self._ca, "--key-file", str(self.folder / "key.pem")),
        ]
        self._process = subprocess.Popen(arguments)
        wait_for("etcd", self._is_up, 20)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()

    def protect(self) -> None:
        """Let user h1 read and write /mine/, and nobody anything else."""
        self._post("user/add", {"name": "root", "password": "root-secret"})
        self._post("user/add", {"name": "h1", "password": "secret-of-h1"})
        self._post("role/add", {"name": "h1"})
        start, end = (base64.b64encode(key).decode() for key in (b"/mine/", b"/mine0"))
        permission = {"permType": "READWRITE", "key": start, "range_end": end}
        self._post("role/grant", {"name": "h1", "perm": permission})
        self._post("user/grant", {"user": "h1", "role": "h1"})
        self._post("user/grant", {"user": "root", "role": "root"})
        self._post("enable", {})

    def settings(self, password: str = "secret-of-h1") -> EtcdSettings:
        """The settings of a daemon that comes as user h1."""
        password_file = self.folder / "password"
        password_file.write_text(password + "\n")
        return EtcdSettings(endpoints=(self.endpoint,), ca_file=self._ca, user="h1", password_file=str(password_file))

    def _post(self, path: str, body: dict[str, object]) -> None:
        answer = requests.post(f"{self._url}/v3/auth/{path}", json=body, verify=self._ca, timeout=20)
        assert answer.ok, answer.text

    def _is_up(self) -> bool:
        try:
            return requests.get(f"{self._url}/health", verify=self._ca, timeout=1).ok
        except requests.RequestException:
            return False


def make_certificate(folder: Path) -> None:
    """A certificate for ::1 that is its own authority."""
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=etcd", "-addext", "subjectAltName=IP:::1"]
    files = ["-keyout", "key.pem", "-out", "ca.pem"]
    subprocess.run([*request, *names, *files], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def secure_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureEtcd]:
    """An etcd behind TLS that asks for a user."""
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    secure = SecureEtcd(folder)
    try:
        secure.start()
        secure.protect()
        yield secure
    finally:
        secure.kill()


def test_a_user_reads_writes_and_watches_what_is_its_own(secure_etcd: SecureEtcd) -> None:
    store = Store(EtcdOptions.from_settings(secure_etcd.settings()))
    revision = store.commit([absent("/mine/a")], [Put("/mine/a", b"1")])
    watch = store.watch("/mine/", revision, threading.Event())
    assert next(change for news in watch for change in news.changes).value == b"1"
    with pytest.raises(Refused, match="permission denied"):
        store.get("/yours/a")
    with pytest.raises(UcloudError, match="permission denied"):
        next(store.watch("/yours/", revision, threading.Event()))
    store.close()


def test_a_watch_outlives_the_token_that_it_began_with(secure_etcd: SecureEtcd) -> None:
    watcher, writer = (Store(EtcdOptions.from_settings(secure_etcd.settings())) for _ in range(2))
    revision = writer.commit([absent("/mine/before")], [Put("/mine/before", b"")])
    changes = (change for news in watcher.watch("/mine/", revision, threading.Event()) for change in news.changes)
    assert next(changes).key == "/mine/before"
    # Tokens live in a member's memory.
    secure_etcd.kill()
    secure_etcd.start()
    writer.commit([absent("/mine/after")], [Put("/mine/after", b"")])
    assert next(changes).key == "/mine/after"
    watcher.close()
    writer.close()


def test_a_wrong_password_is_refused_and_not_repeated_in_the_error(secure_etcd: SecureEtcd) -> None:
    store = Store(EtcdOptions.from_settings(secure_etcd.settings(password="not-the-secret")))
    with pytest.raises(Refused) as error:
        store.get("/mine/a")
    assert "not-the-secret" not in str(error.value)
    store.close()


def test_passwords_stay_out_of_what_is_printed(secure_etcd: SecureEtcd) -> None:
    assert "secret-of-h1" not in repr(EtcdOptions.from_settings(secure_etcd.settings()))


def test_a_server_with_another_authority_is_not_spoken_to(secure_etcd: SecureEtcd, tmp_path: Path) -> None:
    make_certificate(tmp_path)
    options = EtcdOptions((secure_etcd.endpoint,), ca_file=str(tmp_path / "ca.pem"), timeout_s=2)
    store = Store(options)
    with pytest.raises(Unavailable):
        store.get("/mine/a")
    store.close()


def test_a_missing_file_is_named(secure_etcd: SecureEtcd) -> None:
    with pytest.raises(ConfigurationError, match=r"etcd.ca_file: /none/ca.pem"):
        Store(EtcdOptions((secure_etcd.endpoint,), ca_file="/none/ca.pem"))

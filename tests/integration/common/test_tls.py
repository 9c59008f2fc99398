"""etcd behind TLS, with users: certificates and passwords are used, wrong ones are refused with a clear word."""

import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from common.errors import ConfigurationError, Refused, UcloudError, Unavailable
from common.settings import EtcdSettings
from common.store import EtcdOptions, Put, Store, absent
from devcloud.etcd import EtcdCluster, find_binary
from devcloud.waiting import wait_for


@dataclass(frozen=True)
class SecureEtcd:
    """An etcd that speaks TLS only and asks for a user."""

    endpoint: str
    folder: Path

    def settings(self, user: str = "h1", password: str = "secret-of-h1") -> EtcdSettings:
        password_file = self.folder / f"{user}.password"
        password_file.write_text(password + "\n")
        return EtcdSettings(
            endpoints=(self.endpoint,),
            ca_file=str(self.folder / "ca.pem"),
            user=user,
            password_file=str(password_file),
        )


def _certificate(folder: Path) -> None:
    """A certificate for ::1 that is its own authority."""
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-days", "2", "-subj", "/CN=etcd", "-addext", "subjectAltName=IP:::1"]
    files = ["-keyout", "key.pem", "-out", "ca.pem"]
    subprocess.run([*request, *names, *files], cwd=folder, check=True, capture_output=True)


def _post(url: str, ca: Path, path: str, body: dict[str, object]) -> None:
    answer = requests.post(f"{url}/v3/auth/{path}", json=body, verify=str(ca), timeout=5)
    assert answer.ok, answer.text


@pytest.fixture(scope="module")
def secure_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureEtcd]:
    folder = tmp_path_factory.mktemp("tls")
    _certificate(folder)
    member = EtcdCluster(folder).members[0]
    url = f"https://{member.endpoint}"
    arguments = [
        *(str(find_binary()), "--data-dir", str(folder / "data"), "--listen-peer-urls", member.peer_url),
        *("--listen-client-urls", url, "--advertise-client-urls", url, "--cert-file", str(folder / "ca.pem")),
        *("--key-file", str(folder / "key.pem"), "--log-level", "error"),
    ]
    with subprocess.Popen(arguments) as process:
        try:
            ca = folder / "ca.pem"
            wait_for("etcd", lambda: _is_up(url, ca), 20)
            _post(url, ca, "user/add", {"name": "root", "password": "root-secret"})
            _post(url, ca, "user/add", {"name": "h1", "password": "secret-of-h1"})
            _post(url, ca, "role/add", {"name": "h1"})
            # readwrite on /mine/ (base64) up to its end
            permission = {"permType": "READWRITE", "key": "L21pbmUv", "range_end": "L21pbmUw"}
            _post(url, ca, "role/grant", {"name": "h1", "perm": permission})
            _post(url, ca, "user/grant", {"user": "h1", "role": "h1"})
            _post(url, ca, "user/grant", {"user": "root", "role": "root"})
            _post(url, ca, "enable", {})
            yield SecureEtcd(member.endpoint, folder)
        finally:
            process.kill()


def _is_up(url: str, ca: Path) -> bool:
    try:
        return requests.get(f"{url}/health", verify=str(ca), timeout=1).ok
    except requests.RequestException:
        return False


def test_a_user_reads_writes_and_watches_what_is_its_own(secure_etcd: SecureEtcd) -> None:
    store = Store(EtcdOptions.from_settings(secure_etcd.settings()))
    revision = store.commit([absent("/mine/a")], [Put("/mine/a", b"1")])
    batches = store.watch("/mine/", revision, threading.Event())
    assert next(change for batch in batches for change in batch).value == b"1"
    with pytest.raises(Refused, match="permission denied"):
        store.get("/yours/a")
    with pytest.raises(UcloudError, match="permission denied"):
        next(store.watch("/yours/", revision, threading.Event()))
    store.close()


def test_a_wrong_password_is_refused_and_not_repeated_in_the_error(secure_etcd: SecureEtcd) -> None:
    store = Store(EtcdOptions.from_settings(secure_etcd.settings(password="not-the-secret")))
    with pytest.raises(Refused) as error:
        store.get("/mine/a")
    assert "not-the-secret" not in str(error.value)
    store.close()


def test_passwords_stay_out_of_what_is_printed(secure_etcd: SecureEtcd) -> None:
    assert "secret-of-h1" not in repr(EtcdOptions.from_settings(secure_etcd.settings()))


def test_a_server_with_another_authority_is_not_spoken_to(secure_etcd: SecureEtcd, tmp_path: Path) -> None:
    _certificate(tmp_path)
    options = EtcdOptions((secure_etcd.endpoint,), ca_file=str(tmp_path / "ca.pem"), timeout_s=2)
    store = Store(options)
    with pytest.raises(Unavailable):
        store.get("/mine/a")
    store.close()


def test_a_missing_file_is_named(secure_etcd: SecureEtcd) -> None:
    with pytest.raises(ConfigurationError, match=r"etcd.ca_file: /none/ca.pem"):
        Store(EtcdOptions((secure_etcd.endpoint,), ca_file="/none/ca.pem"))

"""Users made with their one-time tokens, by an admin of the OTP server: added, given a new seed, removed."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pyotp
import pytest

from common import keys
from common.store import Store
from devcloud.etcd import EtcdCluster
from devcloud.ports import free_port
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.world import World
from tests.integration.ucloud_cli.conftest import Program, Said
from tests.integration.ucloud_cli.terminal import Terminal
from tests.integration.ucloud_otp_server import OtpServer, Person


@pytest.fixture
def otp(etcd: EtcdCluster, store: Store, tmp_path: Path) -> Iterator[OtpServer]:
    server = OtpServer(etcd.endpoints, tmp_path / "otp.log")
    server.daemon.wait_healthy()
    yield server
    server.daemon.close()


@pytest.fixture
def url(etcd: EtcdCluster, otp: OtpServer, store: Store, tmp_path: Path) -> Iterator[str]:
    """Where an API answers that asks that ucloud-otp."""
    seed = tmp_path / "api.seed"
    seed.write_text(Person(store, "ucloud-api", "ungleich-auth").seed)
    port = free_port()
    environment = {
        "UCLOUD_ETCD_ENDPOINTS": ",".join(etcd.endpoints),
        "UCLOUD_API_PORT": str(port),
        "UCLOUD_OTP_URL": f"{otp.url}verify/",
        "UCLOUD_OTP_SEED_FILE": str(seed),
    }
    api = DaemonProcess("ucloud_api", tmp_path / "api.log", environment)
    api.port = port
    api.wait_healthy()
    yield f"http://[::1]:{port}"
    api.close()


@pytest.fixture
def admin(url: str, otp: OtpServer, world: World, store: Store, tmp_path: Path) -> Program:
    """The program of an admin of the cloud, with seeds of admins of the OTP server: each does one thing in 30 s."""
    for name in ("root", "root2", "root3", "root4"):
        _keep(tmp_path / f"{name}.seed", Person(store, name, "ungleich-admin").seed)
    return Program(
        tmp_path / "home", UCLOUD_URL=url, UCLOUD_TOKEN=world.log_in("admin"), UNGLEICHOTPSERVER=f"{otp.url}verify/"
    )


def _keep(file: Path, seed: str) -> None:
    file.touch(0o600)
    file.write_text(seed + "\n")


def ask_as(name: str, folder: Path) -> tuple[str, ...]:
    return ("--otp-name", name, "--otp-seed-file", str(folder / f"{name}.seed"))


def seed_of(uri: str) -> str:
    """The seed in an otpauth URI, which is as authenticators read it."""
    parts = urlsplit(uri.strip())
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/ucloud ::1:ann"
    (seed,) = parse_qs(parts.query)["secret"]
    return seed


def log_in(folder: Path, url: str, token: str) -> Said:
    program = Program(folder / "ann", UCLOUD_URL=url)
    return program("login", "--name", "ann", "--token-stdin", typed=f"{token}\n")


def test_a_user_is_enrolled_given_a_new_seed_and_removed(
    admin: Program, url: str, tmp_path: Path, store: Store
) -> None:
    added = admin("user", "add", "ann", "--vms", "3", *ask_as("root", tmp_path))
    assert (added.status, added.err) == (0, "")
    first = seed_of(added.out)
    assert log_in(tmp_path, url, pyotp.TOTP(first).now()).status == 0
    assert "0/3" in admin("user", "list").out

    file = tmp_path / "ann.seed"
    seeded = admin("user", "seed", "ann", "--seed-out", str(file), *ask_as("root2", tmp_path))
    assert (seeded.status, seeded.out) == (0, "")
    assert file.stat().st_mode & 0o777 == 0o600
    second = file.read_text().strip()
    assert second not in seeded.err
    assert log_in(tmp_path, url, pyotp.TOTP(first).at(0, 0)).status == 3
    assert log_in(tmp_path, url, pyotp.TOTP(second).now()).status == 0
    again = admin("user", "seed", "ann", "--seed-out", str(file), *ask_as("root3", tmp_path))
    assert (again.status, file.read_text().strip()) == (2, second), "a file that is there is left as it is"

    removed = admin("user", "remove", "ann", *ask_as("root3", tmp_path))
    assert (removed.status, removed.out) == (0, "ann is removed\n")
    assert store.get(keys.otp("ucloud", "ann")) is None
    assert store.get(keys.account("ann")) is None
    assert log_in(tmp_path, url, pyotp.TOTP(second).now()).status == 3


def test_on_a_terminal_the_seed_is_a_code_to_scan(admin: Program, tmp_path: Path) -> None:
    with Terminal(admin, "user", "add", "ann", *ask_as("root", tmp_path)) as terminal:
        terminal.wait_shown(b"otpauth://totp/")
        shown = terminal.shown.decode()
    blocks = [line for line in shown.splitlines() if re.fullmatch(r"[\u2580\u2584\u2588 ]{20,}", line)]
    assert len(blocks) > 10
    assert "not shown again" in shown


def test_without_the_otp_servers_trust_nothing_is_made_there(
    admin: Program, tmp_path: Path, store: Store, world: World
) -> None:
    without = admin("user", "add", "ann")
    assert (without.status, "--otp-seed-file" in without.err) == (2, True)
    readable = tmp_path / "readable.seed"
    readable.write_text("PZKBPTHDGSLZBKIZ")
    readable.chmod(0o644)
    assert "chmod 600" in admin("user", "seed", "ann", "--otp-seed-file", str(readable)).err
    _keep(tmp_path / "user.seed", Person(store, "user", "ucloud").seed)
    denied = admin("user", "seed", "ann", "--otp-realm", "ungleich-auth", *ask_as("root", tmp_path))
    assert denied.status == 3
    assert store.get(keys.otp("ucloud", "ann")) is None
    away = admin("user", "seed", "ann", "--otp-url", "http://[::1]:1/", *ask_as("root2", tmp_path))
    assert (away.status, "does not answer" in away.err) == (6, True)
    assert not any("PZKBPTHDGSLZBKIZ" in each.err + each.out for each in (without, denied, away))


def test_who_has_tokens_already_keeps_them(admin: Program, tmp_path: Path, store: Store) -> None:
    ann = Person(store, "ann", "ucloud")
    said = admin("user", "add", "ann", *ask_as("root", tmp_path))
    assert said.status == 5
    assert "ucloud user seed" in said.err
    entry = store.get(keys.otp("ucloud", "ann"))
    assert entry
    assert ann.seed.encode() in entry.value

"""What is taken for a public ssh key: what ssh-keygen makes, and nothing that is damaged, weak or secret."""

import base64
import struct
from pathlib import Path

import pytest

from common.errors import InvalidValue
from common.schemas.ssh_key import MOST_KEY_CHARACTERS, fingerprint, parse_ssh_key

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBHK2rZrmqOJN6CSyOL5bGsy8GTe8bQyhzYk9mQ9Ozdq ann@laptop"


def blob(*strings: bytes) -> str:
    return base64.b64encode(b"".join(struct.pack(">I", len(each)) + each for each in strings)).decode()


def point(curve: str, value: bytes) -> str:
    return f"ecdsa-sha2-nistp256 {blob(b'ecdsa-sha2-nistp256', curve.encode(), value)}"


def rsa(bits: int, exponent: int = 65537) -> str:
    modulus = (1 << bits - 1) | 1
    raw = b"\0" + modulus.to_bytes(bits // 8, "big")
    return f"ssh-rsa {blob(b'ssh-rsa', exponent.to_bytes(3, 'big'), raw)}"


MADE = Path(__file__).with_name("ssh_keys.txt").read_text(encoding="utf-8").splitlines()
"""Keys that ssh-keygen made, each followed by the fingerprint that it shows."""


@pytest.mark.parametrize(("line", "shown"), list(zip(MADE[::2], MADE[1::2], strict=True)))
def test_what_ssh_keygen_makes_is_taken_and_known_by_its_fingerprint(line: str, shown: str) -> None:
    assert parse_ssh_key(f"{line}\n") == line
    assert fingerprint(line) == shown


@pytest.mark.parametrize(
    "line",
    [
        ED25519,
        ED25519.rsplit(" ", 1)[0],
        f"sk-ssh-ed25519@openssh.com {blob(b'sk-ssh-ed25519@openssh.com', b'k' * 32, b'ssh:')}",
        "sk-ecdsa-sha2-nistp256@openssh.com "
        + blob(b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", b"\x04" + b"k" * 64, b"ssh:"),
        rsa(2048),
        rsa(16384),
    ],
)
def test_good_keys(line: str) -> None:
    assert parse_ssh_key(f"  {line}\r\n") == line


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "no type and key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "private key"),
        ("ssh-ed25519", "no type and key"),
        ("ssh-ed25519 !!!!", "base64"),
        ("ssh-ed25519 AAAA", "cut off"),
        (ED25519[:40], "cut off|base64"),
        (ED25519.replace("ssh-ed25519", "ssh-rsa", 1), "not what its type says"),
        (f"ssh-dss {blob(b'ssh-dss', b'p', b'q', b'g', b'y')}", "not allowed"),
        (f"ssh-ed25519 {blob(b'ssh-ed25519', b'k' * 31)}", "damaged"),
        (f"ssh-ed25519 {blob(b'ssh-ed25519', b'k' * 32, b'more')}", "damaged"),
        (point("nistp384", b"\x04" + b"k" * 64), "damaged"),
        (point("nistp256", b"\x02" + b"k" * 32), "damaged"),
        (f"sk-ssh-ed25519@openssh.com {blob(b'sk-ssh-ed25519@openssh.com', b'k' * 32)}", "damaged"),
        (rsa(1024), "too weak: an RSA key of 1024 bits"),
        (rsa(2048, exponent=1), "damaged"),
        (f'command="rm -rf /" {ED25519}', "base64"),
        (f"{ED25519}\n{ED25519}", "one line"),
        (f"{ED25519}\x00", "one line"),
        (f"{ED25519} {'x' * MOST_KEY_CHARACTERS}", "too long"),
    ],
)
def test_bad_keys(line: str, problem: str) -> None:
    with pytest.raises(InvalidValue, match=problem) as refused:
        parse_ssh_key(line)
    assert "AAAA" not in str(refused.value)

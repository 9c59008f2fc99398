"""A public ssh key of a user: what is taken for one. Sources: RFC 4253 (6.6), 5656 (3.1), 8709; PROTOCOL.u2f."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated

from pydantic import StringConstraints

from common.errors import InvalidValue
from common.schemas.owner import UserName
from common.schemas.record import Record

SshKeyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$", max_length=63)]

MOST_SSH_KEYS = 32
"""Of a user."""
MOST_KEY_CHARACTERS = 4096
MIN_RSA_BITS = 2048
ALLOWED = (
    "A line TYPE BASE64 COMMENT as in a file id_*.pub, at most 4096 characters: ssh-ed25519, ecdsa-sha2-nistp256, "
    "-nistp384 or -nistp521, ssh-rsa of at least 2048 bits, or one of a security key (sk-)."
)
_ED25519_BYTES = 32
_CURVES = {"nistp256": 32, "nistp384": 48, "nistp521": 66}
"""By name, how many octets a coordinate has."""
_SECURITY_KEYS = {
    "sk-ssh-ed25519@openssh.com": "",
    "sk-ecdsa-sha2-nistp256@openssh.com": "nistp256",
}
"""By type, the curve; empty: Ed25519."""


class SshKey(Record):
    """`/v1/ssh-key/<owner>/<name>`, written by ucloud_api."""

    owner: UserName
    name: SshKeyName
    key: str
    """As `parse_ssh_key` gives it: a line of an authorized_keys file."""
    created_at: datetime

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` shows it."""
        return fingerprint(self.key)


def fingerprint(line: str) -> str:
    """The fingerprint of a key that `parse_ssh_key` gave."""
    digest = hashlib.sha256(base64.b64decode(line.split(" ")[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def unique(lines: Iterable[str]) -> tuple[str, ...]:
    """Each key that `parse_ssh_key` gave once, as it comes first, whatever is remarked behind it."""
    found: dict[str, str] = {}
    for line in lines:
        found.setdefault(" ".join(line.split(" ")[:2]), line)
    return tuple(found.values())


def parse_ssh_key(text: str) -> str:
    """The key in one line with single spaces, without options; InvalidValue says what is wrong with it."""
    if len(text) > MOST_KEY_CHARACTERS:
        raise InvalidValue("is too long")
    if "PRIVATE KEY" in text:
        raise InvalidValue("is a private key, which should go nowhere")
    line = text.strip()
    if not line.isprintable():
        raise InvalidValue("is not one line of printable characters")
    kind, encoded, *comment = (*line.split(), "", "")
    if not encoded:
        raise InvalidValue("has no type and key")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidValue("is not base64 behind its type") from error
    _check(kind, blob)
    return " ".join((kind, base64.b64encode(blob).decode(), *comment)).rstrip()


def _check(kind: str, blob: bytes) -> None:
    """InvalidValue when a blob is no key of a type that is allowed."""
    parts = list(_strings(blob))
    if not parts or parts[0] != kind.encode():
        raise InvalidValue("is not what its type says")
    values = parts[1:]
    if kind == "ssh-ed25519":
        is_well = [len(each) for each in values] == [_ED25519_BYTES]
    elif kind.startswith("ecdsa-sha2-") and (curve := kind.removeprefix("ecdsa-sha2-")) in _CURVES:
        is_well = _is_point(curve, values)
    elif kind in _SECURITY_KEYS:
        curve = _SECURITY_KEYS[kind]
        *point, application = values or [b""]
        is_well = bool(application) and (
            _is_point(curve, point) if curve else [len(each) for each in point] == [_ED25519_BYTES]
        )
    elif kind == "ssh-rsa":
        is_well = _is_rsa(values)
    else:
        raise InvalidValue("is of a type that is not allowed")
    if not is_well:
        raise InvalidValue("is damaged: it is no key of its type")


def _is_point(curve: str, values: list[bytes]) -> bool:
    """The curve's name, and a point on it that is not compressed (SEC 1, 2.3.3)."""
    if len(values) != 2 or values[0] != curve.encode():
        return False
    return len(values[1]) == 1 + 2 * _CURVES[curve] and values[1][0] == 4


def _is_rsa(values: list[bytes]) -> bool:
    """Exponent and modulus; InvalidValue when that is too small."""
    if len(values) != 2 or any(not each or each[0] & 0x80 for each in values):
        return False
    exponent, modulus = (int.from_bytes(each, "big") for each in values)
    if modulus.bit_length() < MIN_RSA_BITS:
        raise InvalidValue(f"is too weak: an RSA key of {modulus.bit_length()} bits")
    return exponent > 2 and exponent % 2 == 1


def _strings(blob: bytes) -> Iterator[bytes]:
    """The strings that a blob is made of (RFC 4251, section 5); InvalidValue when it is cut off."""
    at = 0
    while at < len(blob):
        length = int.from_bytes(blob[at : at + 4], "big")
        if at + 4 + length > len(blob) or len(blob) - at < 4:
            raise InvalidValue("is damaged: it is cut off")
        yield blob[at + 4 : at + 4 + length]
        at += 4 + length

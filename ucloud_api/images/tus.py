"""The headers of uploads. Sources: tus 1.0.0 (https://tus.io/protocols/resumable-upload) with its extensions creation,
creation-with-upload and termination; RFC 9530 for the digest of a whole file. Pure.
"""

import base64
import binascii
import re
from dataclasses import dataclass

from common.errors import InvalidValue

VERSION = "1.0.0"
MEDIA_TYPE = "application/offset+octet-stream"
LENGTH, OFFSET, METADATA, DIGEST = "Upload-Length", "Upload-Offset", "Upload-Metadata", "Repr-Digest"
LENGTH_ALLOWED = "The length of the file in bytes, at least 1."
OFFSET_ALLOWED = "How many bytes came before, as the upload says."
METADATA_ALLOWED = (
    "`filename` and the file's name in Base64; an admin may add `owner` and whose it is to be: "
    "filename ZGViaWFuLnFjb3cy,owner YWxpY2U="
)
DIGEST_ALLOWED = "The SHA-256 of the whole file (RFC 9530): sha-256=:<Base64>:"
MOST_BYTES = 2**50
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)


@dataclass(frozen=True)
class Metadata:
    """What an upload is to become."""

    name: str
    owner: str | None


def parse_number(text: str | None, least: int) -> int:
    """A number of bytes; InvalidValue."""
    if text is None:
        raise InvalidValue("is required")
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= MOST_BYTES:
        raise InvalidValue(f"must be a number from {least} to {MOST_BYTES}")
    return int(text)


def parse_metadata(text: str | None) -> Metadata:
    """The name and the owner; InvalidValue when there is no name, or it can't be read. Other keys are ignored."""
    pairs: dict[str, str] = {}
    for pair in (text or "").split(","):
        key, _, encoded = pair.strip().partition(" ")
        try:
            pairs[key] = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidValue("is not Base64 of UTF-8 behind its keys") from error
    if not pairs.get("filename"):
        raise InvalidValue("has no filename")
    return Metadata(pairs["filename"], pairs.get("owner"))


def parse_digest(text: str | None) -> str | None:
    """The SHA-256 in hexadecimal, None where there is none; InvalidValue. Other algorithms are ignored."""
    for member in (text or "").split(","):
        algorithm, _, value = member.strip().partition("=")
        if algorithm != "sha-256":
            continue
        try:
            raw = base64.b64decode(value.strip(":"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidValue("is not Base64 between colons") from error
        if len(raw) != 32 or not (value.startswith(":") and value.endswith(":")):
            raise InvalidValue("is no SHA-256")
        return raw.hex()
    return None


def digest_header(sha256: str) -> str:
    """A SHA-256 in hexadecimal as the header has it."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"

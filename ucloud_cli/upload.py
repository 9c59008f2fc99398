"""Uploads of local files, resumed wherever they were cut, also by an earlier run (tus 1.0; RFC 9530 for the digest)."""

import base64
import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from common.schemas.file import UPLOAD_NAME_PATTERN
from ucloud_cli.client import Client
from ucloud_cli.errors import ApiAway, CliError, Interrupted, Misused, NotFound, Refused
from ucloud_cli.problems import Resource

PATH = "/v1/file"
_MEDIA_TYPE = "application/offset+octet-stream"
_PIECE_BYTES = 64 * 1024 * 1024
"""Of each request: an API that is to end waits for one such piece, not for hours."""
_READ_BYTES = 1024 * 1024
_PATIENCE_S = 120.0
_PAUSE_S = 1.0
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Local:
    """A file on this machine, and what it is to be called."""

    path: Path
    name: str
    size_bytes: int


def local_file(path: str, name: str | None) -> Local:
    """The file at a path; Misused when there is none, or it can't be called so."""
    found = Path(path)
    try:
        size_bytes = found.stat().st_size
    except OSError as error:
        raise Misused(f"{path} can't be read: {error.strerror}") from error
    if not found.is_file() or not size_bytes:
        raise Misused(f"{path} is no file with anything in it")
    name = name or found.name
    if not re.fullmatch(UPLOAD_NAME_PATTERN, name):
        allowed = "letters, digits, dots, hyphens and underscores, no dot or hyphen first"
        raise Misused(
            f'an uploaded file can\'t be called "{name}" (allowed: {allowed}); ucloud file upload --name names it'
        )
    return Local(found, name, size_bytes)


def upload(client: Client, local: Local, owner: str | None = None) -> Resource:
    """Upload a file, unless the same one is there; returns what it is then.

    Interrupted, by Ctrl-C: what came stays, and the next run goes on with it.
    """
    try:
        with local.path.open("rb") as file:
            sha256 = _digest(file, local)
            owner = owner or str(client.get("/v1/session")["user"])
            done = {"owner": owner, "name": local.name, "size_bytes": local.size_bytes, "sha256": sha256}
            if not _is_there(client, owner, local.name, sha256):
                with _bar(local.size_bytes, f"{local.name}: uploading") as advance:
                    _Upload(client, local, owner, sha256, advance).run(file)
            return done
    except OSError as error:
        raise CliError(f"{local.path} can't be read: {error.strerror}") from error
    except KeyboardInterrupt:
        raise Interrupted(f"{local.name}: not uploaded to its end; the same command goes on with it") from None


def _digest(file: BinaryIO, local: Local) -> str:
    digest = hashlib.sha256()
    with _bar(local.size_bytes, f"{local.name}: reading") as advance:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def _is_there(client: Client, owner: str, name: str, sha256: str) -> bool:
    try:
        return bool(client.get(f"{PATH}/{owner}/{name}")["sha256"] == sha256)
    except NotFound:
        return False


class _Piece:
    """Some bytes of a file, read as they are sent."""

    def __init__(self, file: BinaryIO, offset: int, size_bytes: int, advance: Advance) -> None:
        file.seek(offset)
        self._file = file
        self._left = self._size_bytes = size_bytes
        self._advance = advance

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, size_bytes: int = -1) -> bytes:
        """What comes next."""
        chunk = self._file.read(min(self._left, size_bytes) if size_bytes >= 0 else self._left)
        self._left -= len(chunk)
        self._advance(len(chunk))
        return chunk


class _Upload:
    """One upload, which is begun as often as it is cut."""

    def __init__(self, client: Client, local: Local, owner: str, sha256: str, advance: Advance) -> None:
        self._client = client
        self._local = local
        self._advance = advance
        self._shown = 0
        fields = {"filename": local.name, "owner": owner}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        self._headers = {
            "Tus-Resumable": "1.0.0",
            "Upload-Length": str(local.size_bytes),
            "Upload-Metadata": ",".join(f"{key} {value}" for key, value in encoded.items()),
            "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        }

    def run(self, file: BinaryIO) -> None:
        """Send all of it; ApiAway when nothing more gets through for too long."""
        moved_at_s, furthest = time.monotonic(), -1
        while True:
            try:
                begun = self._client.send("POST", PATH, self._headers)
                path, offset = begun.headers["Location"], int(begun.headers["Upload-Offset"])
                while True:
                    self._show(offset)
                    if offset > furthest:
                        moved_at_s, furthest = time.monotonic(), offset
                    # The last answer may have been lost: asked for no more than that, the API says that all is there.
                    if offset == self._local.size_bytes and begun.json()["is_complete"]:
                        return
                    offset = self._send(path, file, offset)
                    if offset == self._local.size_bytes:
                        self._show(offset)
                        return
            except (ApiAway, NotFound, Refused) as error:
                # Refused: another one writes it, or it is not as far as we think; not when it will never be taken.
                if not _may_pass(error) or time.monotonic() - moved_at_s > _PATIENCE_S:
                    raise
                self._client.pause(getattr(error, "retry_after_s", None) or _PAUSE_S)

    def _send(self, path: str, file: BinaryIO, offset: int) -> int:
        size_bytes = min(_PIECE_BYTES, self._local.size_bytes - offset)
        headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset), "Content-Type": _MEDIA_TYPE}
        piece = _Piece(file, offset, size_bytes, self._moved)
        # The digest of all of it is taken before the last answer.
        timeout_s = 60 + self._local.size_bytes / (50 * 1024 * 1024)
        return int(self._client.send("PATCH", path, headers, piece, timeout_s).headers["Upload-Offset"])

    def _moved(self, size_bytes: int) -> None:
        self._show(self._shown + size_bytes)

    def _show(self, offset: int) -> None:
        self._advance(offset - self._shown)
        self._shown = offset


def _may_pass(error: CliError) -> bool:
    return (
        isinstance(error, ApiAway | NotFound) or "written by another" in error.message or "ask where" in error.message
    )


@contextmanager
def _bar(size_bytes: int, label: str) -> Iterator[Advance]:
    """A bar of progress on a terminal, a line elsewhere; both on stderr."""
    is_shown = os.isatty(sys.stderr.fileno())
    with click.progressbar(length=size_bytes, label=label, file=sys.stderr, width=0, hidden=not is_shown) as bar:
        if not is_shown:
            click.echo(label, err=True)
        yield bar.update

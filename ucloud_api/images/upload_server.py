"""Asks the server that has the upload folders (ucloud-image-sftp), with the token that it wrote into etcd.

The token goes into no URL, message or log, and neither does the text of an error, which may hold the URL.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from common import keys
from common.schemas.file import UploadServer
from ucloud_api.problems import ApiProblem, unavailable
from ucloud_api.worker.state import State

_TIMEOUT_S = (3.0, 900.0)
"""The digest of a large file takes its time: a minute for each 50 GiB or so."""


@dataclass(frozen=True)
class Upload:
    """How far an upload is."""

    size_bytes: int
    offset_bytes: int
    sha256: str | None
    is_complete: bool = False


class UploadDesk:
    """The server that is there now."""

    def __init__(self, state: State) -> None:
        """ApiProblem (503) when there is none."""
        entries = state.store.list(keys.UPLOAD_SERVER).entries
        if not entries:
            raise unavailable("uploads-unavailable", "no upload server runs now")
        self._server = UploadServer.read(entries[0].key, entries[0].value)

    def begin(self, owner: str, name: str, size_bytes: int, sha256: str | None) -> Upload:
        """Begin an upload, or go on with the one of that digest."""
        headers = {"Upload-Length": str(size_bytes), **({"Upload-Sha256": sha256} if sha256 else {})}
        return _upload(self._ask("POST", "upload", owner, name, headers))

    def look(self, owner: str, name: str) -> Upload:
        """How far an upload is."""
        return _upload(self._ask("GET", "upload", owner, name))

    def append(self, owner: str, name: str, offset_bytes: int, chunks: Iterable[bytes]) -> Upload:
        """Go on with an upload; what comes before `chunks` end is kept, however they end."""
        return _upload(self._ask("PATCH", "upload", owner, name, {"Upload-Offset": str(offset_bytes)}, chunks))

    def drop(self, owner: str, name: str) -> None:
        """Forget an upload."""
        self._ask("DELETE", "upload", owner, name)

    def remove(self, owner: str, name: str) -> None:
        """Remove a file."""
        self._ask("DELETE", "file", owner, name)

    def _ask(
        self,
        method: str,
        kind: str,
        owner: str,
        name: str,
        headers: Mapping[str, str] | None = None,
        chunks: Iterable[bytes] | None = None,
    ) -> requests.Response:
        url = f"{self._server.url}/{kind}/{quote(owner, safe='')}/{quote(name, safe='')}"
        try:
            with requests.Session() as session:
                session.trust_env = False  # it is asked directly: no proxy, and no .netrc in place of the token
                reply = session.request(
                    method,
                    url,
                    data=chunks,
                    headers={"Authorization": f"Bearer {self._server.token}", **(headers or {})},
                    timeout=_TIMEOUT_S,
                    allow_redirects=False,
                )
        except (requests.RequestException, OSError) as error:
            detail = f"the upload server does not answer: {type(error).__name__}; ask the upload how far it came"
            raise unavailable("uploads-unavailable", detail) from error
        if not reply.ok:
            raise _refusal(reply)
        return reply


def _refusal(reply: requests.Response) -> ApiProblem:
    said: dict[str, Any] = {}
    if reply.headers.get("Content-Type") == "application/json":
        said = reply.json()
    match reply.status_code:
        case 404 | 409 | 422:
            return ApiProblem(reply.status_code, said.get("type", "refused"), said.get("detail", ""))
        case _:
            why = said.get("detail", str(reply.status_code))
            return unavailable("uploads-unavailable", f"the upload server can't do it now: {why}")


def _upload(reply: requests.Response) -> Upload:
    return Upload(**reply.json())

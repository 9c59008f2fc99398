"""Uploads over HTTP, for the API alone, in the web application that answers /healthz as well.

The API has found out who asks; a token that it reads in etcd says that it is the API. The verbs are those of tus 1.0
(https://tus.io). Refusals are JSON: `type` for programs, `detail` for the owner.
"""

import errno
import hmac
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flask import Flask, Response, jsonify, request

from ucloud_image.folders import UploadFolders, is_name
from ucloud_image.parts import Part, Parts, WrongDigest, WrongOffset
from ucloud_image.sftp.figures import SftpFigures
from ucloud_image.sftp.limits import Pace

_CHUNK_BYTES = 256 * 1024
_SILENT_S = 30.0
_MOST_BYTES = 2**50
_STATUS = {
    errno.ENOENT: (404, "not-found"),
    errno.EACCES: (422, "invalid-fields"),
    errno.EDQUOT: (409, "over-upload-quota"),
    errno.ENOSPC: (507, "store-full"),
    errno.EFBIG: (422, "too-many-bytes"),
    errno.ESTALE: (409, "written-by-another"),
}


@dataclass(frozen=True)
class Desk:
    """What answers the API."""

    token: str
    folders: UploadFolders
    parts: Parts
    figures: SftpFigures
    pace: Pace
    pause: Callable[[float], object]
    """Waits so many seconds, or until the daemon is to end."""


def add_routes(app: Flask, desk: Desk) -> None:
    """Answer in `app`."""

    def add(path: str, method: str, answer: Callable[[Desk, str, str], Response]) -> None:
        def view(owner: str, name: str) -> Response:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), desk.token.encode()):
                return _refuse(401, "not-authenticated", "the token of this server is required")
            return _guarded(desk, owner, name, answer)

        app.add_url_rule(f"/{path}/<owner>/<name>", f"{method} {path}", view, methods=[method])

    add("upload", "POST", _begin)
    add("upload", "GET", _look)
    add("upload", "PATCH", _append)
    add("upload", "DELETE", _drop)
    add("file", "DELETE", _remove)


def _guarded(desk: Desk, owner: str, name: str, answer: Callable[[Desk, str, str], Response]) -> Response:
    try:
        if not is_name(name):
            raise PermissionError(errno.EACCES, "a file can't be called so")
        return answer(desk, owner, name)
    except WrongOffset as error:
        detail = f"the upload is at {error.args[0]} bytes: ask where to go on"
        return _refuse(409, "wrong-offset", detail)
    except WrongDigest:
        detail = "what came has not the digest that was announced; it was thrown away, upload it again"
        return _refuse(422, "wrong-digest", detail)
    except OSError as error:  # of the disk, or of a connection that broke: what came before is kept
        status, kind = _STATUS.get(error.errno or 0, (503, "unavailable"))
        return _refuse(status, kind, error.strerror or "it can't be written")


def _begin(desk: Desk, owner: str, name: str) -> Response:
    length, sha256 = request.headers.get("Upload-Length", ""), request.headers.get("Upload-Sha256") or None
    if not re.fullmatch(r"[0-9]{1,16}", length) or not 0 < int(length) <= _MOST_BYTES:
        return _refuse(422, "invalid-fields", "Upload-Length: a number of bytes, at least 1, is required")
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return _refuse(422, "invalid-fields", "the digest is no SHA-256")
    return _answer(desk.parts.begin(owner, name, int(length), sha256), 201)


def _look(desk: Desk, owner: str, name: str) -> Response:
    return _answer(desk.parts.look(owner, name))


def _append(desk: Desk, owner: str, name: str) -> Response:
    offset = request.headers.get("Upload-Offset", "")
    if not re.fullmatch(r"[0-9]{1,16}", offset):
        return _refuse(422, "invalid-fields", "Upload-Offset: a number of bytes is required")
    return _answer(desk.parts.append(owner, name, int(offset), _chunks(desk, owner)))


def _chunks(desk: Desk, owner: str) -> Iterator[bytes]:
    """What comes; it ends where the API's connection ends, or is silent for too long."""
    # Where the client of a chunked body is gone, werkzeug says OSError; what came before is kept.
    connection = request.environ["werkzeug.socket"]
    connection.settimeout(_SILENT_S)
    left = request.content_length
    while chunk := request.stream.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left)):
        desk.figures.bytes.labels("http").inc(len(chunk))
        left = left - len(chunk) if left is not None else None
        yield chunk
        if wait_s := desk.pace.take(owner, len(chunk)):
            desk.pause(wait_s)


def _drop(desk: Desk, owner: str, name: str) -> Response:
    desk.parts.drop(owner, name)
    return Response(status=204)


def _remove(desk: Desk, owner: str, name: str) -> Response:
    desk.folders.remove(owner, name)
    return Response(status=204)


def _answer(part: Part, status: int = 200) -> Response:
    body = {
        "size_bytes": part.size_bytes,
        "offset_bytes": part.offset_bytes,
        "sha256": part.sha256,
        "is_complete": part.is_complete,
    }
    response = jsonify(body)
    response.status_code = status
    return response


def _refuse(status: int, kind: str, detail: str) -> Response:
    response = jsonify({"type": kind, "detail": detail})
    response.status_code = status
    response.headers["Connection"] = "close"  # what of the body was not read is not worth reading
    return response
